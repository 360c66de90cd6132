/* digest.c: the digest tree of the closed epochs (docs/dvol.md, "Digest").
 *
 * A pass takes the tree from the epoch at which it stands to another: only nodes above changed blocks are computed.
 * The tree is marked as gone before the first of its nodes changes, and as standing at the new epoch when all of
 * them are durable; a pass that was cut short means that it is built anew. */
#include "imagefmt/sha.h"
#include "imagefmt/vol.h"

#include <stdlib.h>
#include <string.h>

struct pass {
	struct dvol *vol, *reader; /* reader: at the epoch to which the tree goes */
	struct sha *sha;
	uint32_t from, to; /* from 0: built anew */
	uint32_t tree;
	uint64_t *nodes; /* numbers of nodes of the present level that are to be computed, rising */
	size_t count;
	uint64_t blocks; /* of the volume at `to` */
	bool holds_commit;
	uint8_t root[DVOL_ROOT];
};

static int mark_tree(struct dvol *vol, uint32_t index, uint32_t tree, const uint8_t root[DVOL_ROOT],
		     struct err *err)
{
	struct buf ops = {0};
	buf_put_u8(&ops, OP_DIGESTED);
	buf_put_u32(&ops, index);
	buf_put_u32(&ops, tree);
	buf_put(&ops, root, DVOL_ROOT);
	return commit_op(vol, &ops, err);
}

/* to_parents: the numbers of the nodes one level up; node 0 is always among them, since a volume that grew has new
 * levels above what did not change. */
static void to_parents(struct pass *pass)
{
	size_t kept = 0;
	uint64_t *parents = must_alloc(pass->count + 1, sizeof(*parents));
	parents[kept++] = 0;
	for (size_t i = 0; i < pass->count; i++)
		if (pass->nodes[i] / TREE_FANOUT != parents[kept - 1])
			parents[kept++] = pass->nodes[i] / TREE_FANOUT;
	free(pass->nodes);
	pass->nodes = parents;
	pass->count = kept;
}

/* all_blocks: one block for each node of the first level with something in it, for a tree that is built anew. */
static int all_blocks(struct pass *pass, struct err *err)
{
	struct dvol *reader = pass->reader;
	uint64_t backed =
	    reader->catalog.backing_kind == DVOL_BACKING_NONE ? 0 : reader->backing_size / BLOCK + 1;
	size_t cap = 0;
	int result = 0;
	pthread_mutex_lock(&reader->meta);
	for (uint64_t block = 0; block < pass->blocks; block = (block / TREE_FANOUT + 1) * TREE_FANOUT) {
		if (block >= backed)
			result = table_seek(reader, TABLE_MAP, block, &block, err);
		if (result < 0 || block >= pass->blocks)
			break;
		pass->nodes = must_grow(pass->nodes, pass->count, &cap, sizeof(uint64_t));
		pass->nodes[pass->count++] = block;
		tables_trim(reader);
	}
	pthread_mutex_unlock(&reader->meta);
	return result;
}

/* ---- begin: commit held ---- */
static int begin(struct pass *pass, struct dvol *vol, uint32_t to, struct err *err)
{
	static const uint8_t none[DVOL_ROOT];
	const struct epoch *epoch = catalog_index(&vol->catalog, to);
	struct dvol_open_options options = {
	    .epoch = epoch->id, .files = vol->ops, .files_context = vol->files_context};
	*pass = (struct pass){.vol = vol, .from = vol->catalog.digested, .to = to, .holds_commit = true};
	pass->blocks = (epoch->size_bytes + BLOCK - 1) / BLOCK;
	pass->tree = vol->catalog.hash_floor + (pass->from == 0);
	pass->sha = sha_make();
	/* The epochs between which the tree moves are closed and committed: another handle sees them. */
	pass->reader = vol_open(vol->path, &options, vol->depth, err);
	if (pass->reader == NULL)
		return -1;
	if (pass->from == 0) {
		if (all_blocks(pass, err) < 0)
			return -1;
	} else {
		uint32_t low = pass->from < to ? pass->from : to, high = pass->from < to ? to : pass->from;
		pthread_mutex_lock(&vol->meta);
		int result = changed_blocks(vol, low, high, &pass->nodes, &pass->count, err);
		pthread_mutex_unlock(&vol->meta);
		if (result < 0)
			return -1;
	}
	return mark_tree(vol, 0, pass->tree, none, err);
}

