/* treecompare.c: a closed epoch against a tree file.
 *
 * The file is read once, from its beginning to its end, and everything in it is proven by what came before, down from the
 * root: each node's children must hash to the node.  So a file that was made up can only describe other content; and what is
 * held in memory is one node of each level.  Nothing is told before the end was reached and the file's own digest found
 * right. */
#include "imagefmt/treefile.h"

#include <fcntl.h>
#include <stdlib.h>
#include <string.h>

struct against {
	struct tree tree;
	struct treefile_header header;
	uint64_t blocks, size; /* blocks that the file describes; bytes of the larger of the two */
	unsigned top;          /* level of the file's topmost node */
	struct file file;
	const char *path;
	uint64_t at, end;
	struct sha *sha, *nodes; /* of the whole file; of nodes */
	uint8_t *buffer;
	size_t have, used;
	struct dvol_extent *list;
	size_t count, cap;
};

/* A node as this volume has it.  `differs` false: it is the same as the file's, whatever is below it. */
struct here {
	bool differs;
	uint64_t digest[2];
};

/* ---- reading the file ---- */
static int take(struct against *against, void *data, size_t len, struct err *err)
{
	uint8_t *out = data;
	for (size_t done = 0, some; done < len; done += some) {
		if (against->used == against->have) {
			uint64_t left = against->end - against->at;
			against->have = left < TREEFILE_BUFFER ? left : TREEFILE_BUFFER;
			against->used = 0;
			if (left == 0)
				return err_set(err, ERR_INPUT, "%s ends too early; fetch it again",
					       against->path);
			if (file_read(&against->file, against->buffer, against->have, against->at) < 0)
				return err_sys(err, "%s", against->path);
			against->at += against->have;
		}
		some = against->have - against->used;
		some = some < len - done ? some : len - done;
		memcpy(out + done, against->buffer + against->used, some);
		against->used += some;
	}
	return 0;
}

static int damaged(const struct against *against, struct err *err)
{
	return err_set(err, ERR_INPUT, "%s is damaged near byte %llu; fetch it again", against->path,
		       (unsigned long long)(against->at - against->have + against->used));
}

/* proven: whether what was found is what it must be. */
static bool proven(const void *found, const void *wanted, size_t len)
{
#ifdef FUZZING_BUILD_MODE_UNSAFE_FOR_PRODUCTION
	(void)found;
	(void)wanted;
	return len > 0; /* as hash64 */
#else
	return memcmp(found, wanted, len) == 0;
#endif
}

/* take_children: of a node that is not all zeroes. */
static int take_children(struct against *against, unsigned level, uint64_t number, const uint64_t digest[2],
			 uint64_t children[TREE_FANOUT][2], struct err *err)
{
	uint8_t bitmap[TREEFILE_BITMAP];
	uint64_t found[2];
	if (take(against, bitmap, sizeof(bitmap), err) < 0)
		return -1;
	sha_add(against->sha, bitmap, sizeof(bitmap));
	memset(children, 0, TREE_FANOUT * sizeof(children[0]));
	for (unsigned i = 0; i < TREE_FANOUT; i++) {
		if (!(bitmap[i / 8] >> (i % 8) & 1))
			continue;
		if ((number * TREE_FANOUT + i) * tree_blocks(level - 1) >= against->blocks)
			return damaged(against, err);
		if (take(against, children[i], DIGEST, err) < 0)
			return -1;
		if (digest_zero(children[i]))
			return damaged(against, err);
		sha_add(against->sha, children[i], DIGEST);
	}
	sha_short(against->nodes, children, TREE_FANOUT * sizeof(children[0]), found);
	return proven(found, digest, DIGEST) ? 0 : damaged(against, err);
}

/* ---- what differs ---- */
static void differs(struct against *against, uint64_t number)
{
	uint64_t len = tree_blocks(against->header.leaf) * BLOCK, offset = number * len;
	extent_add(&against->list, &against->count, &against->cap, offset,
		   against->size - offset < len ? against->size - offset : len);
}

/* only_here: where the file has zeroes. */
static int only_here(struct against *against, unsigned level, uint64_t number, const uint64_t digest[2],
		     struct err *err)
{
	uint64_t children[TREE_FANOUT][2];
	if (digest_zero(digest))
		return 0;
	if (level == against->header.leaf) {
		differs(against, number);
		return 0;
	}
	if (tree_children(&against->tree, level, number, digest, children, err) < 0)
		return -1;
	for (unsigned i = 0; i < TREE_FANOUT; i++)
		if (only_here(against, level - 1, number * TREE_FANOUT + i, children[i], err) < 0)
			return -1;
	return 0;
}

