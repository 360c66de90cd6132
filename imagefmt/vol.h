/* vol.h: the state of an open volume, shared by the files of this library only.
 *
 * Locks, in the order in which they are taken:
 *   digesting  where the digest tree stands, and that closed epochs do not move: one pass, or dvol_pack, at a time
 *   commit  one commit, checkpoint or other change of the journal at a time
 *   gate    shared: data I/O by map words that were looked up; exclusive: nothing of that is in flight, so that
 *           blocks may be freed and an epoch may be closed
 *   meta    everything in memory: tables, allocation, catalog, undo entries, what is pending
 *   peeks   shared: a cached page is looked at without meta (table_peek); exclusive: nobody does, so that pages may
 *           be freed
 * Functions here say which they want held ("meta" when nothing is said).  Epochs, open_index, sizes and the backing
 * change with meta held and the gate shut, so either is enough to read them.
 *
 * What changes is made in memory first and queued as pending; journal_cut turns that into a record. */
#ifndef IMAGEFMT_VOL_H
#define IMAGEFMT_VOL_H

#include "common/buf.h"
#include "imagefmt/dvol.h"
#include "imagefmt/format.h"
#include "imagefmt/gate.h"
#include <pthread.h>

/* ---- tables (table.c) ---- */
struct page {
	struct page *next;  /* in its hash chain (atomic) */
	struct page *older; /* in the list of all pages */
	struct page *newer;
	uint64_t number, pbn;
	uint8_t table, level;
	bool dirty;
	enum { WRITING_NOT, WRITING_DUE, WRITING_TAKEN } writing; /* by a checkpoint */
	uint8_t *image;             /* of a page that is due and was changed since: as it was */
	bool used;                  /* since the last trim looked (atomic) */
	uint64_t queued[8];         /* words with a pending item */
	uint64_t words[PAGE_WORDS]; /* those of level 0: atomic */
};

struct buckets {
	size_t count;
	struct page *heads[]; /* atomic */
};

struct tables {
	uint64_t roots[TABLES];
	struct buckets *buckets; /* atomic */
	size_t npages, ndirty, nwriting, limit;
	struct page *first; /* oldest */
	struct page *last;
};

void tables_init(struct dvol *vol, size_t limit);
void tables_clear(struct dvol *vol); /* forget every page, clean or not */
void tables_free(struct dvol *vol);
void tables_trim(struct dvol *vol); /* forget clean pages above the limit; no page pointer may be held */
/* table_peek (not meta): the words of [first, first + count) from pages that are in memory; false when one is not. */
bool table_peek(struct dvol *vol, enum table table, uint64_t first, uint64_t count, uint64_t *words);
/* table_get, table_set: a word; set queues an item (PDIG and HASH: none).  -1 with err. */
int table_get(struct dvol *vol, enum table table, uint64_t number, uint64_t *word, struct err *err);
int table_set(struct dvol *vol, enum table table, uint64_t number, uint64_t word, struct err *err);
/* table_dequeue: the word of a queued item, which is not queued any longer. */
int table_dequeue(struct dvol *vol, enum table table, uint64_t number, uint64_t *word, struct err *err);
/* table_seek: the first word at or after number whose page exists, or UINT64_MAX. */
int table_seek(struct dvol *vol, enum table table, uint64_t number, uint64_t *found, struct err *err);
/* table_prepare: make the pages of [first, first + count), so that table_set there cannot fail. */
int table_prepare(struct dvol *vol, enum table table, uint64_t first, uint64_t count, struct err *err);
/* For the replay.  table_replay: set a word of a page that exists, queueing nothing.  table_page_new: a page that is all zeroes, linked into its parent. */
int table_replay(struct dvol *vol, unsigned table, uint64_t number, uint64_t word, struct err *err);
int table_page_new(struct dvol *vol, unsigned table, unsigned level, uint64_t number, uint64_t pbn,
		   struct err *err);
/* page_take: for a checkpoint: as a page that is due is to be in the file. */
void page_take(const struct dvol *vol, struct page *page, uint8_t out[BLOCK]);
/* table_walk: visit(context, pbn) for every page of the table. */
int table_walk(struct dvol *vol, enum table table, void (*visit)(void *context, uint64_t pbn), void *context,
	       struct err *err);

/* ---- allocation (alloc.c) ---- */
struct extent {
	uint64_t pbn, count;
};

