/* tree.c: nodes of the digest tree as any closed epoch has them, without reading data.
 *
 * The volume has one tree, of the epoch at which it stands.  For another epoch those nodes are right below which no block
 * changed between the two; the others are computed here, from the digests that are stored with the blocks.
 *
 * What is stored for a block never changes while an epoch that sees it is held.  Nodes do: a writer takes the tree to
 * later epochs.  What a node of this epoch is does not change by that, only how to come by it; and as everything taken is
 * proven by the root, it shows when it was taken from a tree that had moved: then the tree is looked at anew. */
#include "imagefmt/tree.h"

#include <stdlib.h>
#include <string.h>

enum { RETRIES = 4 };

unsigned tree_levels(uint64_t blocks)
{
	unsigned levels = 1;
	while (levels < TREE_LEVELS && tree_blocks(levels) < blocks)
		levels++;
	return levels;
}

void tree_root(struct sha *sha, uint64_t size_bytes, const uint64_t top[2], uint8_t root[DVOL_ROOT])
{
	sha_begin(sha);
	sha_add(sha, "dvol1\0\0", 8);
	sha_add(sha, &size_bytes, 8);
	sha_add(sha, top, DIGEST);
	sha_end(sha, root);
}

/* ---- blocks ---- */
int stored_digest(struct dvol *vol, uint64_t word, uint64_t block, uint64_t digest[2], bool *known,
		  struct err *err)
{
	digest[0] = digest[1] = 0;
	*known = true;
	if (word_pbn(word) == 0) {
		*known = word != 0 || block * BLOCK >= vol->backing_size;
		return 0;
	}
	if (word_packed(word))
		return packed_read(vol, word, block, NULL, digest, err);
	pthread_mutex_lock(&vol->meta);
	int result = 0;
	*known = word_birth(word) <= vol->catalog.tree.at && block / TREE_FANOUT < vol->catalog.tree.covered;
	if (*known)
		result = view_words(vol, TABLE_PDIG, word_pbn(word) * 2, 2, digest, err);
	tables_trim(vol);
	pthread_mutex_unlock(&vol->meta);
	return result;
}

int block_digest(struct dvol *vol, struct sha *sha, uint64_t block, uint64_t digest[2], uint64_t *word,
		 bool *known, struct err *err)
{
	pthread_mutex_lock(&vol->meta);
	int result = map_find(vol, block, word, err);
	pthread_mutex_unlock(&vol->meta);
	if (result < 0 || stored_digest(vol, *word, block, digest, known, err) < 0)
		return -1;
	if (*known)
		return 0;
	uint8_t data[BLOCK] = {0};
	uint64_t size = dvol_size(vol), at = block * BLOCK;
	if (dvol_read(vol, data, size - at < BLOCK ? size - at : BLOCK, at, err) < 0)
		return -1;
	sha_short(sha, data, BLOCK, digest);
	return 0;
}

/* ---- folds ---- */
static void fold_flush(struct fold *fold, unsigned level)
{
	uint64_t digest[2];
	if (!fold->nodes[level].used)
		return;
	sha_short(fold->sha, fold->nodes[level].children, sizeof(fold->nodes[level].children), digest);
	fold->nodes[level].used = false;
	memset(fold->nodes[level].children, 0, sizeof(fold->nodes[level].children));
	if (level + 1 < TREE_LEVELS)
		fold_put(fold, level + 1, fold->nodes[level].number, digest);
}

void fold_put(struct fold *fold, unsigned level, uint64_t number, const uint64_t digest[2])
{
	if (digest_zero(digest))
		return;
	if (fold->nodes[level].used && fold->nodes[level].number != number / TREE_FANOUT)
		fold_flush(fold, level);
	fold->nodes[level].used = true;
	fold->nodes[level].number = number / TREE_FANOUT;
	memcpy(fold->nodes[level].children[number % TREE_FANOUT], digest, DIGEST);
}

void fold_end(struct fold *fold, unsigned levels, uint64_t top[2])
{
	for (unsigned level = 0; level + 1 < levels; level++)
		fold_flush(fold, level);
	sha_short(fold->sha, fold->nodes[levels - 1].children, sizeof(fold->nodes[0].children), top);
}

/* ---- the tree of an epoch ---- */
static struct tree_node *own_node(const struct tree *tree, unsigned level, uint64_t number)
{
	size_t low = 0, high = tree->nown[level - 1];
	struct tree_node *list = tree->own[level - 1];
	while (low < high) {
		size_t middle = low + (high - low) / 2;
		if (list[middle].number < number)
			low = middle + 1;
		else
			high = middle;
	}
	return low < tree->nown[level - 1] && list[low].number == number ? &list[low] : NULL;
}

