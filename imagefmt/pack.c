/* pack.c: compressing blocks at rest: those that are there already, and those that are written to stay as they are.
 *
 * What a closed epoch sees moves here, which no other operation does.  So nobody may be reading a closed epoch: the
 * locks of all of them are held while one is packed.  Readers of the head are kept out by the gate. */
#include "imagefmt/vol.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>

/* Blocks that are looked at under one closing of the gate, at most; and how far apart those of one extent may be. */
enum { BATCH = 1024, REACH = 4 * PACK_SLOTS, LEVEL_DEFAULT = 3 };

/* A block to be packed, and the extents of those that were. */
struct candidate {
	uint64_t block, word;
	uint64_t *place; /* NULL, or where in memory the word is to be changed */
};

struct group { /* candidates that share an extent */
	struct extent at;
	uint32_t first, count;
};

struct pack {
	struct dvol *vol;
	unsigned level;
	struct dvol_pack_result result;
	uint32_t locked; /* epochs up to this index */
	uint64_t done, total;
	struct candidate *list;
	uint32_t count;
	struct group *groups;
	uint32_t ngroups;
	uint8_t *data;
};

/* ---- readers are kept out ---- */
static void unlock_epochs(struct pack *pack)
{
	struct dvol *vol = pack->vol;
	for (size_t i = 0; i < vol->catalog.nepochs; i++)
		if (vol->catalog.epochs[i].index <= pack->locked)
			vol->file.ops->lock(vol->file.file, F_UNLCK,
					    LOCK_EPOCH + vol->catalog.epochs[i].index);
}

/* lock_epochs (commit held): those too that were closed since the last time. */
static int lock_epochs(struct pack *pack, struct err *err)
{
	struct dvol *vol = pack->vol;
	for (size_t i = 0; i < vol->catalog.nepochs; i++) {
		const struct epoch *epoch = &vol->catalog.epochs[i];
		if (epoch->index <= pack->locked)
			continue;
		if (vol->file.ops->lock(vol->file.file, F_WRLCK, LOCK_EPOCH + epoch->index) == 0) {
			pack->locked = epoch->index;
			continue;
		}
		if (errno != EAGAIN)
			return err_sys(err, "%s: locking an epoch", vol->path);
		return err_set(
		    err, ERR_STATE,
		    "%s: somebody is reading epoch %llu.%llu, whose blocks would move; pack when that "
		    "has ended",
		    vol->path, (unsigned long long)epoch->id.term, (unsigned long long)epoch->id.number);
	}
	return 0;
}

/* ---- groups of candidates become extents ---- */
static int read_group(struct pack *pack, const struct candidate *list, uint32_t count, struct err *err)
{
	for (uint32_t i = 0, n; i < count; i += n) {
		uint64_t pbn = word_pbn(list[i].word);
		for (n = 1; i + n < count && word_pbn(list[i + n].word) == pbn + n;)
			n++;
		struct iovec iov = {.iov_base = pack->data + (size_t)i * BLOCK, .iov_len = (size_t)n * BLOCK};
		if (data_readv(pack->vol, &iov, 1, pbn * BLOCK, err) < 0)
			return -1;
	}
	return 0;
}

static int write_groups(struct pack *pack, struct err *err)
{
	pack->ngroups = 0;
	for (uint32_t i = 0, n; i < pack->count; i += n) {
		uint64_t blocks[PACK_SLOTS];
		const struct candidate *list = pack->list + i;
		for (n = 0; n < PACK_SLOTS && i + n < pack->count && list[n].block - list[0].block < REACH;
		     n++)
			blocks[n] = list[n].block;
		if (n < 2)
			continue;
		struct group *group = &pack->groups[pack->ngroups];
		if (read_group(pack, list, n, err) < 0 ||
		    packed_write(pack->vol, pack->level, blocks, pack->data, n, &group->at, err) < 0)
			return -1;
		group->first = i;
		group->count = n;
		pack->ngroups += group->at.count > 0;
	}
	return 0;
}

static void drop_groups(struct pack *pack)
{
	for (uint32_t i = 0; i < pack->ngroups; i++)
		alloc_unreserve(pack->vol, pack->groups[i].at);
	pack->ngroups = 0;
}