struct extents {
	struct extent *list;
	size_t count, cap;
};

struct busy { /* blocks that must not be allocated although their bit is clear: word -> mask */
	uint64_t *keys, *masks;
	size_t cap, filled;
};

struct alloc {
	uint64_t end, used, cursor, first; /* blocks; first: the first one behind the journal */
	uint64_t
	    ahead; /* space of this handle's growth is filled or allocated up to here; 0: it did not grow */
	unsigned small; /* blocks that were taken in small pieces since the last large one */
	struct busy busy;
	struct extents freed; /* since the last cut; busy until that is durable */
	uint8_t *full;        /* a bit per segment of SEGMENT blocks known to be full */
	size_t nfull;
};

enum { SEGMENT = 16384 };

void alloc_free_state(struct alloc *alloc);
/* alloc_reserve: up to want consecutive free blocks, at least one, or exactly want where `exact`; they are busy until
 * alloc_use (sets their bits) or alloc_unreserve.  Grows the file where needed. */
int alloc_reserve(struct dvol *vol, uint64_t want, bool exact, struct extent *got, struct err *err);
int alloc_use(struct dvol *vol, struct extent extent, struct err *err);
void alloc_unreserve(struct dvol *vol, struct extent extent);
/* alloc_release: clear the bits; the blocks are busy until the next cut is durable. */
int alloc_release(struct dvol *vol, struct extent extent, struct err *err);
/* alloc_forget: extents that were freed in a cut which is durable now may be allocated again. */
void alloc_forget(struct dvol *vol, const struct extents *freed);
void alloc_busy(struct dvol *vol, struct extent extent, bool busy);
void extents_add(struct extents *extents, struct extent extent);
void extents_join(struct extents *extents); /* sort, join neighbours */

/* ---- catalog (catalog.c) ---- */
struct epoch {
	uint32_t index, flags;
	struct dvol_id id, parent;
	uint64_t time_ns, size_bytes;
	uint8_t root[DVOL_ROOT];
};

struct pin {
	uint32_t index;
	char name[DVOL_NAME_MAX + 1];
};

struct run {
	uint32_t id, owner, count;
	uint64_t pbn;
	uint64_t *fences; /* first block of each page; NULL until wanted */
};

/* Where the digest tree stands (docs/dvol.md, "Digest"). */
enum { TREE_COVERED = 0xffffffff };
struct tree_state {
	uint32_t at; /* epoch index; 0: there is no tree */
	uint32_t
	    moving; /* 0, or another epoch: nodes above what changed between the two are of either, or neither */
	uint32_t
	    covered; /* nodes of level 1 below this one are there, and no others; TREE_COVERED: all, of all levels */
	uint32_t number; /* of the tree: nodes with another one count as zeroes */
	uint32_t moves;  /* grows with every change of the nodes, so that readers notice */
};

struct catalog {
	uint64_t size_bytes;
	uint32_t open_index, rolling, next_run;
	struct tree_state tree;
	uint8_t compress; /* zstd level for cold data, 0: none */
	uint8_t backing_kind;
	struct dvol_id backing_epoch;
	uint8_t backing_lineage[16];
	uint64_t backing_size;
	char backing_path[1024];
	struct dvol_id last; /* the highest name that an epoch ever had, also one that was deleted */
	struct epoch *epochs;
	size_t nepochs;
	struct pin *pins;
	size_t npins;
	struct run *runs;
	size_t nruns;
};

void catalog_free(struct catalog *catalog);
void catalog_encode(const struct catalog *catalog, struct buf *out);
int catalog_decode(struct catalog *catalog, const void *data, size_t len, struct err *err);
/* catalog_apply: do the operations in ops; the same code for what happens now and for the replay.  Sets *spill when one
 * of them is SPILL. */
int catalog_apply(struct catalog *catalog, const void *ops, size_t len, bool *spill, struct err *err);
/* catalog_newest: index of the newest epoch that is not condemned, or 0; catalog_below: of the newest below index, or 0. */
uint32_t catalog_newest(const struct catalog *catalog);
uint32_t catalog_below(const struct catalog *catalog, uint32_t index);
struct epoch *catalog_index(const struct catalog *catalog, uint32_t index);
struct epoch *catalog_id(const struct catalog *catalog, struct dvol_id id); /* not the condemned */
/* tree_needs: whether the epoch must stay because the digest tree stands there or moves there. */
bool tree_needs(const struct catalog *catalog, uint32_t index);
int id_compare(struct dvol_id a, struct dvol_id b);
static inline uint64_t run_pages(uint32_t count)
{
	return (count + RUN_PAGE_ENTRIES - 1) / RUN_PAGE_ENTRIES;
}

