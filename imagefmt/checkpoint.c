/* checkpoint.c: what is in the journal written to its place, so that a half of the journal is free again.
 *
 * Its first part, under the commit lock, takes the cut: which pages are to be written, as they are then, and a record
 * with the history that was in the journal only.  That record is the first one in the other half of the journal, and the
 * superblock which the second part writes says that the journal begins behind it.  Until then the superblock before
 * counts, and a replay goes through both halves.
 *
 * The second part needs no lock but meta, in passing: records are written after the cut, and their changes made in memory.
 * A page of the cut that is to be changed before it was written is copied first (before_change in table.c), so that
 * what is written is the state at the cut.  Where it was not asked for but due, a thread of its own does it, so that
 * no writer and no flush takes as long.  (Not where the file operations are the caller's and say that they are not made for
 * more threads than the caller has.) */
#include "common/thread.h"
#include "imagefmt/vol.h"

#include <stdlib.h>
#include <string.h>

enum { WRITE_MAX = 128 };

/* What a checkpoint writes, as it was at the cut. */
struct checkpoint {
	struct buf record, catalog;
	struct extents freed;
	struct page **pages;
	size_t npages;
	struct buf runs;       /* run pages, one after the other … */
	struct extents run_at; /* … and where they go */
	struct extent catalog_at;
	struct super_state state;
};

/* ---- the part under meta ---- */
static int spill_one(struct dvol *vol, struct checkpoint *cp, const struct undo *list, uint32_t count,
		     uint32_t owner, struct err *err)
{
	struct extent at;
	uint64_t pages = run_pages(count);
	if (alloc_reserve(vol, pages, true, &at, err) < 0 || alloc_use(vol, at, err) < 0)
		return -1;
	uint32_t id = vol->catalog.next_run;
	run_encode(vol, id, list, count, buf_reserve(&cp->runs, pages * BLOCK));
	cp->runs.len += pages * BLOCK;
	cp->run_at.list = must_grow(cp->run_at.list, cp->run_at.count, &cp->run_at.cap, sizeof(at));
	cp->run_at.list[cp->run_at.count++] = at;
	struct buf ops = {0};
	buf_put_u8(&ops, OP_RUN_ADD);
	buf_put_u32(&ops, id);
	buf_put_u32(&ops, owner);
	buf_put_u32(&ops, count);
	buf_put_u64(&ops, at.pbn);
	return op_do(vol, &ops, err);
}

static int spill(struct dvol *vol, struct checkpoint *cp, struct err *err)
{
	uint64_t most = vol->super.journal_blocks * BLOCK / 256;
	most = most < RUN_MAX ? most : RUN_MAX;
	for (size_t i = 0; i < vol->undos.count; i++) {
		struct memrun *run = &vol->undos.runs[i];
		undo_sort(run);
		for (size_t done = 0; done < run->count; done += most) {
			size_t some = run->count - done < most ? run->count - done : most;
			if (spill_one(vol, cp, run->list + done, (uint32_t)some, run->owner, err) < 0)
				return -1;
		}
	}
	if (vol->undos.count > 0) {
		struct buf ops = {0};
		buf_put_u8(&ops, OP_SPILL);
		undo_clear(&vol->undos);
		return op_do(vol, &ops, err);
	}
	return 0;
}

static void snapshot_pages(struct dvol *vol, struct checkpoint *cp)
{
	cp->pages = must_alloc(vol->tables.ndirty + 1, sizeof(*cp->pages));
	for (struct page *page = vol->tables.first; page != NULL; page = page->newer) {
		if (!page->dirty)
			continue;
		cp->pages[cp->npages++] = page;
		page->dirty = false;
		page->writing = WRITING_DUE;
	}
	vol->tables.nwriting = vol->tables.ndirty;
	vol->tables.ndirty = 0;
}

