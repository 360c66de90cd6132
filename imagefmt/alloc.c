/* alloc.c: which blocks of the file are free.
 *
 * Space is taken in order from the cursor, so that thin random writes become sequential ones in the file.  At the
 * end the cursor goes back to the start when an eighth of the file is free, and the file grows otherwise. */
#include "imagefmt/vol.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

enum { GROW_MIN = 256, GROW_MAX = 1 << 18, AHEAD = 1024, LARGE = 8, SMALL = 16 };

/* ---- extents ---- */
void extents_add(struct extents *extents, struct extent extent)
{
	if (extents->count > 0) {
		struct extent *last = &extents->list[extents->count - 1];
		if (last->pbn + last->count == extent.pbn) {
			last->count += extent.count;
			return;
		}
	}
	extents->list = must_grow(extents->list, extents->count, &extents->cap, sizeof(struct extent));
	extents->list[extents->count++] = extent;
}

static int by_pbn(const void *a, const void *b)
{
	uint64_t x = ((const struct extent *)a)->pbn, y = ((const struct extent *)b)->pbn;
	return x < y ? -1 : x > y;
}

void extents_join(struct extents *extents)
{
	size_t kept = 0;
	if (extents->count > 1)
		qsort(extents->list, extents->count, sizeof(struct extent), by_pbn);
	for (size_t i = 0; i < extents->count; i++) {
		struct extent *last = kept > 0 ? &extents->list[kept - 1] : NULL;
		if (last != NULL && last->pbn + last->count == extents->list[i].pbn)
			last->count += extents->list[i].count;
		else
			extents->list[kept++] = extents->list[i];
	}
	extents->count = kept;
}

/* ---- busy blocks: open addressing; an entry with mask 0 is garbage until the next rehash ---- */
static size_t busy_slot(const struct busy *busy, uint64_t key)
{
	size_t slot = (key * 0x9e3779b97f4a7c15ULL >> 32) & (busy->cap - 1);
	while (busy->keys[slot] != 0 && busy->keys[slot] != key + 1)
		slot = (slot + 1) & (busy->cap - 1);
	return slot;
}

static uint64_t busy_mask(const struct busy *busy, uint64_t key)
{
	return busy->cap == 0 ? 0 : busy->masks[busy_slot(busy, key)];
}

static void busy_rehash(struct busy *busy)
{
	struct busy old = *busy;
	size_t live = 0;
	for (size_t i = 0; i < old.cap; i++)
		live += old.masks[i] != 0;
	busy->cap = 64;
	while (busy->cap < (live + 1) * 4)
		busy->cap *= 2;
	busy->keys = must_alloc(busy->cap, 8);
	busy->masks = must_alloc(busy->cap, 8);
	busy->filled = live;
	for (size_t i = 0; i < old.cap; i++) {
		if (old.masks[i] == 0)
			continue;
		size_t slot = busy_slot(busy, old.keys[i] - 1);
		busy->keys[slot] = old.keys[i];
		busy->masks[slot] = old.masks[i];
	}
	free(old.keys);
	free(old.masks);
}

static void busy_change(struct busy *busy, uint64_t key, uint64_t mask, bool set)
{
	if (busy->filled * 2 >= busy->cap)
		busy_rehash(busy);
	size_t slot = busy_slot(busy, key);
	if (busy->keys[slot] == 0) {
		busy->keys[slot] = key + 1;
		busy->filled++;
	}
	busy->masks[slot] = set ? busy->masks[slot] | mask : busy->masks[slot] & ~mask;
}

/* piece: the part of an extent within the word of its first block; moves past it. */
static uint64_t piece(struct extent *extent, uint64_t *key)
{
	unsigned bit = extent->pbn % 64;
	uint64_t count = extent->count < 64 - bit ? extent->count : 64 - bit;
	*key = extent->pbn / 64;
	extent->pbn += count;
	extent->count -= count;
	return (count == 64 ? ~0ULL : (1ULL << count) - 1) << bit;
}

void alloc_busy(struct dvol *vol, struct extent extent, bool busy)
{
	while (extent.count > 0) {
		uint64_t key, mask = piece(&extent, &key);
		busy_change(&vol->alloc.busy, key, mask, busy);
	}
}

void alloc_free_state(struct alloc *alloc)
{
	free(alloc->busy.keys);
	free(alloc->busy.masks);
	free(alloc->freed.list);
	free(alloc->full);
	memset(alloc, 0, sizeof(*alloc));
}