/* ---- undo (undo.c) ---- */
struct undo {
	uint64_t block, word;
};

struct memrun { /* undo entries that are in no run yet */
	uint32_t owner;
	struct undo *list;
	size_t count, cap;
	bool sorted;
};

struct undos {
	struct memrun *runs; /* by rising owner */
	size_t count;
};

void undo_add(struct undos *undos, uint32_t owner, uint64_t block, uint64_t word);
void undo_clear(struct undos *undos);
void undo_sort(struct memrun *run);
/* run_encode: the pages of a run; out has room for them.  run_load: all entries of a run, checked; the caller frees. */
void run_encode(const struct dvol *vol, uint32_t id, const struct undo *list, uint32_t count, uint8_t *out);
struct undo *run_load(struct dvol *vol, const struct run *run, struct err *err);
/* undo_find: the word of block in the closed epoch `index`, from the undo entries; *found tells whether there is one. */
int undo_find(struct dvol *vol, uint32_t index, uint64_t block, uint64_t *word, bool *found, struct err *err);
void windows_clear(struct dvol *vol);

struct window {
	uint64_t number; /* of WINDOW blocks; UINT64_MAX: empty */
	uint64_t stamp;
	uint64_t *words;
	uint64_t *known; /* a bit each */
};

enum { WINDOW = 8192, WINDOWS = 32 };

/* ---- packed extents (packed.c) ---- */
struct packed;
struct packer;
enum { PACK_CACHE = 8 };

/* packed_write (not meta): a packed extent of `count` blocks that rise, one after the other in data; it is written
 * and its place reserved.  at->count is 0 when compression wins nothing: then nothing was done.  packed_use: what was
 * reserved is in use, by so many words. */
int packed_write(struct dvol *vol, unsigned level, const uint64_t *blocks, const uint8_t *data,
		 uint32_t count, struct extent *at, struct err *err);
int packed_use(struct dvol *vol, struct extent at, uint32_t references, struct err *err);
/* packed_read (not meta; the gate shared, as for any data): the content (BLOCK bytes) and the digest of a block whose word is
 * packed; each may be NULL. */
int packed_read(struct dvol *vol, uint64_t word, uint64_t block, uint8_t *data, uint64_t digest[2],
		struct err *err);
/* packed_forget: what was read is read again.
 * packed_heal (not meta): write a damaged extent anew, to `out`, the file opened for writing, in place; for a handle whose epoch
 * sees the word, as with any healing.  What was in it its head must still say; fetch gives the content of those blocks (1, 0
 * when it has none, -1), which must have the digests that stand there.  *healed: how many blocks, or 0. */
typedef int packed_fetch(void *context, uint64_t block, uint8_t data[BLOCK], struct err *err);
void packed_forget(struct dvol *vol);
int packed_heal(struct dvol *vol, uint64_t word, packed_fetch *fetch, void *context, const struct file *out,
		uint32_t *healed, struct err *err);
/* word_release (gate exclusive): a map word goes that nothing else has: its block, if any, is freed. */
int word_release(struct dvol *vol, uint64_t word, struct err *err);
void packed_free(struct dvol *vol);

/* ---- journal (journal.c), commit (commit.c) ---- */
struct item {
	uint64_t key, value;
};

struct items {
	struct item *list;
	size_t count, cap;
};

struct pending {
	struct items pages, sets, undos; /* sets: the value is read at the cut */
	struct buf ops;
	bool any; /* of these, or the allocator's state */
};

struct journal {
	uint64_t half, used; /* where the next record goes: which half, bytes in it */
	uint64_t since;  /* bytes of records behind where the next superblock (or this one) lets it begin */
	bool other_live; /* the other half has records that the superblock needs (meta) */
	bool recovering; /* a checkpoint that could not turn to the other half */
	bool buffered;   /* records cannot be written with direct I/O, although data can */
	uint64_t chain;
	uint64_t started, done; /* syncs, for flushes that wait for one another */
	struct pending pending;
};

