/* verify.c: a closed epoch against its digests: every block's bytes against the digest stored with it, and all of them
 * together against the epoch's root.
 *
 * Healing writes into the file of a volume that somebody else may be writing meanwhile.  That is safe: a handle on a closed
 * epoch holds the epoch's lock, and what an epoch sees is neither freed (a delete wants the lock) nor moved (so does dvol_pack)
 * nor written in place (which happens to blocks born after the newest closed epoch only) while it is there.  So the file block
 * is this volume block's for as long as the handle is open, and the bytes that are written are the only ones that can
 * ever be right there. */
#include "imagefmt/tree.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>

struct verify {
	struct dvol *vol, *heal;
	struct sha *sha;
	struct fold *fold;
	struct file repair; /* vol's file, open for writing once something is to be healed */
	uint8_t *data;      /* of TREE_FANOUT blocks */
	uint64_t words[TREE_FANOUT];
	struct dvol_bad_block *bad;
	size_t nbad, cap;
	uint64_t healed;
};

static void bad_block(struct verify *verify, uint64_t block)
{
	const struct dvol *vol = verify->vol;
	verify->bad = must_grow(verify->bad, verify->nbad, &verify->cap, sizeof(*verify->bad));
	verify->bad[verify->nbad++] = (struct dvol_bad_block){
	    .offset = block * BLOCK, .epoch = catalog_index(&vol->catalog, vol->view)->id};
}

static int open_repair(struct verify *verify, struct err *err)
{
	struct dvol *vol = verify->vol;
	if (verify->repair.file != NULL)
		return 0;
	verify->repair.ops = vol->ops;
	verify->repair.file = vol->ops->open(vol->files_context, vol->path, O_RDWR);
	return verify->repair.file == NULL ? err_sys(err, "%s: opening it for healing", vol->path) : 0;
}

/* fetch: a block of what is to heal; 0 when it has none. */
static int fetch(void *context, uint64_t block, uint8_t data[BLOCK], struct err *err)
{
	struct dvol *from = ((struct verify *)context)->heal;
	uint64_t size = from != NULL ? dvol_size(from) : 0, at = block * BLOCK;
	memset(data, 0, BLOCK);
	if (at >= size)
		return 0;
	return dvol_read(from, data, size - at < BLOCK ? size - at : BLOCK, at, err) < 0 ? -1 : 1;
}

/* heal: *done when the block was replaced by a good one, which was read back. */
static int heal(struct verify *verify, uint64_t block, uint64_t pbn, const uint64_t digest[2], bool *done,
		struct err *err)
{
	struct dvol *vol = verify->vol;
	uint8_t data[BLOCK];
	uint64_t found[2];
	int there = fetch(verify, block, data, err);
	*done = false;
	sha_short(verify->sha, data, BLOCK, found);
	if (there <= 0 || !digest_equal(found, digest))
		return there < 0 ? -1 : 0;
	if (open_repair(verify, err) < 0)
		return -1;
	if (file_write(&verify->repair, data, BLOCK, pbn * BLOCK) < 0 ||
	    vol->ops->sync(verify->repair.file) < 0)
		return err_sys(err, "%s: healing byte %llu", vol->path, (unsigned long long)block * BLOCK);
	if (file_read(&verify->repair, data, BLOCK, pbn * BLOCK) < 0)
		return 0;
	sha_short(verify->sha, data, BLOCK, found);
	*done = digest_equal(found, digest);
	verify->healed += *done;
	return 0;
}

/* plain_block: one that has a file block; data is its content, or NULL where it cannot be read.  Its digest as it should be goes
 * to digest, so that one bad block does not hide that the rest is what the root says. */
static int plain_block(struct verify *verify, uint64_t block, uint64_t word, const uint8_t *data,
		       uint64_t digest[2], struct err *err)
{
	uint64_t found[2] = {0};
	bool known, done = false;
	if (stored_digest(verify->vol, word, block, digest, &known, err) < 0)
		return -1;
	if (data != NULL)
		sha_short(verify->sha, data, BLOCK, found);
	if (!known)
		memcpy(digest, found, sizeof(found));
	if (data != NULL && digest_equal(found, digest))
		return 0;
	if (known && heal(verify, block, word_pbn(word), digest, &done, err) < 0)
		return -1;
	if (!done)
		bad_block(verify, block);
	return 0;
}

/* packed_good: whether a packed block can be read and is what its digest says. */
static bool packed_good(struct verify *verify, uint64_t block, uint64_t word, uint64_t digest[2])
{
	uint64_t found[2];
	uint8_t data[BLOCK];
	struct err why = {0};
	digest[0] = digest[1] = 0;
	if (packed_read(verify->vol, word, block, data, digest, &why) < 0)
		return false;
	sha_short(verify->sha, data, BLOCK, found);
	return digest_equal(found, digest);
}

static int packed_block(struct verify *verify, uint64_t block, uint64_t word, uint64_t digest[2],
			struct err *err)
{
	uint32_t healed = 0;
	if (packed_good(verify, block, word, digest))
		return 0;
	if (verify->heal != NULL &&
	    (open_repair(verify, err) < 0 ||
	     packed_heal(verify->vol, word, fetch, verify, &verify->repair, &healed, err) < 0))
		return -1;
	packed_forget(verify->vol);
	if (healed > 0 && packed_good(verify, block, word, digest))
		verify->healed += healed;
	else
		bad_block(verify, block);
	return 0;
}

static int other_block(struct verify *verify, uint64_t block, uint64_t word, uint64_t digest[2],
		       struct err *err)
{
	bool known;
	if (word_packed(word))
		return packed_block(verify, block, word, digest, err);
	return block_digest(verify->vol, verify->sha, block, digest, &word, &known, err);
}

