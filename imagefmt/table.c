/* table.c: sparse arrays of words in pages that are written in place, and the cache of those pages.
 *
 * A page that was changed stays in memory until a checkpoint has written it: what a changed word was in the file
 * does not matter, since the journal has its new value.  The rest are kept in the order of their last load, and the
 * oldest that nobody used since the last look are forgotten first.
 *
 * All of it is done under meta, but for table_peek, on which every read and overwrite of the head depends: it looks
 * for pages, and reads their words, while others may insert pages, set words, or take pages away.
 *
 *  - A page is complete before its address is in a chain (released there, acquired by who finds it), and its table,
 *    level and number never change: who finds a page by these has the right one.
 *  - A word is set in one atomic store, and what it refers to was written before that, so a word that was read is one
 *    that was valid at that moment.  That it still is until the block was read or overwritten is what the gate is
 *    for, with meta as without it.
 *  - A chain is changed so that whoever follows it comes to its end, through pages that are all in memory: a page is
 *    put at the front; taken out by letting the one before it point past it; moved to a larger array of buckets
 *    front first, so that the one that follows may find itself in a new chain, all of whose pages are there already.
 *    What such a one misses it takes for absent, and then meta is taken.
 *  - Pages and arrays of buckets are freed after they were taken out and everybody who may still have them has left:
 *    he is in `peeks`, which is shut for a moment between the two (quiesce).  Nothing is waited for inside, so that
 *    this is short. */
#include "imagefmt/vol.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* A journal changes fewer pages than this (see commit.c). */
enum { REPLAY_PAGES = 1 << 17 };

static const char *const table_names[TABLES] = {
    "map", "allocation", "pack", "block digest", "digest 1", "digest 2", "digest 3", "digest 4", "digest 5"};

static struct page **bucket_of(struct buckets *buckets, unsigned table, unsigned level, uint64_t number)
{
	uint64_t key = (number << 8 | table << 4 | level) * 0x9e3779b97f4a7c15ULL;
	return &buckets->heads[(key >> 32) & (buckets->count - 1)];
}

static struct buckets *buckets_make(size_t count)
{
	struct buckets *buckets = must_alloc(1, sizeof(*buckets) + count * sizeof(struct page *));
	buckets->count = count;
	return buckets;
}

/* quiesce: nobody who looks without meta has anything that was taken out before. */
static void quiesce(struct dvol *vol)
{
	gate_shut(&vol->peeks);
	gate_open(&vol->peeks);
}

void tables_init(struct dvol *vol, size_t limit)
{
	vol->tables.limit = limit;
	vol->tables.buckets = buckets_make(64);
}

void tables_clear(struct dvol *vol)
{
	struct tables *tables = &vol->tables;
	for (struct page *page = tables->first, *newer; page != NULL; page = newer) {
		newer = page->newer;
		free(page->image);
		free(page);
	}
	tables->first = tables->last = NULL;
	tables->npages = tables->ndirty = tables->nwriting = 0;
	memset(tables->buckets->heads, 0, tables->buckets->count * sizeof(struct page *));
}

void tables_free(struct dvol *vol)
{
	tables_clear(vol);
	free(vol->tables.buckets);
}

static void chain(struct buckets *buckets, struct page *page)
{
	struct page **head = bucket_of(buckets, page->table, page->level, page->number);
	__atomic_store_n(&page->next, *head, __ATOMIC_RELEASE);
	__atomic_store_n(head, page, __ATOMIC_RELEASE);
}

static void unchain(struct buckets *buckets, struct page *page)
{
	struct page **link = bucket_of(buckets, page->table, page->level, page->number);
	while (*link != page)
		link = &(*link)->next;
	__atomic_store_n(link, page->next, __ATOMIC_RELEASE);
}

static void grow_buckets(struct dvol *vol)
{
	struct tables *tables = &vol->tables;
	struct buckets *old = tables->buckets, *grown = buckets_make(old->count * 2);
	for (struct page *page = tables->first; page != NULL; page = page->newer)
		chain(grown, page);
	__atomic_store_n(&tables->buckets, grown, __ATOMIC_RELEASE);
	quiesce(vol);
	free(old);
}

static struct page *cached(struct tables *tables, unsigned table, unsigned level, uint64_t number)
{
	struct buckets *buckets = __atomic_load_n(&tables->buckets, __ATOMIC_ACQUIRE);
	struct page *page = __atomic_load_n(bucket_of(buckets, table, level, number), __ATOMIC_ACQUIRE);
	while (page != NULL && !(page->number == number && page->table == table && page->level == level))
		page = __atomic_load_n(&page->next, __ATOMIC_ACQUIRE);
	return page;
}