static int prepare(struct dvol *vol, struct checkpoint *cp, struct err *err)
{
	if (spill(vol, cp, err) < 0)
		return -1;
	catalog_encode(&vol->catalog, &cp->catalog);
	if (cp->catalog.len > CATALOG_MAX)
		return err_set(err, ERR_STATE, "%s: too many epochs and runs; delete epochs", vol->path);
	if (alloc_reserve(vol, (cp->catalog.len + BLOCK - 1) / BLOCK, true, &cp->catalog_at, err) < 0)
		return -1;
	cp->freed = vol->alloc.freed;
	vol->alloc.freed = (struct extents){0};
	if (journal_cut(vol, &cp->record, err) < 0)
		return -1;
	snapshot_pages(vol, cp);
	commit_note(vol);
	cp->state = (struct super_state){
	    .generation = vol->super.generation + 1,
	    .catalog_pbn = cp->catalog_at.pbn,
	    .catalog_bytes = cp->catalog.len,
	    .catalog_sum = hash64(cp->catalog.data, cp->catalog.len, 0),
	    .end = vol->alloc.end,
	    .used = vol->alloc.used,
	    .cursor = vol->alloc.cursor,
	};
	memcpy(cp->state.roots, vol->tables.roots, sizeof(cp->state.roots));
	return 0;
}

/* ---- the part that writes ---- */
static int page_order(const void *a, const void *b)
{
	uint64_t x = (*(struct page *const *)a)->pbn, y = (*(struct page *const *)b)->pbn;
	return x < y ? -1 : x > y;
}

/* write_batch: some pages as they were at the cut.  A page stays in memory until it is in the file. */
static int write_batch(struct dvol *vol, struct page **list, size_t count, uint8_t *data, struct err *err)
{
	pthread_mutex_lock(&vol->meta);
	for (size_t i = 0; i < count; i++)
		page_take(vol, list[i], data + i * BLOCK);
	pthread_mutex_unlock(&vol->meta);
	for (size_t i = 0, n; i < count; i += n) {
		for (n = 1; i + n < count && list[i + n]->pbn == list[i]->pbn + n;)
			n++;
		/* By the page cache: pages lie all over the file, and the sync writes them side by side. */
		if (file_write(&vol->file, data + i * BLOCK, n * BLOCK, list[i]->pbn * BLOCK) < 0)
			return err_sys(err, "%s: writing metadata", vol->path);
	}
	pthread_mutex_lock(&vol->meta);
	for (size_t i = 0; i < count; i++)
		list[i]->writing = WRITING_NOT;
	vol->tables.nwriting -= count;
	pthread_mutex_unlock(&vol->meta);
	/* Who flushes meanwhile waits for all that is written but not on disk: let it be little. */
	return sync_file(vol, err);
}

static int write_pages(struct dvol *vol, struct checkpoint *cp, struct err *err)
{
	int result = 0;
	uint8_t *data = must_alloc(WRITE_MAX, BLOCK);
	if (cp->npages > 1)
		qsort(cp->pages, cp->npages, sizeof(*cp->pages), page_order);
	for (size_t i = 0, n; i < cp->npages && result == 0; i += n) {
		n = cp->npages - i < WRITE_MAX ? cp->npages - i : WRITE_MAX;
		result = write_batch(vol, cp->pages + i, n, data, err);
	}
	free(data);
	return result;
}

static int write_runs(struct dvol *vol, struct checkpoint *cp, struct err *err)
{
	const uint8_t *at = cp->runs.data;
	for (size_t i = 0; i < cp->run_at.count; i++) {
		struct extent extent = cp->run_at.list[i];
		if (file_write(&vol->file, at, extent.count * BLOCK, extent.pbn * BLOCK) < 0)
			return err_sys(err, "%s: writing the history", vol->path);
		at += extent.count * BLOCK;
		__atomic_store_n(&vol->unsynced, true, __ATOMIC_RELEASE);
	}
	return 0;
}

/* ---- the two parts of a checkpoint ---- */
static void drop(struct dvol *vol, struct checkpoint *cp)
{
	free(cp->pages);
	buf_free(&cp->record);
	buf_free(&cp->runs);
	buf_free(&cp->catalog);
	free(cp->run_at.list);
	free(cp->freed.list);
	free(cp);
	pthread_mutex_lock(&vol->meta);
	vol->checkpointing = false;
	pthread_cond_broadcast(&vol->checkpointed);
	pthread_mutex_unlock(&vol->meta);
}