/* node: one that the file has, with this digest. */
static int node(struct against *against, unsigned level, uint64_t number, const uint64_t digest[2],
		struct here here, struct err *err)
{
	uint64_t theirs[TREE_FANOUT][2], ours[TREE_FANOUT][2];
	here.differs = here.differs && !digest_equal(here.digest, digest);
	if (level == against->header.leaf) {
		if (here.differs)
			differs(against, number);
		return 0;
	}
	if (digest_zero(digest))
		return here.differs ? only_here(against, level, number, here.digest, err) : 0;
	if ((level <= 2 && vol_tick(against->tree.vol, against->at, against->end, err) < 0) ||
	    take_children(against, level, number, digest, theirs, err) < 0 ||
	    (here.differs && tree_children(&against->tree, level, number, here.digest, ours, err) < 0))
		return -1;
	for (unsigned i = 0; i < TREE_FANOUT; i++) {
		struct here child = {.differs = here.differs};
		if (here.differs)
			memcpy(child.digest, ours[i], DIGEST);
		if (node(against, level - 1, number * TREE_FANOUT + i, theirs[i], child, err) < 0)
			return -1;
	}
	return 0;
}

/* from_top: the leftmost node of a level of this volume's that may be above the file's topmost one. */
static int from_top(struct against *against, unsigned level, const uint64_t digest[2], struct err *err)
{
	uint64_t children[TREE_FANOUT][2];
	if (level == against->top)
		return node(against, level, 0, against->header.top,
			    (struct here){.differs = true, .digest = {digest[0], digest[1]}}, err);
	if (tree_children(&against->tree, level, 0, digest, children, err) < 0 ||
	    from_top(against, level - 1, children[0], err) < 0)
		return -1;
	for (unsigned i = 1; i < TREE_FANOUT; i++)
		if (only_here(against, level - 1, i, children[i], err) < 0)
			return -1;
	return 0;
}

static int take_header(struct against *against, struct err *err)
{
	uint8_t header[TREEFILE_HEADER], root[DVOL_ROOT];
	if (take(against, header, sizeof(header), err) < 0 ||
	    treefile_decode(&against->header, header, against->path, err) < 0)
		return -1;
	sha_begin(against->sha);
	sha_add(against->sha, header, sizeof(header));
	uint64_t size = dvol_size(against->tree.vol);
	against->blocks = (against->header.size_bytes + BLOCK - 1) / BLOCK;
	against->top = tree_levels(against->blocks);
	against->size = size > against->header.size_bytes ? size : against->header.size_bytes;
	tree_root(against->nodes, against->header.size_bytes, against->header.top, root);
	return proven(root, against->header.root, DVOL_ROOT) ? 0 : damaged(against, err);
}

static int read_all(struct against *against, struct err *err)
{
	uint8_t found[SHA_BYTES], stored[SHA_BYTES];
	uint64_t digest[2];
	if (take_header(against, err) < 0)
		return -1;
	unsigned levels = against->tree.levels;
	levels = levels > against->top ? levels : against->top;
	tree_top(&against->tree, levels, digest);
	if (from_top(against, levels, digest, err) < 0 || take(against, stored, sizeof(stored), err) < 0)
		return -1;
	sha_end(against->sha, found);
	if (!proven(found, stored, sizeof(found)) || against->used != against->have ||
	    against->at != against->end)
		return damaged(against, err);
	return 0;
}

static int read_file(struct against *against, struct err *err)
{
	struct dvol *vol = against->tree.vol;
	against->file.ops = vol->ops;
	against->file.file = vol->ops->open(vol->files_context, against->path, O_RDONLY);
	if (against->file.file == NULL)
		return err_sys(err, "%s", against->path);
	int result = vol->ops->size(against->file.file, &against->end) < 0 ? err_sys(err, "%s", against->path)
									   : read_all(against, err);
	vol->ops->close(against->file.file);
	return result;
}

int dvol_tree_compare(struct dvol *vol, const char *path, struct dvol_extent **list, size_t *count,
		      struct err *err)
{
	struct against against = {.path = path};
	uint8_t root[DVOL_ROOT];
	*list = NULL;
	*count = 0;
	if (vol->view == 0)
		return err_set(err, ERR_USAGE, "%s: closed epochs have digests, the head has none",
			       vol->path);
	if (view_root(vol, root, err) < 0)
		return -1;
	int result = tree_open(&against.tree, vol, err);
	if (result == 0)
		result =
		    err_set(err, ERR_STATE,
			    "%s: its digest tree is not there; compute the newest epoch's digest", vol->path);
	if (result > 0) {
		against.sha = sha_make();
		against.nodes = sha_make();
		against.buffer = must_alloc(TREEFILE_BUFFER, 1);
		result = read_file(&against, err);
		sha_free(against.sha);
		sha_free(against.nodes);
		free(against.buffer);
	}
	tree_close(&against.tree);
	if (result < 0) {
		free(against.list);
		return -1;
	}
	*list = against.list;
	*count = against.count;
	return 0;
}