/* use_groups (meta, gate exclusive): the new words; of the head at once, others where the candidates say. */
static int use_groups(struct pack *pack, struct err *err)
{
	struct dvol *vol = pack->vol;
	for (uint32_t g = 0; g < pack->ngroups; g++) {
		const struct group *group = &pack->groups[g];
		if (packed_use(vol, group->at, group->count, err) < 0)
			return -1;
		for (uint32_t i = group->first; i < group->first + group->count; i++) {
			const struct candidate *c = &pack->list[i];
			uint64_t word = word_make(group->at.pbn, word_birth(c->word)) | WORD_PACKED;
			if (word_release(vol, c->word, err) < 0)
				return -1;
			if (c->place != NULL)
				*c->place = word;
			else if (table_set(vol, TABLE_MAP, c->block, word, err) < 0)
				return -1;
		}
		pack->result.packed_blocks += group->count;
		pack->result.freed_blocks += group->count - group->at.count;
	}
	return 0;
}

/* ---- the head ---- */
static void add(struct pack *pack, uint64_t block, uint64_t word, uint64_t *place)
{
	if (word_pbn(word) != 0 && !word_packed(word))
		pack->list[pack->count++] = (struct candidate){.block = block, .word = word, .place = place};
}

/* head_candidates (meta): up to BATCH blocks from *block on.  What the open epoch wrote is not at rest, except where there are
 * no epochs at all. */
static int head_candidates(struct pack *pack, uint64_t *block, uint64_t end, struct err *err)
{
	struct dvol *vol = pack->vol;
	uint32_t newest = catalog_newest(&vol->catalog);
	uint64_t most = vol->super.journal_blocks * BLOCK / 512;
	most = most < BATCH ? most : BATCH;
	pack->count = 0;
	for (; *block < end && pack->count < most; ++*block) {
		uint64_t word;
		if (*block % PAGE_WORDS == 0)
			tables_trim(vol);
		if (table_seek(vol, TABLE_MAP, *block, block, err) < 0)
			return -1;
		if (*block >= end)
			break;
		if (head_find(vol, *block, &word, err) < 0)
			return -1;
		if (newest == 0 || word_birth(word) <= newest)
			add(pack, *block, word, NULL);
	}
	return 0;
}

/* head_batch: with the gate closed, so that nobody reads or writes what moves. */
static int head_batch(struct pack *pack, uint64_t *block, uint64_t end, struct buf *record,
		      struct extents *freed, struct err *err)
{
	struct dvol *vol = pack->vol;
	pthread_mutex_lock(&vol->meta);
	int result = head_candidates(pack, block, end, err);
	pthread_mutex_unlock(&vol->meta);
	if (result == 0)
		result = write_groups(pack, err);
	pthread_mutex_lock(&vol->meta);
	if (result < 0) {
		drop_groups(pack);
	} else if (pack->ngroups > 0) {
		result = use_groups(pack, err);
		result = result == 0 ? commit_cut(vol, record, freed, err) : vol_fail(vol, err);
	}
	pthread_mutex_unlock(&vol->meta);
	return result;
}

/* head_step: one batch, and its record. */
static int head_step(struct pack *pack, uint64_t *block, uint64_t end, struct err *err)
{
	struct dvol *vol = pack->vol;
	struct buf record = {0};
	struct extents freed = {0};
	pthread_mutex_lock(&vol->commit);
	int result = commit_room(vol,
				 (uint64_t)BATCH * 3 * ITEM < vol->super.journal_blocks * BLOCK / 8
				     ? (uint64_t)BATCH * 3 * ITEM
				     : vol->super.journal_blocks * BLOCK / 8,
				 err);
	if (result == 0)
		result = lock_epochs(pack, err);
	if (result == 0) {
		gate_shut(&vol->gate);
		result = head_batch(pack, block, end, &record, &freed, err);
		gate_open(&vol->gate);
		if (result == 0)
			result = commit_record(vol, &record, &freed, err);
	}
	pthread_mutex_unlock(&vol->commit);
	return result;
}

static int pack_head(struct pack *pack, struct err *err)
{
	struct dvol *vol = pack->vol;
	uint64_t end = (vol->catalog.size_bytes + BLOCK - 1) / BLOCK;
	for (uint64_t block = 0; block < end;) {
		if (head_step(pack, &block, end, err) < 0 ||
		    vol_tick(vol, (block < end ? block : end) * BLOCK, pack->total, err) < 0)
			return -1;
	}
	pack->done = end * BLOCK;
	return 0;
}

