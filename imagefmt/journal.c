/* journal.c: pending changes as records, and records as changes. */
#include "imagefmt/vol.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

void items_add(struct items *items, uint64_t key, uint64_t value)
{
	items->list = must_grow(items->list, items->count, &items->cap, sizeof(struct item));
	items->list[items->count++] = (struct item){.key = key, .value = value};
}

int op_do(struct dvol *vol, struct buf *ops, struct err *err)
{
	bool spill = false;
	int result = catalog_apply(&vol->catalog, ops->data, ops->len, &spill, err);
	if (result < 0)
		err_context(err, "%s", vol->path);
	buf_put(&vol->journal.pending.ops, ops->data, ops->len);
	buf_free(ops);
	return result;
}

uint64_t journal_pending_bytes(const struct dvol *vol)
{
	const struct pending *pending = &vol->journal.pending;
	size_t items = pending->pages.count + pending->sets.count + pending->undos.count;
	if (items == 0 && pending->ops.len == 0 && !pending->any)
		return 0;
	return (RECORD_HEADER + items * ITEM + pending->ops.len + SECTOR - 1) / SECTOR * SECTOR;
}

static int by_key(const void *a, const void *b)
{
	uint64_t x = ((const struct item *)a)->key, y = ((const struct item *)b)->key;
	return x < y ? -1 : x > y;
}

/* sets_fill: the words' values as they are now; by rising number, so that a page is looked up once. */
static int sets_fill(struct dvol *vol, struct err *err)
{
	struct items *sets = &vol->journal.pending.sets;
	if (sets->count > 1)
		qsort(sets->list, sets->count, sizeof(struct item), by_key);
	for (size_t i = 0; i < sets->count; i++) {
		enum table table = (enum table)(sets->list[i].key >> 48 & 0xf);
		uint64_t number = sets->list[i].key & 0xffffffffffffULL;
		if (table_dequeue(vol, table, number, &sets->list[i].value, err) < 0)
			return -1;
	}
	return 0;
}

int journal_cut(struct dvol *vol, struct buf *record, struct err *err)
{
	struct pending *pending = &vol->journal.pending;
	size_t total = journal_pending_bytes(vol);
	*record = (struct buf){0};
	if (total == 0)
		return 0;
	if (sets_fill(vol, err) < 0)
		return -1;
	uint8_t *header = buf_reserve(record, total);
	memset(header, 0, total);
	memcpy(header, RECORD_MAGIC, 8);
	le32_put(header + 24, (uint32_t)total);
	le32_put(header + 28, (uint32_t)(pending->pages.count + pending->sets.count + pending->undos.count));
	le32_put(header + 32, (uint32_t)pending->ops.len);
	le64_put(header + 40, vol->alloc.used);
	le64_put(header + 48, vol->alloc.end);
	le64_put(header + 56, vol->alloc.cursor);
	uint8_t *at = header + RECORD_HEADER;
	struct items *lists[] = {&pending->pages, &pending->sets, &pending->undos};
	for (size_t i = 0; i < 3; i++) {
		if (lists[i]->count > 0)
			memcpy(at, lists[i]->list, lists[i]->count * ITEM);
		at += lists[i]->count * ITEM;
		lists[i]->count = 0;
	}
	if (pending->ops.len > 0)
		memcpy(at, pending->ops.data, pending->ops.len);
	buf_clear(&pending->ops);
	pending->any = false;
	record->len = total;
	return 0;
}

uint64_t journal_half(const struct dvol *vol)
{
	return vol->super.journal_blocks * BLOCK / 2;
}

uint64_t journal_at(const struct dvol *vol)
{
	uint64_t half = journal_half(vol);
	return (vol->journal.half * half + vol->journal.used) % (2 * half);
}

void journal_turn(struct dvol *vol)
{
	vol->journal.half = !vol->journal.half;
	vol->journal.used = 0;
	vol->journal.other_live = true;
}

/* record_write: past the page cache where data goes past it.  A buffered write would take the file's lock alone, so that all
 * writes of data wait for it and it for them, and leave a page behind for the sync to write. */
static int record_write(struct dvol *vol, const struct buf *record, uint64_t at)
{
	if (vol->direct.ops == NULL || vol->journal.buffered)
		return file_write(&vol->file, record->data, record->len, at);
	void *aligned;
	if (posix_memalign(&aligned, BLOCK, record->len) != 0)
		abort();
	memcpy(aligned, record->data, record->len);
	int result = file_write(&vol->direct, aligned, record->len, at), saved = errno;
	free(aligned);
	errno = saved;
	if (result == 0 || saved != EINVAL)
		return result;
	/* A record is whole sectors; this disk wants larger pieces. */
	vol->journal.buffered = true;
	return file_write(&vol->file, record->data, record->len, at);
}

int journal_append(struct dvol *vol, struct buf *record, struct err *err)
{
	struct journal *journal = &vol->journal;
	/* What a half keeps for an open that finds both of them in use; see checkpoint_begin. */
	uint64_t kept = journal->recovering ? 0 : journal_half(vol) / 16;
	if (record->len + journal->used + kept > journal_half(vol))
		return err_set(err, ERR_STATE, "%s: %zu bytes of changes do not fit into the journal",
			       vol->path, record->len);
	le64_put(record->data + 16, journal->chain);
	uint64_t sum = hash64(record->data + 16, record->len - 16, 0);
	le64_put(record->data + 8, sum);
	if (record_write(vol, record,
			 vol->super.journal_start * BLOCK + journal->half * journal_half(vol) +
			     journal->used) < 0)
		return err_sys(err, "%s: writing the journal", vol->path);
	journal->used += record->len;
	journal->since += record->len;
	journal->chain = sum;
	return 0;
}

