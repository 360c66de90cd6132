/* commit.c: making changes durable by records in the journal.
 *
 * A checkpoint that is due because much has changed is made under the commit lock only as far as its cut and its record;
 * while it writes pages (checkpoint_later), others commit, and close epochs, into the other half of the journal.
 * Whoever needs a checkpoint to be complete (commit_run) keeps the lock until it is. */
#include "imagefmt/vol.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* A checkpoint is due when this many pages are changed, so that they stay within 80 MiB, while one writes as many, and a
 * replay within REPLAY_PAGES (one transaction more changes up to RUN_MAX words). */
enum { DIRTY_MAX = 8192 };

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

int sync_file(struct dvol *vol, struct err *err)
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

/* checkpoint_due (meta): before a commit of what is pending. */
static bool checkpoint_due(const struct dvol *vol, bool wanted)
{
	const struct journal *journal = &vol->journal;
	uint64_t bytes = journal_pending_bytes(vol);
	if (wanted)
		return bytes > 0 || journal->since > 0 || vol->tables.ndirty > 0;
	return (bytes > 0 && journal->used + bytes > journal_half(vol) / 4 * 3) ||
	       vol->tables.ndirty > (journal->other_live ? 2 : 1) * DIRTY_MAX;
}

/* commit_begin (commit held): what is pending is durable on return; *cp (may be NULL): a checkpoint to be finished. */
static int commit_begin(struct dvol *vol, bool wanted, struct checkpoint **cp, struct err *err)
{
	*cp = NULL;
	if (vol_may_change(vol, err) < 0)
		return -1;
	pthread_mutex_lock(&vol->meta);
	if (checkpoint_due(vol, wanted)) {
		pthread_mutex_unlock(&vol->meta);
		*cp = checkpoint_begin(vol, err);
		return *cp != NULL ? 0 : -1;
	}
	struct buf record;
	struct extents freed;
	int result = commit_cut(vol, &record, &freed, err);
	tables_trim(vol);
	pthread_mutex_unlock(&vol->meta);
	return result < 0 ? -1 : commit_record(vol, &record, &freed, err);
}

int commit_run(struct dvol *vol, bool wanted, struct err *err)
{
	struct checkpoint *cp;
	int result = commit_begin(vol, wanted, &cp, err);
	return cp != NULL ? checkpoint_finish(vol, cp, err) : result;
}

int commit_room(struct dvol *vol, uint64_t more, struct err *err)
{
	/* The first checkpoint's record may be a large one, if much was pending. */
	for (int i = 0; i < 2; i++) {
		if (vol_may_change(vol, err) < 0)
			return -1;
		pthread_mutex_lock(&vol->meta);
		uint64_t bytes = vol->journal.used + journal_pending_bytes(vol) + more;
		pthread_mutex_unlock(&vol->meta);
		if (bytes <= journal_half(vol) / 2)
			return 0;
		if (commit_run(vol, true, err) < 0)
			return -1;
	}
	return 0;
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
	return commit_op_cut(vol, ops, NULL, NULL, err);
}

int commit_op_cut(struct dvol *vol, struct buf *ops, void (*cut)(void *context), void *context,
		  struct err *err)
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
	if (result < 0)
		return vol_fail(vol, err);
	if (cut != NULL)
		cut(context);
	return commit_record(vol, &record, &freed, err);
}

void commit_note(struct dvol *vol)
{
	uint64_t bytes = journal_pending_bytes(vol), half = journal_half(vol);
	size_t dirty = vol->tables.ndirty;
	enum pressure pressure = PRESSURE_NONE;
	if (bytes > half / 4 || dirty > (size_t)2 * DIRTY_MAX)
		pressure = PRESSURE_HARD;
	else if (bytes > half / 8 || (dirty > DIRTY_MAX && !vol->journal.other_live))
		pressure = PRESSURE_SOFT;
	if (pressure != __atomic_load_n(&vol->pressure, __ATOMIC_RELAXED))
		__atomic_store_n(&vol->pressure, pressure, __ATOMIC_RELAXED);
}

int commit_pressure(struct dvol *vol, struct err *err)
{
	enum pressure pressure = __atomic_load_n(&vol->pressure, __ATOMIC_RELAXED);
	struct checkpoint *cp = NULL;
	int result = 0;
	if (pressure == PRESSURE_NONE)
		return 0;
	if (pressure == PRESSURE_HARD)
		pthread_mutex_lock(&vol->commit);
	else if (pthread_mutex_trylock(&vol->commit) != 0)
		return 0; /* whoever has it may well be about to do it */
	/* One of all who came for it does it. */
	if (__atomic_load_n(&vol->pressure, __ATOMIC_RELAXED) != PRESSURE_NONE)
		result = commit_begin(vol, false, &cp, err);
	if (cp != NULL)
		result = checkpoint_later(vol, cp, err);
	pthread_mutex_unlock(&vol->commit);
	return result;
}

int dvol_flush(struct dvol *vol, struct err *err)
{
	if (vol_may_change(vol, err) < 0)
		return -1;
	struct journal *journal = &vol->journal;
	struct checkpoint *cp = NULL;
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
		result = commit_begin(vol, false, &cp, err);
		if (result == 0)
			journal->done = mine;
	}
	if (cp != NULL)
		result = checkpoint_later(vol, cp, err);
	pthread_mutex_unlock(&vol->commit);
	return result;
}