/* ---- what only closed epochs see: the words in undo runs, each of which is written anew (commit held) ---- */
static int run_apply(struct pack *pack, const struct run *old, const struct undo *list, struct extent at,
		     struct err *err)
{
	struct dvol *vol = pack->vol;
	struct buf ops = {0};
	uint32_t id = vol->catalog.next_run;
	uint64_t pages = run_pages(old->count);
	uint8_t *data = must_alloc(pages, BLOCK);
	run_encode(vol, id, list, old->count, data);
	struct iovec iov = {.iov_base = data, .iov_len = pages * BLOCK};
	int result = data_writev(vol, &iov, 1, at.pbn * BLOCK, err);
	free(data);
	if (result < 0 || alloc_use(vol, at, err) < 0 ||
	    alloc_release(vol, (struct extent){.pbn = old->pbn, .count = pages}, err) < 0)
		return -1;
	buf_put_u8(&ops, OP_RUN_DROP);
	buf_put_u32(&ops, old->id);
	buf_put_u8(&ops, OP_RUN_ADD);
	buf_put_u32(&ops, id);
	buf_put_u32(&ops, old->owner);
	buf_put_u32(&ops, old->count);
	buf_put_u64(&ops, at.pbn);
	return op_do(vol, &ops, err);
}

/* run_move: the new words into the list, and the list as a new run in place of the old one. */
static int run_move(struct pack *pack, const struct run *run, struct undo *list, struct err *err)
{
	struct dvol *vol = pack->vol;
	struct extent at = {0, 0};
	struct buf record = {0};
	struct extents freed = {0};
	pthread_mutex_lock(&vol->meta);
	int result = alloc_reserve(vol, run_pages(run->count), true, &at, err);
	if (result < 0)
		drop_groups(pack);
	pthread_mutex_unlock(&vol->meta);
	if (result < 0)
		return -1;
	gate_shut(&vol->gate);
	pthread_mutex_lock(&vol->meta);
	result = use_groups(pack, err);
	if (result == 0)
		result = run_apply(pack, run, list, at, err);
	if (result == 0)
		result = commit_cut(vol, &record, &freed, err);
	pthread_mutex_unlock(&vol->meta);
	gate_open(&vol->gate);
	return result == 0 ? commit_record(vol, &record, &freed, err) : vol_fail(vol, err);
}

static int pack_run(struct pack *pack, struct run run, struct err *err)
{
	struct dvol *vol = pack->vol;
	if (commit_room(vol, (uint64_t)run.count * 3 * ITEM, err) < 0)
		return -1;
	struct undo *list = run_load(vol, &run, err);
	if (list == NULL)
		return -1;
	pack->count = 0;
	for (uint32_t i = 0; i < run.count; i++)
		add(pack, list[i].block, list[i].word, &list[i].word);
	int result = write_groups(pack, err);
	if (result < 0) {
		pthread_mutex_lock(&vol->meta);
		drop_groups(pack);
		pthread_mutex_unlock(&vol->meta);
	} else if (pack->ngroups > 0) {
		result = run_move(pack, &run, list, err);
	}
	free(list);
	return result;
}

/* next_run: the one with the lowest number from *id on, below limit; moves past it. */
static bool next_run(const struct dvol *vol, uint32_t *id, uint32_t limit, struct run *run)
{
	const struct run *best = NULL;
	for (size_t i = 0; i < vol->catalog.nruns; i++) {
		const struct run *r = &vol->catalog.runs[i];
		if (r->id >= *id && r->id < limit && (best == NULL || r->id < best->id))
			best = r;
	}
	if (best == NULL)
		return false;
	*run = *best;
	*id = best->id + 1;
	return true;
}

static int pack_runs(struct pack *pack, struct err *err)
{
	struct dvol *vol = pack->vol;
	pthread_mutex_lock(&vol->commit);
	/* Entries that are in no run yet become runs. */
	int result = commit_run(vol, true, err);
	uint32_t id = 0, limit = vol->catalog.next_run;
	struct run run;
	while (result == 0 && next_run(vol, &id, limit, &run)) {
		result = lock_epochs(pack, err);
		if (result == 0)
			result = pack_run(pack, run, err);
		pack->done += (uint64_t)run.count * BLOCK;
		pthread_mutex_unlock(&vol->commit);
		if (result == 0)
			result = vol_tick(vol, pack->done < pack->total ? pack->done : pack->total,
					  pack->total, err);
		pthread_mutex_lock(&vol->commit);
	}
	pthread_mutex_unlock(&vol->commit);
	return result;
}