/* ---- full segments ---- */
static bool segment_full(const struct alloc *alloc, uint64_t segment)
{
	return segment / 8 < alloc->nfull && (alloc->full[segment / 8] >> (segment % 8) & 1);
}

static void segment_mark(struct alloc *alloc, uint64_t segment, bool full)
{
	if (segment / 8 >= alloc->nfull) {
		if (!full)
			return;
		size_t wanted = segment / 8 + 64;
		uint8_t *grown = must_alloc(wanted, 1);
		if (alloc->nfull > 0)
			memcpy(grown, alloc->full, alloc->nfull);
		free(alloc->full);
		alloc->full = grown;
		alloc->nfull = wanted;
	}
	alloc->full[segment / 8] &= (uint8_t) ~(1U << (segment % 8));
	alloc->full[segment / 8] |= (uint8_t)((full ? 1U : 0U) << (segment % 8));
}

/* ---- looking for space ---- */
static int free_bits(struct dvol *vol, uint64_t key, uint64_t *bits, struct err *err)
{
	uint64_t word;
	if (table_get(vol, TABLE_ALLOC, key, &word, err) < 0)
		return -1;
	*bits = ~word & ~busy_mask(&vol->alloc.busy, key);
	return 0;
}

/* scan: the first free extent of up to want blocks in [from, to); count 0 when there is none. */
static int scan(struct dvol *vol, uint64_t from, uint64_t to, uint64_t want, struct extent *got,
		struct err *err)
{
	struct alloc *alloc = &vol->alloc;
	uint64_t whole = UINT64_MAX; /* the segment seen from its start without a free block so far */
	*got = (struct extent){0, 0};
	for (uint64_t at = from; at < to;) {
		if (at % SEGMENT == 0 && got->count == 0) {
			if (whole != UINT64_MAX)
				segment_mark(alloc, whole, true);
			whole = at / SEGMENT;
			if (segment_full(alloc, whole)) {
				whole = UINT64_MAX;
				at += SEGMENT;
				continue;
			}
		}
		uint64_t bits;
		if (free_bits(vol, at / 64, &bits, err) < 0)
			return -1;
		bits >>= at % 64;
		uint64_t left = 64 - at % 64;
		if (got->count == 0) {
			if (bits == 0) {
				at += left;
				continue;
			}
			unsigned skip = (unsigned)__builtin_ctzll(bits);
			at += skip;
			if (at >= to)
				return 0;
			bits >>= skip;
			left -= skip;
			got->pbn = at;
		}
		uint64_t some = ~bits == 0 ? 64 : (uint64_t)__builtin_ctzll(~bits);
		some = some < left ? some : left;
		some = some < to - at ? some : to - at;
		some = some < want - got->count ? some : want - got->count;
		got->count += some;
		at += some;
		if (got->count == want || some < left)
			return 0;
	}
	return 0;
}

static int grow(struct dvol *vol, uint64_t least, struct err *err)
{
	struct alloc *alloc = &vol->alloc;
	uint64_t step = alloc->end / 4;
	step = step < GROW_MIN ? GROW_MIN : step > GROW_MAX ? GROW_MAX : step;
	step = step > least ? step : least;
	uint64_t end = (alloc->end + step + 63) / 64 * 64;
	if (end > PBN_LIMIT)
		return err_set(err, ERR_STATE,
			       "%s: a volume's file cannot grow above %llu TiB; delete epochs", vol->path,
			       (unsigned long long)(PBN_LIMIT * BLOCK >> 40));
	if (vol->file.ops->truncate(vol->file.file, end * BLOCK) < 0)
		return err_sys(err, "%s: growing the file", vol->path);
	if (alloc->ahead == 0)
		alloc->ahead = alloc->end; /* what was there at the open is left as it is */
	__atomic_store_n(&alloc->end, end, __ATOMIC_RELAXED); /* see word_fits */
	/* The new length must be durable before a record that relies on it. */
	__atomic_store_n(&vol->unsynced, true, __ATOMIC_RELEASE);
	vol->journal.pending.any = true;
	return 0;
}

/* space_ahead: with direct I/O a write to a hole of the file costs an allocation, for which the file system's caller waits, and at
 * the next sync a transaction; one to allocated space the transaction, and one to written space neither.  So the space at the
 * end is filled some megabytes ahead, in one large write.  For large pieces it is only allocated, as those who take them would
 * write it for the second time; and so it is for the few small ones in between, the pages of the map that such a stream needs. */