void items_add(struct items *items, uint64_t key, uint64_t value);
uint64_t journal_pending_bytes(const struct dvol *vol);
/* journal_cut: the pending changes as a record (without the chain), which are pending no longer. */
int journal_cut(struct dvol *vol, struct buf *record, struct err *err);
/* journal_append (commit, not meta): chain and write it; not synced. */
int journal_append(struct dvol *vol, struct buf *record, struct err *err);
int journal_replay(struct dvol *vol, struct err *err);
uint64_t journal_half(const struct dvol *vol); /* bytes of one */
uint64_t journal_at(const struct dvol *vol);   /* where the next record goes, for a superblock */
void journal_turn(struct dvol *vol);           /* the next record goes to the start of the other half */
/* op_do: do the operations in ops (made with buf_put_…) now, and queue them; empties ops. */
int op_do(struct dvol *vol, struct buf *ops, struct err *err);

/* commit_run (commit held): make all that is pending durable; with `checkpoint` also empty the journal.
 * commit_record (commit held, neither gate nor meta): the part after a cut; frees record and freed.
 * checkpoint_begin (commit held): waits for the one before; what is pending is durable on return; NULL with err.
 * checkpoint_finish: the journal begins behind what checkpoint_begin wrote; cp is gone, also on failure.
 * checkpoint_later (commit held): the same by another thread, where that is possible.
 * checkpoint_wait (commit held, or alone): none is under way. */
struct checkpoint;
struct checkpoint *checkpoint_begin(struct dvol *vol, struct err *err);
int checkpoint_finish(struct dvol *vol, struct checkpoint *cp, struct err *err);
int checkpoint_later(struct dvol *vol, struct checkpoint *cp, struct err *err);
void checkpoint_wait(struct dvol *vol);
int sync_file(struct dvol *vol, struct err *err);
int commit_run(struct dvol *vol, bool checkpoint, struct err *err);
int commit_record(struct dvol *vol, struct buf *record, struct extents *freed, struct err *err);
/* commit_room (commit held): see to it that a record of `more` bytes than what is pending fits into the journal.
 * commit_cut (commit and meta held): journal_cut, with the blocks freed by it.
 * commit_op (commit held): do operations at a moment when no I/O is in flight, and make them durable; for those that
 * change which epoch is the newest, as an UNDO item is understood by that.  Frees ops. */
int commit_room(struct dvol *vol, uint64_t more, struct err *err);
int commit_cut(struct dvol *vol, struct buf *record, struct extents *freed, struct err *err);
int commit_op(struct dvol *vol, struct buf *ops, struct err *err);
/* commit_op_cut: the same; cut(context), if not NULL, is called between the moment and the writing. */
int commit_op_cut(struct dvol *vol, struct buf *ops, void (*cut)(void *context), void *context,
		  struct err *err);
/* commit_pressure (nothing held): commit or checkpoint when commit_note (meta) saw that so much is pending, or that so many
 * pages are changed, that writers should (one of them does) or must wait for it; commit_note is called after changes. */
enum pressure { PRESSURE_NONE, PRESSURE_SOFT, PRESSURE_HARD };
int commit_pressure(struct dvol *vol, struct err *err);
void commit_note(struct dvol *vol);
int vol_fail(struct dvol *vol, struct err *err); /* mark failed; returns -1 */
/* vol_may_change: -1 with err unless writable and not failed. */
int vol_may_change(const struct dvol *vol, struct err *err);

/* ---- superblock and state (state.c) ---- */
struct super {
	uint8_t uuid[16], lineage[16];
	uint64_t generation, journal_start, journal_blocks;
	uint64_t catalog_pbn, catalog_bytes;
	uint64_t journal_at,
	    journal_chain; /* the first record, bytes in the journal; what its chain goes on from */
};

struct super_state { /* the rest of a superblock */
	uint64_t generation, catalog_pbn, catalog_bytes, catalog_sum;
	uint64_t journal_at, journal_chain;
	uint64_t end, used, cursor;
	uint64_t roots[TABLES];
};
/* state_write_super: into the slot of its generation, not synced.  state_load: superblock, catalog, journal, into
 * a vol that has only its file; again to refresh. */
int state_write_super(struct dvol *vol, const struct super_state *state, struct err *err);
int state_load(struct dvol *vol, struct err *err);