static void count_work(struct pack *pack)
{
	struct dvol *vol = pack->vol;
	pthread_mutex_lock(&vol->meta);
	pack->total = vol->catalog.size_bytes;
	for (size_t i = 0; i < vol->catalog.nruns; i++)
		pack->total += (uint64_t)vol->catalog.runs[i].count * BLOCK;
	pthread_mutex_unlock(&vol->meta);
}

int dvol_pack(struct dvol *vol, unsigned level, struct dvol_pack_result *packed, struct err *err)
{
	if (vol_may_change(vol, err) < 0)
		return -1;
	if (level > DVOL_COMPRESS_MAX)
		return err_set(err, ERR_USAGE, "zstd levels go from 1 to %d", DVOL_COMPRESS_MAX);
	struct pack pack = {.vol = vol, .level = level};
	if (level == 0)
		pack.level = vol->catalog.compress != 0 ? vol->catalog.compress : LEVEL_DEFAULT;
	uint32_t room = RUN_MAX; /* and a batch is smaller */
	pack.list = must_alloc(room, sizeof(*pack.list));
	pack.groups = must_alloc(room / 2 + 1, sizeof(*pack.groups));
	pack.data = must_alloc(PACK_SLOTS, BLOCK);
	count_work(&pack);
	/* A digest pass reads closed epochs. */
	digest_claim(vol);
	int result = pack_head(&pack, err);
	if (result == 0)
		result = pack_runs(&pack, err);
	pthread_mutex_lock(&vol->commit);
	unlock_epochs(&pack);
	pthread_mutex_unlock(&vol->commit);
	digest_release(vol);
	free(pack.list);
	free(pack.groups);
	free(pack.data);
	if (packed != NULL)
		*packed = pack.result;
	return result;
}

/* ---- writing what is to stay as it is ---- */

/* cold_group: whole blocks from block on.  *written tells whether they were packed. */
static int cold_group(struct dvol *vol, uint64_t block, uint32_t count, const uint8_t *data, bool *written,
		      struct err *err)
{
	uint64_t blocks[PACK_SLOTS];
	struct extent at;
	for (uint32_t i = 0; i < count; i++)
		blocks[i] = block + i;
	*written = false;
	if (commit_pressure(vol, err) < 0 ||
	    packed_write(vol, vol->catalog.compress, blocks, data, count, &at, err) < 0)
		return -1;
	if (at.count == 0)
		return 0;
	*written = true;
	gate_shut(&vol->gate);
	pthread_mutex_lock(&vol->meta);
	int result = vol_may_change(vol, err);
	if (result == 0)
		result = table_prepare(vol, TABLE_MAP, block, count, err);
	if (result < 0) {
		alloc_unreserve(vol, at);
	} else {
		uint64_t word = word_make(at.pbn, vol->catalog.open_index) | WORD_PACKED;
		result = packed_use(vol, at, count, err);
		for (uint32_t i = 0; i < count && result == 0; i++)
			result = head_set(vol, block + i, word, err);
		if (result < 0)
			vol_fail(vol, err);
		commit_note(vol);
	}
	tables_trim(vol);
	pthread_mutex_unlock(&vol->meta);
	gate_open(&vol->gate);
	return result;
}

int dvol_write_cold(struct dvol *vol, const void *data, size_t len, uint64_t offset, struct err *err)
{
	const uint8_t *at = data;
	if (vol->catalog.compress == 0)
		return dvol_write(vol, data, len, offset, err);
	if (vol_may_change(vol, err) < 0 || check_range(vol, offset, len, err) < 0)
		return -1;
	while (len > 0) {
		/* As many whole blocks as go into an extent; the others as they are. */
		uint64_t some = offset % BLOCK != 0 ? BLOCK - offset % BLOCK : len / BLOCK * BLOCK;
		some = some > PACK_SLOTS * BLOCK ? PACK_SLOTS * BLOCK : some;
		some = some == 0 || some > len ? len : some;
		bool written = false;
		if (some % BLOCK == 0 && offset % BLOCK == 0 &&
		    cold_group(vol, offset / BLOCK, (uint32_t)(some / BLOCK), at, &written, err) < 0)
			return -1;
		if (!written && dvol_write(vol, at, some, offset, err) < 0)
			return -1;
		at += some;
		offset += some;
		len -= some;
	}
	return 0;
}
