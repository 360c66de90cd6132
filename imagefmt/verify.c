/* verify.c: the blocks of closed epochs against their digests, and volumes against each other. */
#include "imagefmt/sha.h"
#include "imagefmt/vol.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>

enum { COMPARE_BLOCKS = 256 };

struct verify {
	struct dvol *vol, *heal;
	struct sha *sha;
	struct file repair; /* vol's file, open for writing once something is to be healed */
	struct dvol_bad_block *bad;
	size_t nbad, cap;
	uint64_t healed;
};

/* expected: the word of a block and the digest that its content must have; *has tells whether there is one. */
static int expected(struct dvol *vol, uint64_t block, uint64_t *word, uint64_t digest[2], bool *has,
		    struct err *err)
{
	pthread_mutex_lock(&vol->meta);
	int result = map_find(vol, block, word, err);
	*has = result == 0 && word_pbn(*word) != 0 && word_birth(*word) <= vol->catalog.digested;
	for (unsigned i = 0; *has && i < 2 && result == 0; i++)
		result = table_get(vol, TABLE_PDIG, word_pbn(*word) * 2 + i, &digest[i], err);
	tables_trim(vol);
	pthread_mutex_unlock(&vol->meta);
	return result;
}

/* heal: true when the block was replaced by a good one. */
static int heal(struct verify *verify, uint64_t block, uint64_t pbn, const uint64_t digest[2], bool *done,
		struct err *err)
{
	struct dvol *vol = verify->vol;
	uint8_t data[BLOCK] = {0};
	uint64_t size = verify->heal != NULL ? dvol_size(verify->heal) : 0, at = block * BLOCK, found[2];
	*done = false;
	if (at >= size)
		return 0;
	if (dvol_read(verify->heal, data, size - at < BLOCK ? size - at : BLOCK, at, err) < 0)
		return -1;
	sha_short(verify->sha, data, BLOCK, found);
	if (memcmp(found, digest, sizeof(found)) != 0)
		return 0;
	if (verify->repair.file == NULL) {
		verify->repair.ops = vol->ops;
		verify->repair.file = vol->ops->open(vol->files_context, vol->path, O_RDWR);
	}
	if (verify->repair.file == NULL || file_write(&verify->repair, data, BLOCK, pbn * BLOCK) < 0 ||
	    vol->ops->sync(verify->repair.file) < 0)
		return err_sys(err, "%s: healing byte %llu", vol->path, (unsigned long long)at);
	verify->healed++;
	*done = true;
	return 0;
}

static int bad_block(struct verify *verify, uint64_t block)
{
	const struct dvol *vol = verify->vol;
	verify->bad = must_grow(verify->bad, verify->nbad, &verify->cap, sizeof(*verify->bad));
	verify->bad[verify->nbad++] = (struct dvol_bad_block){
	    .offset = block * BLOCK, .epoch = catalog_index(&vol->catalog, vol->view)->id};
	return 0;
}

static int verify_block(struct verify *verify, uint64_t block, struct err *err)
{
	struct dvol *vol = verify->vol;
	uint64_t word, digest[2], found[2];
	uint8_t data[BLOCK];
	bool has, done;
	if (expected(vol, block, &word, digest, &has, err) < 0)
		return -1;
	if (word_packed(word)) {
		struct err why = {0};
		if (packed_read(vol, word, block, data, digest, &why) == 0) {
			sha_short(verify->sha, data, BLOCK, found);
			if (memcmp(found, digest, sizeof(found)) == 0)
				return 0;
		}
		return bad_block(verify, block);
	}
	if (!has)
		return 0;
	if (file_read(&vol->file, data, BLOCK, word_pbn(word) * BLOCK) == 0) {
		sha_short(verify->sha, data, BLOCK, found);
		if (memcmp(found, digest, sizeof(found)) == 0)
			return 0;
	} else if (errno != EIO) {
		return err_sys(err, "%s", vol->path);
	}
	if (heal(verify, block, word_pbn(word), digest, &done, err) < 0)
		return -1;
	return done ? 0 : bad_block(verify, block);
}

int dvol_verify(struct dvol *vol, struct dvol *from, struct dvol_bad_block **bad, size_t *nbad,
		uint64_t *healed, struct err *err)
{
	struct verify verify = {.vol = vol, .heal = from};
	if (vol->view == 0)
		return err_set(err, ERR_USAGE, "%s: closed epochs have digests, the head has none",
			       vol->path);
	if (vol->catalog.digested == 0)
		return err_set(err, ERR_STATE, "%s has no digests yet; compute them first", vol->path);
	verify.sha = sha_make();
	int result = 0;
	uint64_t end = (dvol_size(vol) + BLOCK - 1) / BLOCK;
	for (uint64_t block = 0; result == 0; block++) {
		pthread_mutex_lock(&vol->meta);
		result = table_seek(vol, TABLE_MAP, block, &block, err);
		pthread_mutex_unlock(&vol->meta);
		if (block >= end)
			break;
		if (result == 0)
			result = verify_block(&verify, block, err);
	}
	if (verify.repair.file != NULL)
		vol->ops->close(verify.repair.file);
	sha_free(verify.sha);
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

/* read_past: zeroes past the end. */
static int read_past(struct dvol *vol, uint8_t *data, uint64_t len, uint64_t offset, struct err *err)
{
	uint64_t size = dvol_size(vol), inside = offset < size ? size - offset : 0;
	inside = inside < len ? inside : len;
	memset(data + inside, 0, len - inside);
	return inside == 0 ? 0 : dvol_read(vol, data, inside, offset, err);
}

int dvol_compare(struct dvol *a, struct dvol *b, struct dvol_extent **list, size_t *count, struct err *err)
{
	uint64_t size = dvol_size(a) > dvol_size(b) ? dvol_size(a) : dvol_size(b);
	uint8_t *data = must_alloc(2 * COMPARE_BLOCKS, BLOCK), *other = data + COMPARE_BLOCKS * BLOCK;
	size_t cap = 0;
	int result = 0;
	*list = NULL;
	*count = 0;
	for (uint64_t at = 0; at < size && result == 0; at += COMPARE_BLOCKS * BLOCK) {
		uint64_t len = size - at < COMPARE_BLOCKS * BLOCK ? size - at : COMPARE_BLOCKS * BLOCK;
		result = read_past(a, data, len, at, err);
		if (result == 0)
			result = read_past(b, other, len, at, err);
		if (result < 0 || memcmp(data, other, len) == 0)
			continue;
		for (uint64_t i = 0; i < len; i += BLOCK) {
			uint64_t some = len - i < BLOCK ? len - i : BLOCK;
			if (memcmp(data + i, other + i, some) == 0)
				continue;
			struct dvol_extent *last = *count > 0 ? &(*list)[*count - 1] : NULL;
			if (last != NULL && last->offset + last->len == at + i) {
				last->len += some;
				continue;
			}
			*list = must_grow(*list, *count, &cap, sizeof(**list));
			(*list)[(*count)++] = (struct dvol_extent){.offset = at + i, .len = some};
		}
	}
	free(data);
	if (result < 0) {
		free(*list);
		*list = NULL;
	}
	return result;
}
