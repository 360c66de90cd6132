/* commit.c: making changes durable: commits, and checkpoints that empty the journal. */
#include "imagefmt/vol.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* A checkpoint is due when this many pages are changed, so that they stay within 40 MiB and a replay within
 * REPLAY_PAGES (one transaction more changes up to RUN_MAX words). */
enum { DIRTY_MAX = 8192, WRITE_MAX = 256 };

struct block_image {
	uint64_t pbn;
	uint8_t *data;
};

/* What a checkpoint writes, as it was at the cut. */
struct checkpoint {
	struct buf record, catalog;
	struct extents freed;
	struct block_image *pages;
	size_t npages;
	struct buf runs;       /* run pages, one after the other … */
	struct extents run_at; /* … and where they go */
	struct extent catalog_at;
	struct super_state state;
};

int vol_fail(struct dvol *vol, struct err *err)
{
	(void)err;
	__atomic_store_n(&vol->failed, true, __ATOMIC_RELEASE);
	return -1;
}

int vol_may_change(const struct dvol *vol, struct err *err)
{
	if (!vol->writable)
		return err_set(err, ERR_STATE, "%s is open for reading only", vol->path);
	if (__atomic_load_n(&vol->failed, __ATOMIC_ACQUIRE))
		return err_set(
		    err, ERR_STATE,
		    "%s: an earlier write failed; close the volume, see to its disk, and open it again",
		    vol->path);
	return 0;
}

static int sync_file(struct dvol *vol, struct err *err)
{
	if (vol->file.ops->sync(vol->file.file) < 0)
		return err_sys(err, "%s: writing to stable storage", vol->path);
	return 0;
}

static int sync_data(struct dvol *vol, struct err *err)
{
	return __atomic_exchange_n(&vol->unsynced, false, __ATOMIC_ACQ_REL) ? sync_file(vol, err) : 0;
}

/* give_back: what was freed in a cut that is durable now. */
static void give_back(struct dvol *vol, struct extents *freed)
{
	extents_join(freed);
	for (size_t i = 0; i < freed->count; i++)
		/* No error: where holes cannot be made the space serves this volume only. */
		(void)vol->file.ops->punch(vol->file.file, freed->list[i].pbn * BLOCK,
					   freed->list[i].count * BLOCK);
	pthread_mutex_lock(&vol->meta);
	alloc_forget(vol, freed);
	pthread_mutex_unlock(&vol->meta);
	free(freed->list);
	*freed = (struct extents){0};
}

int commit_record(struct dvol *vol, struct buf *record, struct extents *freed, struct err *err)
{
	int result = sync_data(vol, err);
	if (result == 0 && record->len > 0) {
		result = journal_append(vol, record, err);
		if (result == 0)
			result = sync_file(vol, err);
	}
	buf_free(record);
	if (result < 0) {
		free(freed->list);
		*freed = (struct extents){0};
		return vol_fail(vol, err);
	}
	give_back(vol, freed);
	return 0;
}

/* ---- checkpoint, the part under meta ---- */
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
		struct block_image *image = &cp->pages[cp->npages++];
		image->pbn = page->pbn;
		image->data = must_alloc(1, BLOCK);
		page_encode(vol, page, image->data);
		page->dirty = false;
		page->writing = true;
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

/* ---- checkpoint, the part that writes ---- */
static int image_order(const void *a, const void *b)
{
	uint64_t x = ((const struct block_image *)a)->pbn, y = ((const struct block_image *)b)->pbn;
	return x < y ? -1 : x > y;
}