/* ---- replay ---- */
static int replay_item(struct dvol *vol, uint64_t key, uint64_t value, struct err *err)
{
	unsigned table = key >> 48 & 0xf, level = key >> 52 & 0xf;
	uint64_t number = key & 0xffffffffffffULL;
	switch (key >> 56) {
	case ITEM_SET:
		if (table > TABLE_PACK || level != 0)
			break;
		return table_replay(vol, table, number, value, err);
	case ITEM_PAGE:
		if (table >= TABLES || level >= LEVELS || value < vol->alloc.first || value >= vol->alloc.end)
			break;
		return table_page_new(vol, table, level, number, value, err);
	case ITEM_UNDO:
		if (number >= DVOL_SIZE_MAX / BLOCK || catalog_newest(&vol->catalog) == 0)
			break;
		undo_add(&vol->undos, catalog_newest(&vol->catalog), number, value);
		return 0;
	default:
		break;
	}
	return err_set(err, ERR_INPUT, "%s: an item in the journal does not make sense", vol->path);
}

static int replay_record(struct dvol *vol, const uint8_t *record, uint64_t blocks, struct err *err)
{
	uint32_t items = le32_get(record + 28), ops = le32_get(record + 32);
	uint64_t end = le64_get(record + 48);
	if (end < vol->alloc.end || end > blocks || le64_get(record + 40) > end ||
	    le64_get(record + 56) > end)
		return err_set(err, ERR_INPUT,
			       "%s: the journal's space figures do not fit the file (is it cut off?)",
			       vol->path);
	vol->alloc.used = le64_get(record + 40);
	vol->alloc.end = end;
	vol->alloc.cursor = le64_get(record + 56);
	const uint8_t *at = record + RECORD_HEADER;
	for (uint32_t i = 0; i < items; i++, at += ITEM)
		if (replay_item(vol, le64_get(at), le64_get(at + 8), err) < 0)
			return -1;
	bool spill = false;
	if (catalog_apply(&vol->catalog, at, ops, &spill, err) < 0)
		return err_context(err, "%s", vol->path);
	if (spill)
		undo_clear(&vol->undos);
	return 0;
}

/* record_next: read the record at journal->used into *record; its length, 0 at the journal's end, or -1. */
static int64_t record_next(struct dvol *vol, struct buf *record, struct err *err)
{
	struct journal *journal = &vol->journal;
	uint64_t half = journal_half(vol);
	uint64_t at = vol->super.journal_start * BLOCK + journal->half * half + journal->used;
	uint64_t left = half - journal->used;
	uint8_t header[SECTOR];
	if (left < SECTOR)
		return 0;
	if (file_read(&vol->file, header, SECTOR, at) < 0)
		return err_sys(err, "%s: reading the journal", vol->path);
	uint64_t len = le32_get(header + 24);
	uint64_t content = RECORD_HEADER + (uint64_t)le32_get(header + 28) * ITEM + le32_get(header + 32);
	if (memcmp(header, RECORD_MAGIC, 8) != 0 || le64_get(header + 16) != journal->chain || len < SECTOR ||
	    len > left || len % SECTOR != 0 || content > len)
		return 0;
	buf_clear(record);
	uint8_t *data = buf_reserve(record, len);
	if (file_read(&vol->file, data, len, at) < 0)
		return err_sys(err, "%s: reading the journal", vol->path);
	/* All that was checked in the header is covered by the checksum; a change meanwhile shows. */
	if (memcmp(data, header, SECTOR) != 0 || hash64(data + 16, len - 16, 0) != le64_get(data + 8))
		return 0;
	return (int64_t)len;
}

/* record_after: as record_next; where this half ends, the chain may go on in the other one. */
static int64_t record_after(struct dvol *vol, struct buf *record, struct err *err)
{
	struct journal before = vol->journal;
	int64_t len = record_next(vol, record, err);
	if (len != 0 || before.other_live)
		return len;
	journal_turn(vol);
	len = record_next(vol, record, err);
	if (len == 0)
		vol->journal = before;
	return len;
}

int journal_replay(struct dvol *vol, struct err *err)
{
	struct journal *journal = &vol->journal;
	struct buf record = {0};
	uint64_t bytes;
	int64_t len;
	journal->half = vol->super.journal_at / journal_half(vol);
	journal->used = vol->super.journal_at % journal_half(vol);
	journal->chain = vol->super.journal_chain;
	journal->since = 0;
	journal->other_live = false;
	if (vol->file.ops->size(vol->file.file, &bytes) < 0)
		return err_sys(err, "%s", vol->path);
	while ((len = record_after(vol, &record, err)) > 0) {
		if (replay_record(vol, record.data, bytes / BLOCK, err) < 0) {
			len = -1;
			break;
		}
		journal->used += (uint64_t)len;
		journal->since += (uint64_t)len;
		journal->chain = le64_get(record.data + 8);
	}
	buf_free(&record);
	return len < 0 ? -1 : 0;
}