static void mark_used(struct page *page)
{
	if (!__atomic_load_n(&page->used, __ATOMIC_RELAXED))
		__atomic_store_n(&page->used, true, __ATOMIC_RELAXED);
}

bool table_peek(struct dvol *vol, enum table table, uint64_t first, uint64_t count, uint64_t *words)
{
	unsigned slot = gate_enter(&vol->peeks);
	uint64_t done = 0;
	while (done < count) {
		struct page *page = cached(&vol->tables, table, 0, (first + done) / PAGE_WORDS);
		if (page == NULL)
			break;
		mark_used(page);
		unsigned at = (first + done) % PAGE_WORDS;
		for (; at < PAGE_WORDS && done < count; at++, done++)
			words[done] = __atomic_load_n(&page->words[at], __ATOMIC_ACQUIRE);
	}
	gate_leave(&vol->peeks, slot);
	return done == count;
}

static void list_push(struct tables *tables, struct page *page)
{
	page->newer = NULL;
	page->older = tables->last;
	*(tables->last != NULL ? &tables->last->newer : &tables->first) = page;
	tables->last = page;
}

static void list_remove(struct tables *tables, struct page *page)
{
	*(page->older != NULL ? &page->older->newer : &tables->first) = page->newer;
	*(page->newer != NULL ? &page->newer->older : &tables->last) = page->older;
}

static void insert(struct dvol *vol, struct page *page)
{
	struct tables *tables = &vol->tables;
	list_push(tables, page);
	if (++tables->npages > tables->buckets->count)
		grow_buckets(vol);
	else
		chain(tables->buckets, page);
}

void tables_trim(struct dvol *vol)
{
	struct tables *tables = &vol->tables;
	size_t busy = tables->ndirty + tables->nwriting;
	if (tables->npages <= tables->limit + busy)
		return;
	/* Each page is looked at twice at most: once to see whether it is used again. */
	size_t looks = 2 * tables->npages;
	struct page *out = NULL;
	for (struct page *page = tables->first; page != NULL && looks-- > 0;) {
		struct page *newer = page->newer;
		list_remove(tables, page);
		if (page->dirty || page->writing != WRITING_NOT ||
		    __atomic_exchange_n(&page->used, false, __ATOMIC_RELAXED)) {
			list_push(tables, page);
		} else {
			unchain(tables->buckets, page);
			tables->npages--;
			page->older = out;
			out = page;
		}
		if (tables->npages <= tables->limit * 3 / 4 + busy)
			break;
		page = newer != NULL ? newer : tables->first;
	}
	quiesce(vol);
	while (out != NULL) {
		struct page *older = out->older;
		free(out);
		out = older;
	}
}

static uint64_t sector_seed(const struct dvol *vol, unsigned table, unsigned level, uint64_t sector)
{
	return vol_seed(vol) ^ ((uint64_t)table << 60 | (uint64_t)level << 56 | sector);
}

static void page_encode(const struct dvol *vol, const struct page *page, uint8_t out[BLOCK])
{
	for (unsigned s = 0; s < PAGE_SECTORS; s++) {
		uint8_t *sector = out + s * SECTOR;
		memcpy(sector + 8, page->words + s * SECTOR_WORDS, SECTOR_WORDS * 8);
		uint64_t sum =
		    hash64(sector + 8, SECTOR_WORDS * 8,
			   sector_seed(vol, page->table, page->level, page->number * PAGE_SECTORS + s));
		memcpy(sector, &sum, 8);
	}
}

void page_take(const struct dvol *vol, struct page *page, uint8_t out[BLOCK])
{
	if (page->image != NULL)
		memcpy(out, page->image, BLOCK);
	else
		page_encode(vol, page, out);
	free(page->image);
	page->image = NULL;
	page->writing = WRITING_TAKEN;
}

static int page_read(struct dvol *vol, struct page *page, struct err *err)
{
	uint8_t data[BLOCK];
	if (file_read(&vol->file, data, BLOCK, page->pbn * BLOCK) < 0)
		return err_sys(err, "%s: reading metadata at byte %llu", vol->path,
			       (unsigned long long)page->pbn * BLOCK);
	for (unsigned s = 0; s < PAGE_SECTORS; s++) {
		const uint8_t *sector = data + s * SECTOR;
		uint64_t sum;
		memcpy(&sum, sector, 8);
		if (sum !=
		    hash64(sector + 8, SECTOR_WORDS * 8,
			   sector_seed(vol, page->table, page->level, page->number * PAGE_SECTORS + s)))
			return err_set(
			    err, ERR_INPUT,
			    "%s: the %s table is damaged at byte %llu (wrong checksum); restore the "
			    "volume from a replica",
			    vol->path, table_names[page->table],
			    (unsigned long long)page->pbn * BLOCK + s * SECTOR);
		memcpy(page->words + s * SECTOR_WORDS, sector + 8, SECTOR_WORDS * 8);
	}
	return 0;
}