static void space_ahead(struct dvol *vol, struct extent taken)
{
	static const uint8_t zeroes[AHEAD * BLOCK] __attribute__((aligned(4096)));
	struct alloc *alloc = &vol->alloc;
	uint64_t end = taken.pbn + taken.count;
	if (vol->direct.ops == NULL || alloc->ahead == 0)
		return;
	alloc->small = taken.count >= LARGE ? 0 : alloc->small + (unsigned)taken.count;
	bool fill = alloc->small > SMALL || vol->direct.ops->allocate == NULL;
	while (alloc->ahead < end) {
		uint64_t some = alloc->end - alloc->ahead < AHEAD ? alloc->end - alloc->ahead : AHEAD;
		/* A failure here is none: the write that wants the space will see it. */
		if (fill)
			(void)file_write(&vol->direct, zeroes, some * BLOCK, alloc->ahead * BLOCK);
		else
			(void)vol->direct.ops->allocate(vol->direct.file, alloc->ahead * BLOCK, some * BLOCK);
		alloc->ahead += some;
	}
}

int alloc_reserve(struct dvol *vol, uint64_t want, bool exact, struct extent *got, struct err *err)
{
	struct alloc *alloc = &vol->alloc;
	uint64_t wrapped = 0;
	if (vol->compact)
		alloc->cursor = alloc->first;
	for (;;) {
		uint64_t from = alloc->cursor > alloc->first ? alloc->cursor : alloc->first;
		if (scan(vol, from, alloc->end, want, got, err) < 0)
			return -1;
		if (got->count == want || (got->count > 0 && !exact))
			break;
		if (got->count > 0 && got->pbn + got->count < alloc->end) { /* too short a hole */
			alloc->cursor = got->pbn + got->count;
			continue;
		}
		uint64_t space = alloc->end - alloc->first;
		if (!exact && wrapped++ == 0 && space - alloc->used > space / 8 &&
		    alloc->cursor > alloc->first) {
			alloc->cursor = alloc->first;
			continue;
		}
		if (got->count == 0)
			alloc->cursor = alloc->end;
		else
			alloc->cursor = got->pbn;
		if (grow(vol, want, err) < 0)
			return -1;
	}
	alloc->cursor = got->pbn + got->count;
	alloc_busy(vol, *got, true);
	/* For every kind of block, so that nothing that is in use is ever behind what is still to be filled. */
	space_ahead(vol, *got);
	return 0;
}

void alloc_unreserve(struct dvol *vol, struct extent extent)
{
	alloc_busy(vol, extent, false);
	if (extent.count > 0)
		for (uint64_t s = extent.pbn / SEGMENT; s <= (extent.pbn + extent.count - 1) / SEGMENT; s++)
			segment_mark(&vol->alloc, s, false);
}

static int change(struct dvol *vol, struct extent extent, bool use, struct err *err)
{
	if (table_prepare(vol, TABLE_ALLOC, extent.pbn / 64,
			  (extent.pbn + extent.count - 1) / 64 - extent.pbn / 64 + 1, err) < 0)
		return -1;
	while (extent.count > 0) {
		uint64_t key, mask = piece(&extent, &key), word;
		if (table_get(vol, TABLE_ALLOC, key, &word, err) < 0)
			return -1;
		if ((word & mask) != (use ? 0 : mask))
			return err_set(err, ERR_INPUT,
				       "%s: the allocation table is wrong near block %llu; run check",
				       vol->path, (unsigned long long)key * 64);
		if (table_set(vol, TABLE_ALLOC, key, word ^ mask, err) < 0)
			return -1;
		uint64_t n = (uint64_t)__builtin_popcountll(mask);
		vol->alloc.used += use ? n : -n;
	}
	return 0;
}

int alloc_use(struct dvol *vol, struct extent extent, struct err *err)
{
	if (change(vol, extent, true, err) < 0)
		return -1;
	alloc_busy(vol, extent, false);
	return 0;
}

int alloc_release(struct dvol *vol, struct extent extent, struct err *err)
{
	if (extent.pbn < vol->alloc.first || extent.count > vol->alloc.end - extent.pbn)
		return err_set(err, ERR_INPUT, "%s: a block outside of the file is to be freed; run check",
			       vol->path);
	alloc_busy(vol, extent, true);
	if (change(vol, extent, false, err) < 0)
		return -1;
	extents_add(&vol->alloc.freed, extent);
	return 0;
}

void alloc_forget(struct dvol *vol, const struct extents *freed)
{
	for (size_t i = 0; i < freed->count; i++)
		alloc_unreserve(vol, freed->list[i]);
}
