/* remove.c: deleting an epoch and rolling back to one: run by run, each in one record, so that a crash leaves what can
 * be read by the same rule and be continued (docs/dvol.md, "Freeing"). */
#include "imagefmt/vol.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>

static int simple_op(struct dvol *vol, enum op op, uint32_t index, struct err *err)
{
	struct buf ops = {0};
	buf_put_u8(&ops, (uint8_t)op);
	if (op != OP_ROLL_END)
		buf_put_u32(&ops, index);
	return commit_op(vol, &ops, err);
}

static const struct run *run_owned(const struct dvol *vol, uint32_t owner)
{
	for (size_t i = 0; i < vol->catalog.nruns; i++)
		if (vol->catalog.runs[i].owner == owner)
			return &vol->catalog.runs[i];
	return NULL;
}

/* A run of S under way to its predecessor P. */
struct move {
	struct run from;
	uint32_t to; /* P, or 0 */
	struct undo *list;
	uint32_t kept;     /* entries that P sees; they come first in list, in order … */
	struct undo *dead; /* … and the others */
	uint32_t ndead;
	struct extent at; /* the new run */
	uint32_t id;
};

static int move_split(struct dvol *vol, struct move *move, struct err *err)
{
	move->list = run_load(vol, &move->from, err);
	if (move->list == NULL)
		return -1;
	move->dead = must_alloc(move->from.count, sizeof(*move->dead));
	for (uint32_t i = 0; i < move->from.count; i++) {
		if (move->to != 0 && word_birth(move->list[i].word) <= move->to)
			move->list[move->kept++] = move->list[i];
		else
			move->dead[move->ndead++] = move->list[i];
	}
	return 0;
}

/* move_write: the survivors as a new run; the place is reserved only. */
static int move_write(struct dvol *vol, struct move *move, struct err *err)
{
	uint64_t pages = run_pages(move->kept);
	pthread_mutex_lock(&vol->meta);
	move->id = vol->catalog.next_run;
	int result = alloc_reserve(vol, pages, true, &move->at, err);
	pthread_mutex_unlock(&vol->meta);
	if (result < 0)
		return -1;
	uint8_t *data = must_alloc(pages, BLOCK);
	run_encode(vol, move->id, move->list, move->kept, data);
	struct iovec iov = {.iov_base = data, .iov_len = pages * BLOCK};
	result = data_writev(vol, &iov, 1, move->at.pbn * BLOCK, err);
	free(data);
	return result;
}

static int move_apply(struct dvol *vol, const struct move *move, struct err *err)
{
	struct buf ops = {0};
	if (move->ndead == 0) {
		buf_put_u8(&ops, OP_REOWN);
		buf_put_u32(&ops, move->from.id);
		buf_put_u32(&ops, move->to);
		return op_do(vol, &ops, err);
	}
	for (uint32_t i = 0; i < move->ndead; i++)
		if (word_release(vol, move->dead[i].word, err) < 0)
			return -1;
	if (alloc_release(vol, (struct extent){.pbn = move->from.pbn, .count = run_pages(move->from.count)},
			  err) < 0)
		return -1;
	buf_put_u8(&ops, OP_RUN_DROP);
	buf_put_u32(&ops, move->from.id);
	if (move->kept > 0) {
		if (alloc_use(vol, move->at, err) < 0) {
			buf_free(&ops);
			return -1;
		}
		buf_put_u8(&ops, OP_RUN_ADD);
		buf_put_u32(&ops, move->id);
		buf_put_u32(&ops, move->to);
		buf_put_u32(&ops, move->kept);
		buf_put_u64(&ops, move->at.pbn);
	}
	return op_do(vol, &ops, err);
}

static int move_run(struct dvol *vol, const struct run *run, struct err *err)
{
	struct move move = {.from = *run, .to = catalog_below(&vol->catalog, run->owner)};
	struct buf record = {0};
	struct extents freed = {0};
	int result = commit_room(vol, (uint64_t)run->count * 2 * ITEM, err);
	if (result == 0)
		result = move_split(vol, &move, err);
	if (result == 0 && move.kept > 0 && move.ndead > 0)
		result = move_write(vol, &move, err);
	if (result == 0) {
		/* Somebody may be reading one of these blocks that he looked up before it was superseded. */
		gate_shut(&vol->gate);
		pthread_mutex_lock(&vol->meta);
		result = move_apply(vol, &move, err);
		if (result == 0)
			result = commit_cut(vol, &record, &freed, err);
		pthread_mutex_unlock(&vol->meta);
		gate_open(&vol->gate);
		result = result == 0 ? commit_record(vol, &record, &freed, err) : vol_fail(vol, err);
	} else if (move.at.count > 0) {
		pthread_mutex_lock(&vol->meta);
		alloc_unreserve(vol, move.at);
		pthread_mutex_unlock(&vol->meta);
	}
	free(move.list);
	free(move.dead);
	return result;
}