/* ---- digests in the background (background.c) ---- */
struct digester {
	pthread_mutex_t lock; /* inside all others */
	pthread_cond_t wake;
	pthread_t thread;
	bool running, wanted, stop;
	unsigned claims; /* of others, for whom it stops */
	bool failed;
	struct err failure; /* until dvol_digest reports it */
};

/* ---- the rest ---- */
struct dvol {
	struct file file;    /* buffered: metadata, and data that is not aligned */
	struct file direct;  /* data with O_DIRECT, or ops NULL */
	struct file spare;   /* of a writable volume: the file once more, for vol_open_beside */
	struct dvol *lender; /* whose spare and backing these are; or NULL */
	void *files_context;
	char *path;
	bool writable, failed, compact;
	bool list;     /* only the catalog may be asked for */
	uint32_t view; /* index of the closed epoch that this handle reads; 0: head */
	uint64_t view_size;

	pthread_mutex_t digesting, commit, meta;
	bool checkpointing;          /* a checkpoint has begun (meta) … */
	pthread_cond_t checkpointed; /* … and is at its end */
	bool has_checkpointer;       /* (commit) */
	pthread_t checkpointer;
	struct digester digester;
	struct extent catalog_at;
	struct gate gate, peeks;
	pthread_cond_t range_free;
	struct dvol_range *ranges; /* blocks that somebody is giving a new place (meta) */

	struct super super;
	struct tables tables;
	struct alloc alloc;
	struct catalog catalog;
	struct undos undos;
	struct journal journal;
	bool unsynced;          /* data was written since the last sync began (atomic) */
	enum pressure pressure; /* (atomic) */

	pthread_mutex_t packing; /* the innermost lock: what follows */
	struct packed *unpacked[PACK_CACHE];
	uint64_t unpacked_clock;
	struct packer *packers; /* idle ones */

	struct window windows[WINDOWS];
	uint64_t window_clock;

	struct dvol *backing;
	struct file backing_file;
	uint64_t backing_size;
	unsigned depth; /* how many volumes this one is the backing of */
	dvol_progress *tick;
	void *tick_context;
	const struct file_ops *ops;
};

/* vol_tick: tell how far a long operation is; -1 with ERR_CANCELLED when somebody wants it to end. */
int vol_tick(struct dvol *vol, uint64_t done_bytes, uint64_t total_bytes, struct err *err);
uint64_t hash64(const void *data, size_t len, uint64_t seed);
uint64_t vol_seed(const struct dvol *vol);
/* map_find: the map word of block as this handle sees it, after a refresh where that is needed. */
int map_find(struct dvol *vol, uint64_t block, uint64_t *word, struct err *err);
/* map_peek (gate shared, not meta): the words of [first, first + count) as map_find gives them, where that needs no lock;
 * false where it does, or something is wrong with one of them. */
bool map_peek(struct dvol *vol, uint64_t first, uint64_t count, uint64_t *words);
/* head_find: the head's word, for the writer. */
int head_find(struct dvol *vol, uint64_t block, uint64_t *word, struct err *err);
/* head_set: give a head block a new word (pages prepared), with an undo entry for the old one where a closed epoch sees
 * it; otherwise the old block is released (gate exclusive then). */
int head_set(struct dvol *vol, uint64_t block, uint64_t word, struct err *err);

/* view_refresh: take the state from the file again (a handle on a closed epoch). */
int view_refresh(struct dvol *vol, struct err *err);
/* view_words: words of a table, and view_seek: table_seek in the map; for a handle on a closed epoch, which takes them again
 * where a writer was about to write the page; for another one as without `view_`. */
int view_seek(struct dvol *vol, uint64_t block, uint64_t *found, struct err *err);
int view_words(struct dvol *vol, enum table table, uint64_t first, unsigned count, uint64_t *words,
	       struct err *err);
/* data_readv, data_writev: of one run of blocks, with O_DIRECT where that is on and everything is aligned. */
int data_readv(struct dvol *vol, const struct iovec *iov, int count, uint64_t at, struct err *err);
int data_writev(struct dvol *vol, const struct iovec *iov, int count, uint64_t at, struct err *err);
/* place_take (gate shared, not meta): for a write of whole blocks whose words are in memory, by somebody who does not wait for
 * other writers: a place for all of them, of one piece; the range is locked.  false: it is not that simple.
 * place_give (the same): the place is theirs (whole, the data is there), or given back.  false: given back, or the handle
 * failed.  Both pair up as the parts of a write do; see write.c. */