/* ---- work ---- */
static int relieve(struct pass *pass, struct err *err)
{
	struct dvol *vol = pass->vol;
	if (!pass->holds_commit)
		return commit_pressure(vol, err);
	pthread_mutex_lock(&vol->meta);
	bool due = vol->tables.ndirty > vol->tables.limit;
	pthread_mutex_unlock(&vol->meta);
	return due ? commit_run(vol, true, err) : 0;
}

static int two_words(struct dvol *vol, enum table table, uint64_t number, uint64_t words[2], struct err *err)
{
	return table_get(vol, table, number, &words[0], err) < 0
		   ? -1
		   : table_get(vol, table, number + 1, &words[1], err);
}

/* hash_block: read a block of the epoch and hash it. */
static int hash_block(struct pass *pass, uint64_t block, uint64_t out[2], struct err *err)
{
	uint8_t data[BLOCK] = {0};
	uint64_t size = dvol_size(pass->reader), at = block * BLOCK;
	if (dvol_read(pass->reader, data, size - at < BLOCK ? size - at : BLOCK, at, err) < 0)
		return -1;
	sha_short(pass->sha, data, BLOCK, out);
	return 0;
}

static int block_digest(struct pass *pass, uint64_t block, uint64_t out[2], struct err *err)
{
	struct dvol *vol = pass->vol, *reader = pass->reader;
	uint64_t word, pbn;
	out[0] = out[1] = 0;
	pthread_mutex_lock(&reader->meta);
	int result = map_find(reader, block, &word, err);
	pthread_mutex_unlock(&reader->meta);
	if (result < 0)
		return -1;
	pbn = word_pbn(word);
	if (pbn == 0)
		return word == 0 && block * BLOCK < reader->backing_size ? hash_block(pass, block, out, err)
									 : 0;
	if (word_packed(word))
		return packed_read(reader, word, block, NULL, out, err);
	if (word_birth(word) <= pass->from) {
		pthread_mutex_lock(&vol->meta);
		result = two_words(vol, TABLE_PDIG, pbn * 2, out, err);
		pthread_mutex_unlock(&vol->meta);
		return result;
	}
	if (hash_block(pass, block, out, err) < 0)
		return -1;
	pthread_mutex_lock(&vol->meta);
	result = table_set(vol, TABLE_PDIG, pbn * 2, out[0], err);
	if (result == 0)
		result = table_set(vol, TABLE_PDIG, pbn * 2 + 1, out[1], err);
	pthread_mutex_unlock(&vol->meta);
	return result;
}

/* node_digest: of a node that is in the tree already; one that is not is all zeroes. */
static int node_digest(struct pass *pass, unsigned level, uint64_t number, uint64_t out[2], struct err *err)
{
	struct dvol *vol = pass->vol;
	enum table table = (enum table)(TABLE_HASH1 + level - 1);
	uint64_t tree;
	pthread_mutex_lock(&vol->meta);
	int result = two_words(vol, table, number * 3, out, err);
	if (result == 0)
		result = table_get(vol, table, number * 3 + 2, &tree, err);
	pthread_mutex_unlock(&vol->meta);
	if (result == 0 && tree != pass->tree)
		out[0] = out[1] = 0;
	return result;
}

static int compute_node(struct pass *pass, unsigned level, uint64_t number, uint64_t out[2], struct err *err)
{
	uint64_t children[TREE_FANOUT][2] = {0};
	uint64_t first = number * TREE_FANOUT, covers = 1;
	for (unsigned l = 1; l < level; l++)
		covers *= TREE_FANOUT;
	for (uint64_t i = 0; i < TREE_FANOUT && (first + i) * covers < pass->blocks; i++)
		if ((level == 1 ? block_digest(pass, first + i, children[i], err)
				: node_digest(pass, level - 1, first + i, children[i], err)) < 0)
			return -1;
	sha_short(pass->sha, children, sizeof(children), out);
	struct dvol *vol = pass->vol;
	enum table table = (enum table)(TABLE_HASH1 + level - 1);
	pthread_mutex_lock(&vol->meta);
	int result = 0;
	for (unsigned i = 0; i < 3 && result == 0; i++)
		result = table_set(vol, table, number * 3 + i, i < 2 ? out[i] : pass->tree, err);
	commit_note(vol);
	tables_trim(vol);
	pthread_mutex_unlock(&vol->meta);
	return result;
}