void checkpoint_wait(struct dvol *vol)
{
	pthread_mutex_lock(&vol->meta);
	while (vol->checkpointing)
		pthread_cond_wait(&vol->checkpointed, &vol->meta);
	pthread_mutex_unlock(&vol->meta);
	if (vol->has_checkpointer)
		pthread_join(vol->checkpointer, NULL);
	vol->has_checkpointer = false;
}

struct checkpoint *checkpoint_begin(struct dvol *vol, struct err *err)
{
	struct journal *journal = &vol->journal;
	struct checkpoint *cp = must_alloc(1, sizeof(*cp));
	checkpoint_wait(vol);
	pthread_mutex_lock(&vol->meta);
	vol->checkpointing = true;
	/* The one before may have failed. */
	int result = vol_may_change(vol, err);
	if (result == 0)
		result = prepare(vol, cp, err);
	/* Only an open after a crash within a checkpoint finds both halves in use.  All that it has to write is what it takes
	 * to move history from the journal into runs, for which each half keeps some room. */
	journal->recovering = journal->other_live;
	if (result == 0 && !journal->other_live)
		journal_turn(vol);
	pthread_mutex_unlock(&vol->meta);
	if (result == 0)
		result = write_runs(vol, cp, err);
	if (result == 0)
		result = commit_record(vol, &cp->record, &cp->freed, err);
	if (result < 0) {
		vol_fail(vol, err);
		drop(vol, cp);
		return NULL;
	}
	journal->recovering = false;
	cp->state.journal_at = journal_at(vol);
	cp->state.journal_chain = journal->chain;
	journal->since = 0;
	return cp;
}

static int write_rest(struct dvol *vol, struct checkpoint *cp, struct err *err)
{
	if (write_pages(vol, cp, err) < 0)
		return -1;
	/* Whole blocks, so that the end of the catalog can be read with O_DIRECT too. */
	size_t pad = cp->catalog_at.count * BLOCK - cp->catalog.len;
	memset(buf_reserve(&cp->catalog, pad), 0, pad);
	if (file_write(&vol->file, cp->catalog.data, cp->catalog.len + pad, cp->catalog_at.pbn * BLOCK) < 0)
		return err_sys(err, "%s: writing the catalog", vol->path);
	if (sync_file(vol, err) < 0 || state_write_super(vol, &cp->state, err) < 0)
		return -1;
	return sync_file(vol, err);
}

int checkpoint_finish(struct dvol *vol, struct checkpoint *cp, struct err *err)
{
	int result = write_rest(vol, cp, err);
	if (result == 0) {
		pthread_mutex_lock(&vol->meta);
		alloc_unreserve(vol, vol->catalog_at);
		vol->catalog_at = cp->catalog_at;
		vol->super.generation = cp->state.generation;
		vol->super.catalog_pbn = cp->state.catalog_pbn;
		vol->super.catalog_bytes = cp->state.catalog_bytes;
		vol->journal.other_live = false;
		commit_note(vol);
		pthread_mutex_unlock(&vol->meta);
	} else {
		vol_fail(vol, err);
	}
	drop(vol, cp);
	return result;
}

struct later {
	struct dvol *vol;
	struct checkpoint *cp;
};

static void *finish_later(void *context)
{
	struct later later = *(struct later *)context;
	free(context);
	/* A failure marks the volume as failed, which is how others learn of it. */
	(void)checkpoint_finish(later.vol, later.cp, NULL);
	return NULL;
}

int checkpoint_later(struct dvol *vol, struct checkpoint *cp, struct err *err)
{
	if (vol->ops->threads) {
		struct later *later = must_alloc(1, sizeof(*later));
		*later = (struct later){.vol = vol, .cp = cp};
		vol->has_checkpointer = thread_start(&vol->checkpointer, finish_later, later) == 0;
		if (vol->has_checkpointer)
			return 0;
		free(later);
	}
	return checkpoint_finish(vol, cp, err);
}