bool place_take(struct dvol *vol, struct dvol_range *range, uint64_t first, uint64_t blocks, uint64_t *pbn);
bool place_give(struct dvol *vol, struct dvol_range *range, uint64_t pbn, bool whole);
/* data_is_direct: they go with O_DIRECT.  data_wrote: data was written to the file; a sync that begins later is due. */
bool data_is_direct(const struct dvol *vol, const struct iovec *iov, int count, uint64_t at);
void data_wrote(struct dvol *vol);
/* vol_has_content: -1 with err for a handle of the list alone.
 * check_range: -1 with err unless [offset, offset + len) is within the volume. */
int vol_has_content(const struct dvol *vol, struct err *err);
int check_range(const struct dvol *vol, uint64_t offset, uint64_t len, struct err *err);
/* range_lock (meta; waits), range_try (meta; false: somebody has a part of it), range_unlock (meta): see dvol.ranges. */
bool range_try(struct dvol *vol, struct dvol_range *range, uint64_t first, uint64_t last);
void range_lock(struct dvol *vol, struct dvol_range *range, uint64_t first, uint64_t last);
void range_unlock(struct dvol *vol, struct dvol_range *range);
/* backing_open, backing_close; backing_read: zeroes past its end. */
int backing_open(struct dvol *vol, struct err *err);
void backing_close(struct dvol *vol);
int backing_read(struct dvol *vol, const struct iovec *iov, int count, uint64_t offset, struct err *err);
struct dvol *vol_open(const char *path, const struct dvol_open_options *options, unsigned depth,
		      struct err *err);
/* vol_open_beside: a closed epoch of a writable volume, from what that has open: its process may have no file system by now.
 * One at a time, and closed before the volume. */
struct dvol *vol_open_beside(struct dvol *vol, struct dvol_id id, struct err *err);

/* pin_set: dvol_pin and dvol_unpin, of any name.
 * revert_pending (commit held): the epoch that a revert of the head was making it, or NULL.  revert_finish (writable, alone): make it
 * that, after a crash. */
int pin_set(struct dvol *vol, struct dvol_id id, const char *name, bool add, struct err *err);
const struct epoch *revert_pending(const struct dvol *vol);
int revert_refuse(const struct dvol *vol, struct err *err); /* ERR_STATE while one is pending */
int revert_finish(struct dvol *vol, struct err *err);
/* epoch_finish (writable, alone): complete deletes and a rollback that a crash cut short. */
int epoch_finish(struct dvol *vol, struct err *err);
/* digest_leave (digesting held): see to it that the digest tree has nothing to do with the epoch `index`.
 * digest_newest (nothing held): give the newest epoch a root; ERR_CANCELLED once digest_interrupted. */
int digest_leave(struct dvol *vol, uint32_t index, struct err *err);
int digest_newest(struct dvol *vol, struct err *err);
/* digester_start, digester_stop: the thread.  digest_wanted: it has something to do, if there is one.  digest_failure: -1 with
 * what stopped it, once.
 * digest_claim, digest_release: hold `digesting`, for which the thread stops (digest_interrupted tells it). */
int digester_start(struct dvol *vol, struct err *err);
void digester_stop(struct dvol *vol);
void digest_wanted(struct dvol *vol);
int digest_failure(struct dvol *vol, struct err *err);
void digest_claim(struct dvol *vol);
void digest_release(struct dvol *vol);
bool digest_interrupted(struct dvol *vol);
/* changed_blocks: rising blocks of undo entries with from <= owner < to.  The caller frees. */
int changed_blocks(struct dvol *vol, uint32_t from, uint32_t to, uint64_t **list, size_t *count,
		   struct err *err);
/* extent_add: to a list, in rising order, joined with its last one where they meet. */
void extent_add(struct dvol_extent **list, size_t *count, size_t *cap, uint64_t offset, uint64_t len);
void *must_alloc(size_t count, size_t size); /* zeroed; aborts without memory, as buf.h does */
void *must_align(size_t len); /* at a whole block, for direct I/O; len in whole blocks; not zeroed */
void *must_grow(void *list, size_t count, size_t *cap, size_t size); /* room for one more */

#endif