/* kept_node: as the volume's tree has it. */
static int kept_node(struct tree *tree, unsigned level, uint64_t number, uint64_t digest[2], struct err *err)
{
	struct dvol *vol = tree->vol;
	uint64_t words[3];
	pthread_mutex_lock(&vol->meta);
	int result = view_words(vol, (enum table)(TABLE_HASH1 + level - 1), number * 3, 3, words, err);
	tables_trim(vol);
	pthread_mutex_unlock(&vol->meta);
	bool ours = result == 0 && words[2] == tree->state.number;
	digest[0] = ours ? words[0] : 0;
	digest[1] = ours ? words[1] : 0;
	return result;
}

static int node(struct tree *tree, unsigned level, uint64_t number, uint64_t digest[2], struct err *err);

/* fetch: the children of a node, not proven. */
static int fetch(struct tree *tree, unsigned level, uint64_t number, uint64_t children[TREE_FANOUT][2],
		 struct err *err)
{
	uint64_t first = number * TREE_FANOUT;
	memset(children, 0, TREE_FANOUT * sizeof(children[0]));
	for (uint64_t i = 0; i < TREE_FANOUT; i++) {
		if ((first + i) * tree_blocks(level - 1) >= tree->blocks)
			break;
		if (node(tree, level - 1, first + i, children[i], err) < 0)
			return -1;
	}
	return 0;
}

/* node: within the volume, of the topmost level or below. */
static int node(struct tree *tree, unsigned level, uint64_t number, uint64_t digest[2], struct err *err)
{
	uint64_t word;
	bool known;
	if (level == 0)
		return block_digest(tree->vol, tree->sha, number, digest, &word, &known, err);
	const struct tree_node *own = own_node(tree, level, number);
	if (own == NULL)
		return kept_node(tree, level, number, digest, err);
	memcpy(digest, own->digest, DIGEST);
	return 0;
}

/* own_level: compute the nodes of a level above changed blocks (first level) or above computed nodes. */
static int own_level(struct tree *tree, unsigned level, const uint64_t *changed, size_t count,
		     struct err *err)
{
	const struct tree_node *below = level > 1 ? tree->own[level - 2] : NULL;
	count = level > 1 ? tree->nown[level - 2] : count;
	struct tree_node *list = must_alloc(count + 1, sizeof(*list));
	tree->own[level - 1] = list;
	/* The leftmost always: above it there may be levels that a smaller volume's tree did not have. */
	size_t n = 1;
	for (size_t i = 0; i < count; i++) {
		uint64_t number = (level > 1 ? below[i].number : changed[i]) / TREE_FANOUT;
		if (number != list[n - 1].number && number * tree_blocks(level) < tree->blocks)
			list[n++].number = number;
	}
	for (size_t i = 0; i < n; i++) {
		uint64_t children[TREE_FANOUT][2];
		if (fetch(tree, level, list[i].number, children, err) < 0)
			return -1;
		sha_short(tree->sha, children, sizeof(children), list[i].digest);
	}
	tree->nown[level - 1] = n;
	return 0;
}

/* changed_from_tree (meta held): the blocks whose nodes cannot be taken from the volume's tree, and the state for which
 * that is so.  1, 0 when there is no tree, -1. */
static int changed_from_tree(struct tree *tree, uint64_t **list, size_t *count, struct err *err)
{
	struct dvol *vol = tree->vol;
	for (int i = 0; i < RETRIES; i++) {
		if (view_refresh(vol, err) < 0)
			return -1;
		struct tree_state state = vol->catalog.tree;
		uint32_t low = vol->view < state.at ? vol->view : state.at;
		uint32_t high = vol->view > state.at ? vol->view : state.at;
		if (state.at == 0 || state.covered != TREE_COVERED)
			return 0;
		low = state.moving != 0 && state.moving < low ? state.moving : low;
		high = state.moving > high ? state.moving : high;
		if (changed_blocks(vol, low, high, list, count, err) < 0)
			return -1;
		tree->state = state;
		if (vol->catalog.tree.moves == state.moves)
			return low < high ? 1 : 2;
		free(*list);
		*list = NULL;
	}
	return 0;
}

static void forget(struct tree *tree)
{
	for (unsigned i = 0; i < TREE_LEVELS; i++) {
		free(tree->own[i]);
		tree->own[i] = NULL;
		tree->nown[i] = 0;
	}
}