/* read_run: n blocks that are neighbours in the file, to verify->data; where that fails one by one: then *whole is false and
 * those that cannot be read are not in `good`. */
static int read_run(struct verify *verify, uint64_t pbn, uint64_t n, bool *good, struct err *err)
{
	const struct dvol *vol = verify->vol;
	const struct file *file = vol->direct.ops != NULL ? &vol->direct : &vol->file;
	memset(good, true, n);
	if (file_read(file, verify->data, n * BLOCK, pbn * BLOCK) == 0)
		return 0;
	for (uint64_t i = 0; i < n; i++) {
		good[i] = file_read(file, verify->data + i * BLOCK, BLOCK, (pbn + i) * BLOCK) == 0;
		if (!good[i] && errno != EIO)
			return err_sys(err, "%s: reading data at byte %llu of the file", vol->path,
				       (unsigned long long)(pbn + i) * BLOCK);
	}
	return 0;
}

static bool plain(uint64_t word)
{
	return word_pbn(word) != 0 && !word_packed(word);
}

/* verify_blocks: n blocks, at most TREE_FANOUT. */
static int verify_blocks(struct verify *verify, uint64_t first, uint64_t n, struct err *err)
{
	struct dvol *vol = verify->vol;
	const uint64_t *words = verify->words;
	int result = 0;
	pthread_mutex_lock(&vol->meta);
	for (uint64_t i = 0; i < n && result == 0; i++)
		result = map_find(vol, first + i, &verify->words[i], err);
	tables_trim(vol);
	pthread_mutex_unlock(&vol->meta);
	for (uint64_t i = 0, some; i < n && result == 0; i += some) {
		bool good[TREE_FANOUT];
		uint64_t digest[2];
		for (some = 1; plain(words[i]) && i + some < n && plain(words[i + some]) &&
			       word_pbn(words[i + some]) == word_pbn(words[i]) + some;)
			some++;
		if (!plain(words[i])) {
			result = other_block(verify, first + i, words[i], digest, err);
			if (result == 0)
				fold_put(verify->fold, 0, first + i, digest);
			continue;
		}
		result = read_run(verify, word_pbn(words[i]), some, good, err);
		for (uint64_t k = 0; k < some && result == 0; k++) {
			result = plain_block(verify, first + i + k, words[i + k],
					     good[k] ? verify->data + k * BLOCK : NULL, digest, err);
			if (result == 0)
				fold_put(verify->fold, 0, first + i + k, digest);
		}
	}
	return result;
}

static int verify_all(struct verify *verify, struct err *err)
{
	struct dvol *vol = verify->vol;
	uint64_t end = (dvol_size(vol) + BLOCK - 1) / BLOCK;
	uint64_t backed = (vol->backing_size + BLOCK - 1) / BLOCK;
	for (uint64_t block = 0; block < end;) {
		/* Where the map has no pages nothing was ever written. */
		int result = 0;
		pthread_mutex_lock(&vol->meta);
		if (block >= backed)
			result = view_seek(vol, block, &block, err);
		pthread_mutex_unlock(&vol->meta);
		if (result == 0 && block >= end)
			return 0;
		uint64_t some = TREE_FANOUT - block % TREE_FANOUT;
		some = some < end - block ? some : end - block;
		if (result < 0 || vol_tick(vol, block * BLOCK, end * BLOCK, err) < 0 ||
		    verify_blocks(verify, block, some, err) < 0)
			return -1;
		block += some;
	}
	return 0;
}

/* prove: with every block in the fold, and none of them bad, the root must come out. */
static int prove(struct verify *verify, const uint8_t root[DVOL_ROOT], struct err *err)
{
	const struct dvol *vol = verify->vol;
	uint64_t top[2];
	uint8_t found[DVOL_ROOT];
	fold_end(verify->fold, tree_levels((dvol_size(vol) + BLOCK - 1) / BLOCK), top);
	tree_root(verify->sha, dvol_size(vol), top, found);
	if (verify->nbad > 0 || memcmp(found, root, DVOL_ROOT) == 0)
		return 0;
	struct dvol_id id = catalog_index(&vol->catalog, vol->view)->id;
	return err_set(
	    err, ERR_INPUT,
	    "%s: each block of epoch %llu.%llu matches its digest, but together they are not what its "
	    "root says: its map is damaged; restore the volume from a replica",
	    vol->path, (unsigned long long)id.term, (unsigned long long)id.number);
}

int dvol_verify(struct dvol *vol, struct dvol *from, struct dvol_bad_block **bad, size_t *nbad,
		uint64_t *healed, struct err *err)
{
	struct verify verify = {.vol = vol, .heal = from};
	uint8_t root[DVOL_ROOT];
	*bad = NULL;
	*nbad = 0;
	if (vol->view == 0)
		return err_set(err, ERR_USAGE, "%s: closed epochs have digests, the head has none",
			       vol->path);
	if (view_root(vol, root, err) < 0)
		return -1;
	verify.sha = sha_make();
	verify.fold = must_alloc(1, sizeof(*verify.fold));
	verify.fold->sha = verify.sha;
	verify.data = must_align((size_t)TREE_FANOUT * BLOCK);
	packed_forget(vol);
	int result = verify_all(&verify, err);
	if (result == 0)
		result = prove(&verify, root, err);
	if (verify.repair.file != NULL)
		vol->ops->close(verify.repair.file);
	sha_free(verify.sha);
	free(verify.fold);
	free(verify.data);
	if (result < 0) {
		free(verify.bad);
		return -1;
	}
	*bad = verify.bad;
	*nbad = verify.nbad;
	if (healed != NULL)
		*healed = verify.healed;
	return 0;
}
