/* tree.h: the digest tree (docs/dvol.md, "Digest") as any closed epoch has it; for this library only.
 *
 * Digests are 16 bytes, kept as two words.  Level 0 are the blocks; a node of level n has TREE_FANOUT children. */
#ifndef IMAGEFMT_TREE_H
#define IMAGEFMT_TREE_H

#include "imagefmt/sha.h"
#include "imagefmt/vol.h"

/* tree_levels: how many levels of nodes a volume of so many blocks has; tree_blocks: how many a node of a level covers.
 * tree_root: of a volume whose topmost node is top. */
unsigned tree_levels(uint64_t blocks);
static inline uint64_t tree_blocks(unsigned level)
{
	return 1ULL << (8 * level);
}
void tree_root(struct sha *sha, uint64_t size_bytes, const uint64_t top[2], uint8_t root[DVOL_ROOT]);

/* stored_digest (meta not held; vol on a closed epoch): what the volume knows about the content of a block whose map word is
 * word, without reading it.  *known is false when there is nothing.
 * block_digest: the same, and where there is nothing, of the content; *word is the block's. */
int stored_digest(struct dvol *vol, uint64_t word, uint64_t block, uint64_t digest[2], bool *known,
		  struct err *err);
int block_digest(struct dvol *vol, struct sha *sha, uint64_t block, uint64_t digest[2], uint64_t *word,
		 bool *known, struct err *err);

/* A fold computes the topmost node from what is put in by rising number, all on one level; what is left out is zeroes. */
struct fold {
	struct sha *sha;
	struct {
		uint64_t number; /* of the node whose children these are */
		bool used;
		uint64_t children[TREE_FANOUT][2];
	} nodes[TREE_LEVELS];
};
void fold_put(struct fold *fold, unsigned level, uint64_t number, const uint64_t digest[2]);
void fold_end(struct fold *fold, unsigned levels, uint64_t top[2]);

/* view_root (meta not held): the root of the epoch that vol reads, its catalog taken again where there was none; ERR_STATE where
 * there is none still. */
int view_root(struct dvol *vol, uint8_t root[DVOL_ROOT], struct err *err);

/* The tree of one closed epoch: what the volume's tree has, where nothing changed between the two epochs, and nodes that
 * were computed for this one. */
struct tree_node {
	uint64_t number, digest[2];
};

struct tree {
	struct dvol *vol;
	struct sha *sha;
	uint64_t blocks;
	unsigned levels;
	uint64_t top[2];
	struct tree_state state; /* of the volume's tree, when it was looked at last */
	struct tree_node *own[TREE_LEVELS];
	size_t nown[TREE_LEVELS];
};

/* tree_open (vol on a closed epoch): 1, with a topmost node that gives the epoch's root; 0 when the epoch has none, or the
 * volume no tree from which this one could be had; -1 with err.  Costs O(changed between the two epochs).  tree_close
 * may follow any of these, and a zeroed tree.
 * tree_top: the digest of node 0 of a level, the topmost one or above it (which continue the volume with zeroes).
 * tree_children: of a node whose digest is known; they are proven by it.  A writer may take its tree elsewhere meanwhile. */
int tree_open(struct tree *tree, struct dvol *vol, struct err *err);
void tree_close(struct tree *tree);
void tree_top(struct tree *tree, unsigned level, uint64_t digest[2]);
int tree_children(struct tree *tree, unsigned level, uint64_t number, const uint64_t digest[2],
		  uint64_t children[TREE_FANOUT][2], struct err *err);

static inline bool digest_zero(const uint64_t digest[2])
{
	return (digest[0] | digest[1]) == 0;
}

static inline bool digest_equal(const uint64_t a[2], const uint64_t b[2])
{
	return a[0] == b[0] && a[1] == b[1];
}

#endif
