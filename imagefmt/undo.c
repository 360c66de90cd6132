/* undo.c: undo entries in memory and in runs, and what a closed epoch sees by them. */
#include "imagefmt/vol.h"

#include <stdlib.h>
#include <string.h>

void undo_add(struct undos *undos, uint32_t owner, uint64_t block, uint64_t word)
{
	if (undos->count == 0 || undos->runs[undos->count - 1].owner != owner) {
		size_t cap = undos->count;
		undos->runs = must_grow(undos->runs, undos->count, &cap, sizeof(struct memrun));
		undos->runs[undos->count++] = (struct memrun){.owner = owner};
	}
	struct memrun *run = &undos->runs[undos->count - 1];
	run->list = must_grow(run->list, run->count, &run->cap, sizeof(struct undo));
	run->list[run->count++] = (struct undo){.block = block, .word = word};
	run->sorted = false;
}

void undo_clear(struct undos *undos)
{
	for (size_t i = 0; i < undos->count; i++)
		free(undos->runs[i].list);
	free(undos->runs);
	memset(undos, 0, sizeof(*undos));
}

static int by_block(const void *a, const void *b)
{
	uint64_t x = ((const struct undo *)a)->block, y = ((const struct undo *)b)->block;
	return x < y ? -1 : x > y;
}

void undo_sort(struct memrun *run)
{
	if (!run->sorted && run->count > 1)
		qsort(run->list, run->count, sizeof(struct undo), by_block);
	run->sorted = true;
}

static uint64_t run_seed(const struct dvol *vol, uint32_t id, uint64_t page)
{
	return vol_seed(vol) ^ id ^ page << 32;
}

void run_encode(const struct dvol *vol, uint32_t id, const struct undo *list, uint32_t count, uint8_t *out)
{
	for (uint64_t page = 0; page < run_pages(count); page++, out += BLOCK) {
		uint32_t first = (uint32_t)page * RUN_PAGE_ENTRIES;
		uint32_t some = count - first < RUN_PAGE_ENTRIES ? count - first : RUN_PAGE_ENTRIES;
		memset(out, 0, BLOCK);
		le32_put(out + 8, some);
		memcpy(out + 16, list + first, some * sizeof(struct undo));
		le64_put(out, hash64(out + 8, BLOCK - 8, run_seed(vol, id, page)));
	}
}

static int run_damaged(const struct dvol *vol, const struct run *run, struct err *err)
{
	return err_set(
	    err, ERR_INPUT,
	    "%s: the history of epoch index %u is damaged near byte %llu; the head is not concerned",
	    vol->path, run->owner, (unsigned long long)run->pbn * BLOCK);
}

/* page_load: entries of one page of a run into list (room for RUN_PAGE_ENTRIES); returns how many, or -1. */
static int page_load(struct dvol *vol, const struct run *run, uint64_t page, struct undo *list,
		     struct err *err)
{
	uint8_t data[BLOCK];
	if (run->pbn < vol->alloc.first || run->pbn + run_pages(run->count) > vol->alloc.end)
		return run_damaged(vol, run, err);
	if (file_read(&vol->file, data, BLOCK, (run->pbn + page) * BLOCK) < 0)
		return err_sys(err, "%s: reading the history at byte %llu", vol->path,
			       (unsigned long long)(run->pbn + page) * BLOCK);
	uint32_t first = (uint32_t)page * RUN_PAGE_ENTRIES;
	uint32_t some = run->count - first < RUN_PAGE_ENTRIES ? run->count - first : RUN_PAGE_ENTRIES;
	if (le64_get(data) != hash64(data + 8, BLOCK - 8, run_seed(vol, run->id, page)) ||
	    le32_get(data + 8) != some)
		return run_damaged(vol, run, err);
	memcpy(list, data + 16, some * sizeof(struct undo));
	for (uint32_t i = 0; i < some; i++)
		if ((i > 0 && list[i].block <= list[i - 1].block) || list[i].block >= DVOL_SIZE_MAX / BLOCK)
			return run_damaged(vol, run, err);
	return (int)some;
}