/* look: at the volume's tree as it is now: as tree_open. */
static int look(struct tree *tree, struct err *err)
{
	struct dvol *vol = tree->vol;
	uint64_t *changed = NULL;
	size_t count = 0;
	forget(tree);
	pthread_mutex_lock(&vol->meta);
	int result = changed_from_tree(tree, &changed, &count, err);
	pthread_mutex_unlock(&vol->meta);
	for (unsigned level = 1; result == 1 && level <= tree->levels; level++)
		if (own_level(tree, level, changed, count, err) < 0)
			result = -1;
	free(changed);
	return result > 0 ? 1 : result;
}

/* moved: 1 when a writer took its tree elsewhere since it was looked at. */
static int moved(struct tree *tree, struct err *err)
{
	struct dvol *vol = tree->vol;
	pthread_mutex_lock(&vol->meta);
	int result = view_refresh(vol, err);
	if (result == 0)
		result = vol->catalog.tree.moves != tree->state.moves;
	pthread_mutex_unlock(&vol->meta);
	return result;
}

/* look_again: after something was not what the root says: 1 when the tree had moved, otherwise an error. */
static int look_again(struct tree *tree, struct err *err)
{
	int result = moved(tree, err);
	if (result == 0)
		return err_set(err, ERR_INPUT,
			       "%s: the digest tree is not what the epoch's root says; verify the volume",
			       tree->vol->path);
	if (result > 0)
		result = look(tree, err);
	return result != 0 ? result
			   : err_set(err, ERR_STATE, "%s: the digests went away meanwhile; try again",
				     tree->vol->path);
}

int view_root(struct dvol *vol, uint8_t root[DVOL_ROOT], struct err *err)
{
	int result = 0;
	pthread_mutex_lock(&vol->meta);
	if (!(catalog_index(&vol->catalog, vol->view)->flags & EPOCH_HAS_ROOT))
		result = view_refresh(vol, err);
	if (result == 0) {
		const struct epoch *epoch = catalog_index(&vol->catalog, vol->view);
		memcpy(root, epoch->root, DVOL_ROOT);
		if (!(epoch->flags & EPOCH_HAS_ROOT))
			result = err_set(
			    err, ERR_STATE, "%s: epoch %llu.%llu has no digest; compute it first", vol->path,
			    (unsigned long long)epoch->id.term, (unsigned long long)epoch->id.number);
	}
	pthread_mutex_unlock(&vol->meta);
	return result;
}

int tree_open(struct tree *tree, struct dvol *vol, struct err *err)
{
	uint8_t root[DVOL_ROOT], found[DVOL_ROOT];
	struct err why = {0};
	*tree = (struct tree){.vol = vol};
	tree->blocks = (dvol_size(vol) + BLOCK - 1) / BLOCK;
	tree->levels = tree_levels(tree->blocks);
	tree->sha = sha_make();
	if (view_root(vol, root, &why) < 0) {
		if (why.kind == ERR_STATE)
			return 0;
		if (err != NULL)
			*err = why;
		return -1;
	}
	int result = look(tree, err);
	for (int i = 0; result > 0; i++) {
		if (node(tree, tree->levels, 0, tree->top, err) < 0)
			return -1;
		tree_root(tree->sha, dvol_size(vol), tree->top, found);
		if (memcmp(found, root, DVOL_ROOT) == 0)
			return 1;
		if (i == RETRIES)
			return 0;
		result = look_again(tree, err);
	}
	return result;
}

void tree_close(struct tree *tree)
{
	forget(tree);
	sha_free(tree->sha);
	tree->sha = NULL;
}

void tree_top(struct tree *tree, unsigned level, uint64_t digest[2])
{
	uint64_t children[TREE_FANOUT][2] = {0};
	memcpy(digest, tree->top, DIGEST);
	for (unsigned at = tree->levels; at < level; at++) {
		memcpy(children[0], digest, DIGEST);
		sha_short(tree->sha, children, sizeof(children), digest);
	}
}

int tree_children(struct tree *tree, unsigned level, uint64_t number, const uint64_t digest[2],
		  uint64_t children[TREE_FANOUT][2], struct err *err)
{
	uint64_t found[2];
	memset(children, 0, TREE_FANOUT * sizeof(children[0]));
	if (digest_zero(digest))
		return 0;
	if (level > tree->levels) {
		tree_top(tree, level - 1, children[0]);
		return 0;
	}
	for (int i = 0;; i++) {
		if (fetch(tree, level, number, children, err) < 0)
			return -1;
		sha_short(tree->sha, children, TREE_FANOUT * sizeof(children[0]), found);
		if (digest_equal(found, digest))
			return 0;
		if (i == RETRIES)
			return err_set(err, ERR_STATE,
				       "%s: its digests are being moved all the time; try again",
				       tree->vol->path);
		if (look_again(tree, err) < 0)
			return -1;
	}
}