static int work(struct pass *pass, struct err *err)
{
	uint64_t top[2] = {0}, covers = TREE_FANOUT;
	for (unsigned level = 1; level <= TREE_LEVELS; level++, covers *= TREE_FANOUT) {
		to_parents(pass);
		for (size_t i = 0; i < pass->count; i++) {
			uint64_t digest[2];
			if (pass->nodes[i] * covers >= pass->blocks)
				break; /* of a later, larger state of the volume */
			if (relieve(pass, err) < 0 ||
			    compute_node(pass, level, pass->nodes[i], digest, err) < 0)
				return -1;
			if (pass->nodes[i] == 0)
				memcpy(top, digest, sizeof(top));
		}
		if (covers >= pass->blocks)
			break;
	}
	uint64_t size = dvol_size(pass->reader);
	sha_begin(pass->sha);
	sha_add(pass->sha, "dvol1\0\0", 8);
	sha_add(pass->sha, &size, 8);
	sha_add(pass->sha, top, 16);
	sha_end(pass->sha, pass->root);
	return 0;
}

/* ---- end: commit held ---- */
static int end(struct pass *pass, int result, struct err *err)
{
	/* All that the tree consists of is in place before it counts. */
	if (result == 0)
		result = commit_run(pass->vol, true, err);
	if (result == 0)
		result = mark_tree(pass->vol, pass->to, pass->tree, pass->root, err);
	if (pass->reader != NULL)
		(void)dvol_close(pass->reader, NULL);
	sha_free(pass->sha);
	free(pass->nodes);
	return result;
}

int digest_leave(struct dvol *vol, uint32_t index, struct err *err)
{
	static const uint8_t none[DVOL_ROOT];
	const struct catalog *catalog = &vol->catalog;
	if (catalog->digested != index)
		return 0;
	/* To the next epoch, else to the one before; without any the tree is given up. */
	uint32_t to = 0;
	for (size_t i = 0; i < catalog->nepochs && to <= index; i++)
		if (catalog->epochs[i].index != index && !(catalog->epochs[i].flags & EPOCH_CONDEMNED))
			to = catalog->epochs[i].index;
	if (to == 0)
		return mark_tree(vol, 0, catalog->hash_floor, none, err);
	struct pass pass;
	int result = begin(&pass, vol, to, err);
	if (result == 0)
		result = work(&pass, err);
	return end(&pass, result, err);
}

/* next_epoch: the one to be digested next on the way to index; index itself when there is none. */
static uint32_t next_epoch(const struct catalog *catalog, uint32_t index)
{
	for (size_t i = 0; i < catalog->nepochs; i++)
		if (catalog->epochs[i].index > catalog->digested &&
		    !(catalog->epochs[i].flags & EPOCH_CONDEMNED))
			return catalog->epochs[i].index < index ? catalog->epochs[i].index : index;
	return index;
}

int dvol_digest(struct dvol *vol, struct dvol_id id, uint8_t root[DVOL_ROOT], struct err *err)
{
	int result = vol_may_change(vol, err);
	if (result < 0)
		return -1;
	pthread_mutex_lock(&vol->digesting);
	pthread_mutex_lock(&vol->commit);
	for (;;) {
		const struct epoch *epoch = catalog_id(&vol->catalog, id);
		if (epoch == NULL) {
			result = err_set(err, ERR_STATE, "%s has no epoch %llu.%llu", vol->path,
					 (unsigned long long)id.term, (unsigned long long)id.number);
			break;
		}
		memcpy(root, epoch->root, DVOL_ROOT);
		if (epoch->flags & EPOCH_HAS_ROOT)
			break;
		struct pass pass;
		result = begin(&pass, vol, next_epoch(&vol->catalog, epoch->index), err);
		pass.holds_commit = false;
		pthread_mutex_unlock(&vol->commit);
		if (result == 0)
			result = work(&pass, err);
		pthread_mutex_lock(&vol->commit);
		result = end(&pass, result, err);
		if (result < 0)
			break;
	}
	pthread_mutex_unlock(&vol->commit);
	pthread_mutex_unlock(&vol->digesting);
	return result;
}