static struct page *page_make(unsigned table, unsigned level, uint64_t number, uint64_t pbn)
{
	struct page *page = must_alloc(1, sizeof(*page));
	page->table = (uint8_t)table;
	page->level = (uint8_t)level;
	page->number = number;
	page->pbn = pbn;
	return page;
}

static void make_dirty(struct tables *tables, struct page *page)
{
	if (!page->dirty) {
		page->dirty = true;
		tables->ndirty++;
	}
}

static bool journaled(unsigned table)
{
	return table <= TABLE_PACK;
}

/* before_change: a page that a checkpoint is to write yet is kept for it as it is. */
static void before_change(const struct dvol *vol, struct page *page)
{
	if (page->writing == WRITING_DUE && page->image == NULL) {
		page->image = must_alloc(1, BLOCK);
		page_encode(vol, page, page->image);
	}
}

static int page_get(struct dvol *vol, unsigned table, unsigned level, uint64_t number, bool create,
		    struct page **out, struct err *err);

/* link_page: put a new page under its parent, which exists. */
static void link_page(struct dvol *vol, struct page *parent, struct page *page)
{
	if (parent != NULL) {
		before_change(vol, parent);
		parent->words[page->number % PAGE_WORDS] = page->pbn;
		make_dirty(&vol->tables, parent);
	} else {
		vol->tables.roots[page->table] = page->pbn;
	}
	make_dirty(&vol->tables, page);
}

static int page_create(struct dvol *vol, unsigned table, unsigned level, uint64_t number, struct page *parent,
		       struct page **out, struct err *err)
{
	struct extent at;
	if (alloc_reserve(vol, 1, true, &at, err) < 0)
		return -1;
	/* Looking for space may have made this very page, where it is one of the allocation table. */
	struct page *page = cached(&vol->tables, table, level, number);
	if (page != NULL) {
		alloc_unreserve(vol, at);
		*out = page;
		return 0;
	}
	page = page_make(table, level, number, at.pbn);
	insert(vol, page);
	link_page(vol, parent, page);
	items_add(&vol->journal.pending.pages, item_key(ITEM_PAGE, table, level, number), at.pbn);
	*out = page;
	/* The page must be there first: its own block's bit may be in it. */
	return alloc_use(vol, at, err) < 0 ? vol_fail(vol, err) : 0;
}

static int page_get(struct dvol *vol, unsigned table, unsigned level, uint64_t number, bool create,
		    struct page **out, struct err *err)
{
	struct page *page = cached(&vol->tables, table, level, number);
	if (page != NULL) {
		mark_used(page);
		*out = page;
		return 0;
	}
	*out = NULL;
	struct page *parent = NULL;
	uint64_t pbn;
	if (level == LEVELS - 1) {
		if (number != 0)
			return err_set(err, ERR_INPUT, "%s: a block number is out of range", vol->path);
		pbn = vol->tables.roots[table];
	} else {
		if (page_get(vol, table, level + 1, number / PAGE_WORDS, create, &parent, err) < 0)
			return -1;
		if (parent == NULL)
			return 0;
		pbn = parent->words[number % PAGE_WORDS];
		/* Making the parent may have made this page too, where it is one of the allocation table. */
		if ((*out = cached(&vol->tables, table, level, number)) != NULL)
			return 0;
	}
	if (pbn == 0)
		return create ? page_create(vol, table, level, number, parent, out, err) : 0;
	if (pbn < vol->alloc.first || pbn >= vol->alloc.end)
		return err_set(err, ERR_INPUT, "%s: the %s table points outside of the file", vol->path,
			       table_names[table]);
	page = page_make(table, level, number, pbn);
	if (page_read(vol, page, err) < 0) {
		free(page);
		return -1;
	}
	insert(vol, page);
	*out = page;
	return 0;
}

int table_page_new(struct dvol *vol, unsigned table, unsigned level, uint64_t number, uint64_t pbn,
		   struct err *err)
{
	struct page *parent = NULL;
	if (level + 1 < LEVELS) {
		if (page_get(vol, table, level + 1, number / PAGE_WORDS, false, &parent, err) < 0)
			return -1;
		if (parent == NULL)
			return err_set(err, ERR_INPUT, "%s: the journal makes a page without a parent",
				       vol->path);
	} else if (number != 0) {
		return err_set(err, ERR_INPUT, "%s: the journal makes a second root", vol->path);
	}
	struct page *page = cached(&vol->tables, table, level, number);
	if (page == NULL) {
		if (vol->tables.ndirty >= vol->alloc.end || vol->tables.ndirty >= REPLAY_PAGES)
			return err_set(err, ERR_INPUT, "%s: the journal makes more pages than can be",
				       vol->path);
		page = page_make(table, level, number, pbn);
		insert(vol, page);
	}
	page->pbn = pbn;
	memset(page->words, 0, sizeof(page->words));
	link_page(vol, parent, page);
	return 0;
}

