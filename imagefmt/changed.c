/* changed.c: which blocks changed between two epochs: the undo entries between them. */
#include "imagefmt/vol.h"

#include <stdlib.h>
#include <string.h>

struct blocks {
	uint64_t *list;
	size_t count, cap;
};

static int by_value(const void *a, const void *b)
{
	uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
	return x < y ? -1 : x > y;
}

static void sort_unique(struct blocks *blocks)
{
	size_t kept = 0;
	if (blocks->count > 1)
		qsort(blocks->list, blocks->count, sizeof(uint64_t), by_value);
	for (size_t i = 0; i < blocks->count; i++)
		if (kept == 0 || blocks->list[kept - 1] != blocks->list[i])
			blocks->list[kept++] = blocks->list[i];
	blocks->count = kept;
}

static void add(struct blocks *blocks, uint64_t block)
{
	blocks->list = must_grow(blocks->list, blocks->count, &blocks->cap, sizeof(uint64_t));
	blocks->list[blocks->count++] = block;
}

static int collect(struct dvol *vol, uint32_t from, uint32_t to, struct blocks *blocks, struct err *err)
{
	for (size_t i = 0; i < vol->catalog.nruns; i++) {
		const struct run *run = &vol->catalog.runs[i];
		if (run->owner < from || run->owner >= to)
			continue;
		struct undo *list = run_load(vol, run, err);
		if (list == NULL)
			return -1;
		for (uint32_t n = 0; n < run->count; n++)
			add(blocks, list[n].block);
		free(list);
	}
	for (size_t i = 0; i < vol->undos.count; i++) {
		const struct memrun *run = &vol->undos.runs[i];
		for (size_t n = 0; run->owner >= from && run->owner < to && n < run->count; n++)
			add(blocks, run->list[n].block);
	}
	return 0;
}

int changed_blocks(struct dvol *vol, uint32_t from, uint32_t to, uint64_t **list, size_t *count,
		   struct err *err)
{
	struct blocks blocks = {0};
	int result = collect(vol, from, to, &blocks, err);
	/* A reader's catalog may be older than what is in the file. */
	if (result < 0 && vol->view != 0 && !vol->failed) {
		blocks.count = 0;
		result = view_refresh(vol, err);
		if (result == 0)
			result = collect(vol, from, to, &blocks, err);
	}
	if (result < 0) {
		free(blocks.list);
		return -1;
	}
	sort_unique(&blocks);
	*list = blocks.list;
	*count = blocks.count;
	return 0;
}

/* mapped_blocks: all that is not a hole, for this handle's view; a backing counts whole. */
static int mapped_blocks(struct dvol *vol, struct blocks *blocks, struct err *err)
{
	uint64_t size = dvol_size(vol);
	uint64_t end = (size + BLOCK - 1) / BLOCK;
	uint64_t backed =
	    vol->catalog.backing_kind == DVOL_BACKING_NONE ? 0 : (vol->backing_size + BLOCK - 1) / BLOCK;
	for (uint64_t block = 0; block < end; block++) {
		uint64_t word;
		if (block >= backed && view_seek(vol, block, &block, err) < 0)
			return -1;
		if (block >= end)
			break;
		if (map_find(vol, block, &word, err) < 0)
			return -1;
		if (word_pbn(word) != 0 || (word == 0 && block < backed))
			add(blocks, block);
		if (block % PAGE_WORDS == 0)
			tables_trim(vol);
	}
	return 0;
}

void extent_add(struct dvol_extent **list, size_t *count, size_t *cap, uint64_t offset, uint64_t len)
{
	struct dvol_extent *last = *count > 0 ? &(*list)[*count - 1] : NULL;
	if (last != NULL && last->offset + last->len == offset) {
		last->len += len;
		return;
	}
	*list = must_grow(*list, *count, cap, sizeof(**list));
	(*list)[(*count)++] = (struct dvol_extent){.offset = offset, .len = len};
}

static void join(const struct blocks *blocks, uint64_t size, struct dvol_extent **list, size_t *count)
{
	size_t cap = 0;
	*list = NULL;
	*count = 0;
	for (size_t i = 0; i < blocks->count; i++) {
		uint64_t at = blocks->list[i] * BLOCK;
		if (at >= size)
			break;
		uint64_t len = size - at < BLOCK ? size - at : BLOCK;
		extent_add(list, count, &cap, at, len);
	}
}

/* index_of: of an epoch by name; 0 with err when it is not there. */
static uint32_t index_of(const struct dvol *vol, struct dvol_id id, struct err *err)
{
	const struct epoch *epoch = catalog_id(&vol->catalog, id);
	if (epoch != NULL)
		return epoch->index;
	err_set(err, ERR_STATE, "%s has no epoch %llu.%llu", vol->path, (unsigned long long)id.term,
		(unsigned long long)id.number);
	return 0;
}

int dvol_changed(struct dvol *vol, struct dvol_id from, struct dvol_id to, struct dvol_extent **list,
		 size_t *count, struct err *err)
{
	struct blocks blocks = {0};
	uint64_t size = dvol_size(vol);
	uint32_t first = 0, last = vol->view != 0 ? vol->view : UINT32_MAX;
	int result = 0;
	if (vol_has_content(vol, err) < 0)
		return -1;
	pthread_mutex_lock(&vol->commit); /* runs stay what they are while they are read */
	pthread_mutex_lock(&vol->meta);
	if ((from.number != 0 && (first = index_of(vol, from, err)) == 0) ||
	    (to.number != 0 && (last = index_of(vol, to, err)) == 0)) {
		result = -1;
	} else if (first > last || (from.number == 0 && to.number != 0 && last != vol->view) ||
		   (vol->view != 0 && last > vol->view)) {
		result = err_set(err, ERR_USAGE, "%s: the later epoch must be one that this handle sees",
				 vol->path);
	} else if (first == 0) {
		result = mapped_blocks(vol, &blocks, err);
	} else {
		if (to.number != 0)
			size = catalog_index(&vol->catalog, last)->size_bytes;
		result = changed_blocks(vol, first, last, &blocks.list, &blocks.count, err);
	}
	pthread_mutex_unlock(&vol->meta);
	pthread_mutex_unlock(&vol->commit);
	if (result == 0)
		join(&blocks, size, list, count);
	free(blocks.list);
	return result;
}