/* delete_condemned: what is left to do for an epoch that is condemned. */
static int delete_condemned(struct dvol *vol, uint32_t index, struct err *err)
{
	/* Entries that are in no run yet become runs; there are no new ones, as the epoch is the newest no longer. */
	if (commit_run(vol, true, err) < 0)
		return -1;
	for (const struct run *run; (run = run_owned(vol, index)) != NULL;)
		if (move_run(vol, run, err) < 0)
			return -1;
	return simple_op(vol, OP_DROP, index, err);
}

/* may_delete: the epoch's index, or 0 with err. */
static uint32_t may_delete(const struct dvol *vol, struct dvol_id id, struct err *err)
{
	const struct epoch *epoch = catalog_id(&vol->catalog, id);
	if (epoch == NULL) {
		err_set(err, ERR_STATE, "%s has no epoch %llu.%llu", vol->path, (unsigned long long)id.term,
			(unsigned long long)id.number);
		return 0;
	}
	if (vol->catalog.rolling == epoch->index) {
		err_set(err, ERR_STATE, "%s: a delta is being applied to this epoch; wait for its end",
			vol->path);
		return 0;
	}
	for (size_t i = 0; i < vol->catalog.npins; i++)
		if (vol->catalog.pins[i].index == epoch->index) {
			err_set(err, ERR_STATE, "%s: epoch %llu.%llu is pinned by \"%s\"", vol->path,
				(unsigned long long)id.term, (unsigned long long)id.number,
				vol->catalog.pins[i].name);
			return 0;
		}
	return epoch->index;
}

static int hold_epoch(struct dvol *vol, uint32_t index, struct dvol_id id, struct err *err)
{
	if (vol->file.ops->lock(vol->file.file, F_WRLCK, LOCK_EPOCH + index) == 0)
		return 0;
	if (errno != EAGAIN)
		return err_sys(err, "%s: locking the epoch", vol->path);
	return err_set(err, ERR_STATE,
		       "%s: somebody is reading epoch %llu.%llu; try again when that has ended", vol->path,
		       (unsigned long long)id.term, (unsigned long long)id.number);
}

/* leave_tree (commit held, but for the moment): the digest tree goes elsewhere, while others flush and close. */
static int leave_tree(struct dvol *vol, uint32_t index, struct dvol_id id, struct err *err)
{
	pthread_mutex_unlock(&vol->commit);
	int result = digest_leave(vol, index, err);
	pthread_mutex_lock(&vol->commit);
	/* Meanwhile somebody else may have deleted it, or pinned it. */
	uint32_t now = result == 0 ? may_delete(vol, id, err) : 0;
	if (now != 0 && now != index)
		err_set(err, ERR_STATE, "%s: epoch %llu.%llu was replaced just now; try again", vol->path,
			(unsigned long long)id.term, (unsigned long long)id.number);
	return now == index ? 0 : -1;
}

int dvol_epoch_delete(struct dvol *vol, struct dvol_id id, struct err *err)
{
	if (vol_may_change(vol, err) < 0)
		return -1;
	pthread_mutex_lock(&vol->commit);
	uint32_t index = may_delete(vol, id, err);
	bool claimed = index != 0 && tree_needs(&vol->catalog, index);
	if (claimed) {
		/* Who computes digests may be reading it. */
		pthread_mutex_unlock(&vol->commit);
		digest_claim(vol);
		pthread_mutex_lock(&vol->commit);
		index = may_delete(vol, id, err);
	}
	/* Held before the tree goes: where it cannot be deleted it keeps its tree. */
	int result = index != 0 ? hold_epoch(vol, index, id, err) : -1;
	if (result == 0) {
		if (claimed)
			result = leave_tree(vol, index, id, err);
		if (result == 0)
			result = simple_op(vol, OP_CONDEMN, index, err);
		if (result == 0)
			result = delete_condemned(vol, index, err);
		vol->file.ops->lock(vol->file.file, F_UNLCK, LOCK_EPOCH + index);
	}
	pthread_mutex_unlock(&vol->commit);
	if (claimed)
		digest_release(vol);
	return result;
}