struct undo *run_load(struct dvol *vol, const struct run *run, struct err *err)
{
	struct undo *list = must_alloc((size_t)run_pages(run->count) * RUN_PAGE_ENTRIES, sizeof(*list));
	for (uint64_t page = 0; page < run_pages(run->count); page++) {
		struct undo *at = list + page * RUN_PAGE_ENTRIES;
		if (page_load(vol, run, page, at, err) < 0 ||
		    (page > 0 && at[0].block <= at[-1].block && run_damaged(vol, run, err) < 0)) {
			free(list);
			return NULL;
		}
	}
	return list;
}

/* ---- windows: what one epoch sees by undo entries in a range of blocks ---- */
void windows_clear(struct dvol *vol)
{
	for (size_t i = 0; i < WINDOWS; i++) {
		free(vol->windows[i].words);
		free(vol->windows[i].known);
		vol->windows[i] = (struct window){.number = UINT64_MAX};
	}
}

/* An entry of an epoch at or after `index` counts when the block was born by then; there is one such at most. */
static void window_take(struct window *window, uint32_t index, const struct undo *undo)
{
	uint64_t at = undo->block % WINDOW;
	if (undo->block / WINDOW != window->number || word_birth(undo->word) > index)
		return;
	window->words[at] = undo->word;
	window->known[at / 64] |= 1ULL << (at % 64);
}

static int window_take_run(struct dvol *vol, struct window *window, uint32_t index, struct run *run,
			   struct err *err)
{
	struct undo list[RUN_PAGE_ENTRIES];
	uint64_t pages = run_pages(run->count);
	if (run->fences == NULL) {
		uint64_t *fences = must_alloc(pages, 8);
		for (uint64_t page = 0; page < pages; page++) {
			if (page_load(vol, run, page, list, err) < 0) {
				free(fences);
				return -1;
			}
			fences[page] = list[0].block;
		}
		run->fences = fences;
	}
	uint64_t low = window->number * WINDOW, high = low + WINDOW;
	for (uint64_t page = 0; page < pages && run->fences[page] < high; page++) {
		if (page + 1 < pages && run->fences[page + 1] <= low)
			continue;
		int n = page_load(vol, run, page, list, err);
		if (n < 0)
			return -1;
		for (int i = 0; i < n; i++)
			window_take(window, index, &list[i]);
	}
	return 0;
}

static int window_fill(struct dvol *vol, struct window *window, uint32_t index, struct err *err)
{
	for (size_t i = 0; i < vol->catalog.nruns; i++)
		if (vol->catalog.runs[i].owner >= index &&
		    window_take_run(vol, window, index, &vol->catalog.runs[i], err) < 0)
			return -1;
	for (size_t i = 0; i < vol->undos.count; i++) {
		const struct memrun *run = &vol->undos.runs[i];
		for (size_t n = 0; run->owner >= index && n < run->count; n++)
			window_take(window, index, &run->list[n]);
	}
	return 0;
}

int undo_find(struct dvol *vol, uint32_t index, uint64_t block, uint64_t *word, bool *found, struct err *err)
{
	struct window *window = NULL, *oldest = &vol->windows[0];
	for (size_t i = 0; i < WINDOWS && window == NULL; i++) {
		if (vol->windows[i].words != NULL && vol->windows[i].number == block / WINDOW)
			window = &vol->windows[i];
		else if (vol->windows[i].stamp < oldest->stamp)
			oldest = &vol->windows[i];
	}
	if (window == NULL) {
		window = oldest;
		free(window->words);
		free(window->known);
		*window = (struct window){.number = block / WINDOW};
		window->words = must_alloc(WINDOW, 8);
		window->known = must_alloc(WINDOW / 64, 8);
		if (window_fill(vol, window, index, err) < 0) {
			free(window->words);
			free(window->known);
			*window = (struct window){.number = UINT64_MAX};
			return -1;
		}
	}
	window->stamp = ++vol->window_clock;
	uint64_t at = block % WINDOW;
	*found = window->known[at / 64] >> (at % 64) & 1;
	*word = window->words[at];
	return 0;
}
