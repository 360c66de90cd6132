/* compare.c: in which blocks two volumes differ: by walking their digest trees, or by reading both. */
#include "imagefmt/tree.h"

#include <stdlib.h>
#include <string.h>

enum { READ_BLOCKS = 256 };

struct compare {
	struct dvol *a, *b;
	struct tree trees[2];
	uint64_t size; /* bytes, of the larger one */
	struct dvol_extent *list;
	size_t count, cap;
};

static void differs(struct compare *compare, uint64_t offset)
{
	uint64_t left = compare->size - offset;
	extent_add(&compare->list, &compare->count, &compare->cap, offset, left < BLOCK ? left : BLOCK);
}

/* ---- by trees ---- */

/* walk: below a node that differs; a, b: its digests. */
static int walk(struct compare *compare, unsigned level, uint64_t number, const uint64_t a[2],
		const uint64_t b[2], struct err *err)
{
	uint64_t in_a[TREE_FANOUT][2], in_b[TREE_FANOUT][2], first = number * TREE_FANOUT;
	if (level == 1 && vol_tick(compare->a, first * BLOCK, compare->size, err) < 0)
		return -1;
	if (tree_children(&compare->trees[0], level, number, a, in_a, err) < 0 ||
	    tree_children(&compare->trees[1], level, number, b, in_b, err) < 0)
		return -1;
	for (unsigned i = 0; i < TREE_FANOUT; i++) {
		if (digest_equal(in_a[i], in_b[i]))
			continue;
		if (level == 1)
			differs(compare, (first + i) * BLOCK);
		else if (walk(compare, level - 1, first + i, in_a[i], in_b[i], err) < 0)
			return -1;
	}
	return 0;
}

/* by_trees: 1 when the list is there, 0 when it cannot be had this way, -1. */
static int by_trees(struct compare *compare, struct err *err)
{
	struct tree *trees = compare->trees;
	int result = tree_open(&trees[0], compare->a, err);
	if (result > 0)
		result = tree_open(&trees[1], compare->b, err);
	if (result > 0) {
		unsigned top = trees[0].levels > trees[1].levels ? trees[0].levels : trees[1].levels;
		uint64_t a[2], b[2];
		tree_top(&trees[0], top, a);
		tree_top(&trees[1], top, b);
		if (!digest_equal(a, b) && walk(compare, top, 0, a, b, err) < 0)
			result = -1;
	}
	tree_close(&trees[0]);
	tree_close(&trees[1]);
	return result;
}

/* same_root: nothing differs, as both epochs' roots say. */
static bool same_root(struct compare *compare)
{
	uint8_t a[DVOL_ROOT], b[DVOL_ROOT];
	return view_root(compare->a, a, NULL) == 0 && view_root(compare->b, b, NULL) == 0 &&
	       memcmp(a, b, DVOL_ROOT) == 0;
}

/* ---- by reading ---- */

/* read_past: zeroes past the end. */
static int read_past(struct dvol *vol, uint8_t *data, uint64_t len, uint64_t offset, struct err *err)
{
	uint64_t size = dvol_size(vol), inside = offset < size ? size - offset : 0;
	inside = inside < len ? inside : len;
	memset(data + inside, 0, len - inside);
	return inside == 0 ? 0 : dvol_read(vol, data, inside, offset, err);
}

/* mapped_from: the first block at or after `block` that may be something else than zeroes. */
static int mapped_from(struct dvol *vol, uint64_t *block, struct err *err)
{
	if (*block < (vol->backing_size + BLOCK - 1) / BLOCK)
		return 0;
	pthread_mutex_lock(&vol->meta);
	int result = view_seek(vol, *block, block, err);
	tables_trim(vol);
	pthread_mutex_unlock(&vol->meta);
	return result;
}

/* both_from: as mapped_from, of either; in bytes, to where a read of READ_BLOCKS begins. */
static int both_from(struct compare *compare, uint64_t *at, struct err *err)
{
	uint64_t a = *at / BLOCK, b = a;
	if (mapped_from(compare->a, &a, err) < 0 || mapped_from(compare->b, &b, err) < 0)
		return -1;
	a = (a < b ? a : b) / READ_BLOCKS * READ_BLOCKS;
	*at = a * BLOCK > *at ? a * BLOCK : *at;
	return 0;
}

static int by_reading(struct compare *compare, struct err *err)
{
	uint8_t *data = must_alloc(2 * READ_BLOCKS, BLOCK), *other = data + READ_BLOCKS * BLOCK;
	uint64_t size = compare->size;
	int result = 0;
	for (uint64_t at = 0; result == 0; at += READ_BLOCKS * BLOCK) {
		result = both_from(compare, &at, err);
		if (result < 0 || at >= size)
			break;
		uint64_t len = size - at < READ_BLOCKS * BLOCK ? size - at : READ_BLOCKS * BLOCK;
		result = vol_tick(compare->a, at, size, err);
		if (result == 0)
			result = read_past(compare->a, data, len, at, err);
		if (result == 0)
			result = read_past(compare->b, other, len, at, err);
		for (uint64_t i = 0; i < len && result == 0; i += BLOCK)
			if (memcmp(data + i, other + i, len - i < BLOCK ? len - i : BLOCK) != 0)
				differs(compare, at + i);
	}
	free(data);
	return result;
}

int dvol_compare(struct dvol *a, struct dvol *b, struct dvol_extent **list, size_t *count,
		 enum dvol_compared *way, struct err *err)
{
	struct compare compare = {.a = a, .b = b};
	if (vol_has_content(a, err) < 0 || vol_has_content(b, err) < 0)
		return -1;
	compare.size = dvol_size(a) > dvol_size(b) ? dvol_size(a) : dvol_size(b);
	*list = NULL;
	*count = 0;
	if (vol_has_content(a, err) < 0 || vol_has_content(b, err) < 0)
		return -1;
	bool closed = a->view != 0 && b->view != 0;
	int result = closed && same_root(&compare) ? 1 : 0;
	if (closed && result == 0)
		result = by_trees(&compare, err);
	if (way != NULL)
		*way = result > 0 ? DVOL_COMPARED_DIGESTS : DVOL_COMPARED_DATA;
	if (result == 0)
		result = by_reading(&compare, err);
	*list = result < 0 ? NULL : compare.list;
	*count = result < 0 ? 0 : compare.count;
	if (result < 0)
		free(compare.list);
	return result < 0 ? -1 : 0;
}