int table_get(struct dvol *vol, enum table table, uint64_t number, uint64_t *word, struct err *err)
{
	struct page *page;
	if (page_get(vol, table, 0, number / PAGE_WORDS, false, &page, err) < 0)
		return -1;
	*word = page != NULL ? page->words[number % PAGE_WORDS] : 0;
	return 0;
}

int table_set(struct dvol *vol, enum table table, uint64_t number, uint64_t word, struct err *err)
{
	struct page *page;
	if (page_get(vol, table, 0, number / PAGE_WORDS, true, &page, err) < 0)
		return -1;
	unsigned at = number % PAGE_WORDS;
	before_change(vol, page);
	__atomic_store_n(&page->words[at], word, __ATOMIC_RELEASE);
	make_dirty(&vol->tables, page);
	if (journaled(table) && !(page->queued[at / 64] >> (at % 64) & 1)) {
		page->queued[at / 64] |= 1ULL << (at % 64);
		items_add(&vol->journal.pending.sets, item_key(ITEM_SET, table, 0, number), 0);
	}
	return 0;
}

int table_dequeue(struct dvol *vol, enum table table, uint64_t number, uint64_t *word, struct err *err)
{
	struct page *page;
	if (page_get(vol, table, 0, number / PAGE_WORDS, false, &page, err) < 0)
		return -1;
	unsigned at = number % PAGE_WORDS; /* a page with a queued word is dirty, so it is there */
	page->queued[at / 64] &= ~(1ULL << (at % 64));
	*word = page->words[at];
	return 0;
}

int table_replay(struct dvol *vol, unsigned table, uint64_t number, uint64_t word, struct err *err)
{
	struct page *page;
	if (page_get(vol, table, 0, number / PAGE_WORDS, false, &page, err) < 0)
		return -1;
	if (page == NULL)
		return err_set(err, ERR_INPUT, "%s: the journal changes a page that is not there", vol->path);
	page->words[number % PAGE_WORDS] = word;
	make_dirty(&vol->tables, page);
	return 0;
}

int table_prepare(struct dvol *vol, enum table table, uint64_t first, uint64_t count, struct err *err)
{
	for (uint64_t number = first / PAGE_WORDS; number <= (first + count - 1) / PAGE_WORDS; number++) {
		struct page *page;
		if (page_get(vol, table, 0, number, true, &page, err) < 0)
			return -1;
	}
	return 0;
}

int table_seek(struct dvol *vol, enum table table, uint64_t number, uint64_t *found, struct err *err)
{
	uint64_t span = (uint64_t)PAGE_WORDS * PAGE_WORDS * PAGE_WORDS * PAGE_WORDS;
	*found = UINT64_MAX;
	if (number < span && cached(&vol->tables, table, 0, number / PAGE_WORDS) != NULL) {
		*found = number; /* as for all but the first word of a page that is gone through */
		return 0;
	}
	while (number < span) {
		/* Down from the root; on each page past the words that have nothing under them. */
		uint64_t covers = span / PAGE_WORDS; /* by a word of the root */
		unsigned level = LEVELS - 1, at = 0;
		for (; at < PAGE_WORDS; level--, covers /= PAGE_WORDS) {
			struct page *page;
			if (page_get(vol, table, level, number / (covers * PAGE_WORDS), false, &page, err) <
			    0)
				return -1;
			if (page == NULL) /* no root */
				return 0;
			if (level == 0) {
				*found = number;
				return 0;
			}
			unsigned first = at = number / covers % PAGE_WORDS;
			while (at < PAGE_WORDS && page->words[at] == 0)
				at++;
			if (at > first)
				number = (number / covers + (at - first)) * covers;
		}
	}
	return 0;
}

int table_walk(struct dvol *vol, enum table table, void (*visit)(void *context, uint64_t pbn), void *context,
	       struct err *err)
{
	uint64_t covers = 1;
	for (unsigned level = 0; level < LEVELS; level++, covers *= PAGE_WORDS) {
		uint64_t number = 0;
		for (;;) {
			if (table_seek(vol, table, number, &number, err) < 0)
				return -1;
			if (number == UINT64_MAX)
				break;
			struct page *page;
			uint64_t of = number / (covers * PAGE_WORDS);
			if (page_get(vol, table, level, of, false, &page, err) < 0)
				return -1;
			visit(context, page->pbn);
			tables_trim(vol);
			number = (of + 1) * covers * PAGE_WORDS;
		}
	}
	return 0;
}