/* ---- rollback; gate exclusive throughout ---- */
static int restore_run(struct dvol *vol, const struct run *from, const struct undo *list, struct err *err)
{
	for (uint32_t i = 0; i < from->count; i++) {
		uint64_t now;
		if (table_prepare(vol, TABLE_MAP, list[i].block, 1, err) < 0 ||
		    head_find(vol, list[i].block, &now, err) < 0)
			return -1;
		if (word_birth(now) <= from->owner)
			return err_set(err, ERR_INPUT, "%s: map and history contradict each other; run check",
				       vol->path);
		if (word_release(vol, now, err) < 0)
			return -1;
		if (table_set(vol, TABLE_MAP, list[i].block, list[i].word, err) < 0)
			return -1;
	}
	if (alloc_release(vol, (struct extent){.pbn = from->pbn, .count = run_pages(from->count)}, err) < 0)
		return -1;
	struct buf ops = {0};
	buf_put_u8(&ops, OP_RUN_DROP);
	buf_put_u32(&ops, from->id);
	return op_do(vol, &ops, err);
}

static int roll_run(struct dvol *vol, const struct run *run, struct err *err)
{
	struct run from = *run;
	struct buf record = {0};
	struct extents freed = {0};
	if (commit_room(vol, (uint64_t)from.count * 3 * ITEM, err) < 0)
		return -1;
	struct undo *list = run_load(vol, &from, err);
	if (list == NULL)
		return -1;
	pthread_mutex_lock(&vol->meta);
	int result = restore_run(vol, &from, list, err);
	if (result == 0)
		result = commit_cut(vol, &record, &freed, err);
	pthread_mutex_unlock(&vol->meta);
	free(list);
	return result == 0 ? commit_record(vol, &record, &freed, err) : vol_fail(vol, err);
}

/* op_now: as commit_op, with the gate held already. */
static int op_now(struct dvol *vol, enum op op, uint32_t index, struct err *err)
{
	gate_open(&vol->gate);
	int result = simple_op(vol, op, index, err);
	gate_shut(&vol->gate);
	return result;
}

static int roll_all(struct dvol *vol, uint32_t index, struct err *err)
{
	for (const struct run *run; (run = run_owned(vol, index)) != NULL;)
		if (roll_run(vol, run, err) < 0)
			return -1;
	return op_now(vol, OP_ROLL_END, index, err);
}

static int rollback_locked(struct dvol *vol, struct dvol_id id, struct err *err)
{
	const struct epoch *epoch = catalog_id(&vol->catalog, id);
	if (revert_refuse(vol, err) < 0)
		return -1;
	if (epoch == NULL || epoch->index != catalog_newest(&vol->catalog))
		return err_set(err, ERR_STATE,
			       epoch == NULL
				   ? "%s has no epoch %llu.%llu"
				   : "%s: epoch %llu.%llu is not the newest; delete the later ones first",
			       vol->path, (unsigned long long)id.term, (unsigned long long)id.number);
	uint32_t index = epoch->index;
	gate_shut(&vol->gate);
	int result = op_now(vol, OP_ROLL_BEGIN, index, err);
	if (result == 0)
		result = commit_run(vol, true, err);
	if (result == 0)
		result = roll_all(vol, index, err);
	gate_open(&vol->gate);
	return result;
}

int dvol_rollback(struct dvol *vol, struct dvol_id id, struct err *err)
{
	if (vol_may_change(vol, err) < 0)
		return -1;
	pthread_mutex_lock(&vol->commit);
	int result = rollback_locked(vol, id, err);
	pthread_mutex_unlock(&vol->commit);
	return result;
}

int epoch_finish(struct dvol *vol, struct err *err)
{
	int result = 0;
	pthread_mutex_lock(&vol->commit);
	if (vol->catalog.rolling != 0) {
		gate_shut(&vol->gate);
		result = roll_all(vol, vol->catalog.rolling, err);
		gate_open(&vol->gate);
	}
	for (size_t i = 0; result == 0 && i < vol->catalog.nepochs;) {
		struct err why = {0};
		if (!(vol->catalog.epochs[i].flags & EPOCH_CONDEMNED)) {
			i++;
		} else if (delete_condemned(vol, vol->catalog.epochs[i].index, &why) < 0) {
			/* Damaged history costs its space, not the volume: it stays condemned. */
			if (why.kind == ERR_INPUT && !vol->failed) {
				i++;
				continue;
			}
			if (err != NULL)
				*err = why;
			result = -1;
		}
	}
	pthread_mutex_unlock(&vol->commit);
	return result;
}