static int write_pages(struct dvol *vol, struct checkpoint *cp, struct err *err)
{
	struct iovec iov[WRITE_MAX];
	if (cp->npages > 1)
		qsort(cp->pages, cp->npages, sizeof(*cp->pages), image_order);
	for (size_t i = 0; i < cp->npages;) {
		int n = 0;
		uint64_t first = cp->pages[i].pbn;
		for (; n < WRITE_MAX && i < cp->npages && cp->pages[i].pbn == first + (uint64_t)n; i++, n++)
			iov[n] = (struct iovec){.iov_base = cp->pages[i].data, .iov_len = BLOCK};
		if (file_writev(&vol->file, iov, n, first * BLOCK) < 0)
			return err_sys(err, "%s: writing metadata", vol->path);
	}
	return 0;
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

static int write_out(struct dvol *vol, struct checkpoint *cp, struct err *err)
{
	if (write_runs(vol, cp, err) < 0 || commit_record(vol, &cp->record, &cp->freed, err) < 0 ||
	    write_pages(vol, cp, err) < 0)
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

static int checkpoint(struct dvol *vol, struct err *err)
{
	struct checkpoint cp = {0};
	pthread_mutex_lock(&vol->meta);
	int result = prepare(vol, &cp, err);
	pthread_mutex_unlock(&vol->meta);
	if (result == 0)
		result = write_out(vol, &cp, err);
	pthread_mutex_lock(&vol->meta);
	if (result == 0) {
		tables_written(vol);
		alloc_unreserve(vol, vol->catalog_at);
		vol->catalog_at = cp.catalog_at;
		vol->journal.used = 0;
		vol->journal.chain = vol->super.checksum;
	}
	pthread_mutex_unlock(&vol->meta);
	for (size_t i = 0; i < cp.npages; i++)
		free(cp.pages[i].data);
	free(cp.pages);
	buf_free(&cp.runs);
	buf_free(&cp.catalog);
	free(cp.run_at.list);
	if (result < 0) {
		buf_free(&cp.record);
		free(cp.freed.list);
		return vol_fail(vol, err);
	}
	return 0;
}

int commit_run(struct dvol *vol, bool want_checkpoint, struct err *err)
{
	if (vol_may_change(vol, err) < 0)
		return -1;
	pthread_mutex_lock(&vol->meta);
	uint64_t bytes = journal_pending_bytes(vol);
	bool changed = bytes > 0 || vol->journal.used > 0 || vol->tables.ndirty > 0;
	if ((want_checkpoint && changed) || vol->tables.ndirty > DIRTY_MAX ||
	    (bytes > 0 && vol->journal.used + bytes > vol->super.journal_blocks * BLOCK / 2)) {
		pthread_mutex_unlock(&vol->meta);
		return checkpoint(vol, err);
	}
	struct buf record;
	struct extents freed;
	int result = commit_cut(vol, &record, &freed, err);
	tables_trim(vol);
	pthread_mutex_unlock(&vol->meta);
	return result < 0 ? -1 : commit_record(vol, &record, &freed, err);
}

int commit_room(struct dvol *vol, uint64_t more, struct err *err)
{
	if (vol_may_change(vol, err) < 0)
		return -1;
	pthread_mutex_lock(&vol->meta);
	uint64_t bytes = vol->journal.used + journal_pending_bytes(vol) + more;
	pthread_mutex_unlock(&vol->meta);
	return bytes > vol->super.journal_blocks * BLOCK * 3 / 4 ? commit_run(vol, true, err) : 0;
}

int commit_cut(struct dvol *vol, struct buf *record, struct extents *freed, struct err *err)
{
	*freed = vol->alloc.freed;
	vol->alloc.freed = (struct extents){0};
	if (journal_cut(vol, record, err) < 0) {
		free(freed->list);
		*freed = (struct extents){0};
		return vol_fail(vol, err);
	}
	commit_note(vol);
	return 0;
}

int commit_op(struct dvol *vol, struct buf *ops, struct err *err)
{
	struct buf record = {0};
	struct extents freed = {0};
	int result = commit_room(vol, ops->len + SECTOR, err);
	if (result < 0) {
		buf_free(ops);
		return -1;
	}
	gate_shut(&vol->gate);
	pthread_mutex_lock(&vol->meta);
	result = op_do(vol, ops, err);
	if (result == 0)
		result = commit_cut(vol, &record, &freed, err);
	pthread_mutex_unlock(&vol->meta);
	gate_open(&vol->gate);
	return result < 0 ? vol_fail(vol, err) : commit_record(vol, &record, &freed, err);
}

void commit_note(struct dvol *vol)
{
	bool due = journal_pending_bytes(vol) > vol->super.journal_blocks * BLOCK / 4 ||
		   vol->tables.ndirty > DIRTY_MAX;
	if (due != __atomic_load_n(&vol->pressed, __ATOMIC_RELAXED))
		__atomic_store_n(&vol->pressed, due, __ATOMIC_RELAXED);
}

int commit_pressure(struct dvol *vol, struct err *err)
{
	if (!__atomic_load_n(&vol->pressed, __ATOMIC_RELAXED))
		return 0;
	int result = 0;
	pthread_mutex_lock(&vol->commit);
	/* One of all who came for it does it. */
	if (__atomic_load_n(&vol->pressed, __ATOMIC_RELAXED))
		result = commit_run(vol, false, err);
	pthread_mutex_unlock(&vol->commit);
	return result;
}

int dvol_flush(struct dvol *vol, struct err *err)
{
	if (vol_may_change(vol, err) < 0)
		return -1;
	struct journal *journal = &vol->journal;
	pthread_mutex_lock(&vol->meta);
	uint64_t want = journal->started + 1;
	pthread_mutex_unlock(&vol->meta);
	pthread_mutex_lock(&vol->commit);
	int result = 0;
	/* A commit that began after this call began, and is done, made durable what this one is to. */
	if (journal->done < want) {
		pthread_mutex_lock(&vol->meta);
		uint64_t mine = ++journal->started;
		pthread_mutex_unlock(&vol->meta);
		result = commit_run(vol, false, err);
		if (result == 0)
			journal->done = mine;
	}
	pthread_mutex_unlock(&vol->commit);
	return result;
}
