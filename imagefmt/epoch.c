/* epoch.c: closing and listing epochs, pins, and growing the head. */
#include "imagefmt/vol.h"

#include "common/io.h"
#include <stdlib.h>
#include <string.h>

static int epoch_error(const struct dvol *vol, struct dvol_id id, const char *what, struct err *err)
{
	return err_set(err, ERR_STATE, "%s: epoch %llu.%llu %s", vol->path, (unsigned long long)id.term,
		       (unsigned long long)id.number, what);
}

static int close_locked(struct dvol *vol, const struct dvol_id *id, const struct dvol_cut *cut,
			struct dvol_id *made, struct err *err)
{
	/* The catalog changes only under the commit lock, which is held. */
	const struct catalog *catalog = &vol->catalog;
	if (catalog->rolling != 0)
		return err_set(err, ERR_STATE, "%s: a delta is being applied; wait for its end", vol->path);
	if (revert_refuse(vol, err) < 0)
		return -1;
	struct dvol_id newest = {.term = 1}, next = {.term = 1, .number = 1};
	if (catalog->nepochs > 0)
		newest = catalog->epochs[catalog->nepochs - 1].id;
	/* Never a name that a deleted epoch had: a replica may have that one still. */
	if (catalog->last.number != 0)
		next = (struct dvol_id){.term = catalog->last.term, .number = catalog->last.number + 1};
	if (id != NULL && id->number != 0)
		next = *id;
	if (id_compare(next, newest) <= 0)
		return epoch_error(vol, next, "does not come after the newest one", err);
	if (catalog->open_index + 2 >= BIRTH_LIMIT)
		return err_set(err, ERR_STATE, "%s: no more epochs can be closed; copy it to a new volume",
			       vol->path);
	struct buf ops = {0};
	buf_put_u8(&ops, OP_CLOSE);
	buf_put_u32(&ops, catalog->open_index);
	buf_put_u64(&ops, next.term);
	buf_put_u64(&ops, next.number);
	buf_put_u64(&ops, clock_real_ns());
	if (commit_op_cut(vol, &ops, cut != NULL ? cut->done : NULL, cut != NULL ? cut->context : NULL, err) <
	    0)
		return -1;
	if (made != NULL)
		*made = next;
	return 0;
}

int dvol_epoch_close(struct dvol *vol, const struct dvol_id *id, struct dvol_id *made, struct err *err)
{
	return dvol_epoch_close_cut(vol, id, NULL, made, err);
}

int dvol_epoch_close_cut(struct dvol *vol, const struct dvol_id *id, const struct dvol_cut *cut,
			 struct dvol_id *made, struct err *err)
{
	if (vol_may_change(vol, err) < 0)
		return -1;
	pthread_mutex_lock(&vol->commit);
	int result = close_locked(vol, id, cut, made, err);
	pthread_mutex_unlock(&vol->commit);
	digest_wanted(vol);
	return result;
}

int dvol_epochs(struct dvol *vol, struct dvol_epoch **list, size_t *count, struct err *err)
{
	(void)err;
	pthread_mutex_lock(&vol->meta);
	*list = must_alloc(vol->catalog.nepochs + 1, sizeof(**list));
	*count = 0;
	for (size_t i = 0; i < vol->catalog.nepochs; i++) {
		const struct epoch *epoch = &vol->catalog.epochs[i];
		if (epoch->flags & EPOCH_CONDEMNED)
			continue;
		struct dvol_epoch *out = &(*list)[(*count)++];
		*out = (struct dvol_epoch){.id = epoch->id,
					   .parent = epoch->parent,
					   .time_ns = epoch->time_ns,
					   .size_bytes = epoch->size_bytes,
					   .has_root = epoch->flags & EPOCH_HAS_ROOT};
		memcpy(out->root, epoch->root, DVOL_ROOT);
	}
	pthread_mutex_unlock(&vol->meta);
	return 0;
}

int pin_set(struct dvol *vol, struct dvol_id id, const char *name, bool add, struct err *err)
{
	size_t len = strlen(name);
	if (vol_may_change(vol, err) < 0)
		return -1;
	if (len == 0 || len > DVOL_NAME_MAX)
		return err_set(err, ERR_USAGE, "a pin's name has 1 to %d characters", DVOL_NAME_MAX);
	pthread_mutex_lock(&vol->commit);
	const struct epoch *epoch = catalog_id(&vol->catalog, id);
	bool there = false;
	for (size_t i = 0; epoch != NULL && i < vol->catalog.npins; i++)
		there = there || (vol->catalog.pins[i].index == epoch->index &&
				  strcmp(vol->catalog.pins[i].name, name) == 0);
	int result;
	if (epoch == NULL) {
		result = epoch_error(vol, id, "is not there", err);
	} else if (there == add) {
		result = epoch_error(vol, id, add ? "has this pin already" : "has no such pin", err);
	} else {
		struct buf ops = {0};
		buf_put_u8(&ops, add ? OP_PIN : OP_UNPIN);
		buf_put_u32(&ops, epoch->index);
		buf_put_u8(&ops, (uint8_t)len);
		buf_put(&ops, name, len);
		result = commit_op(vol, &ops, err);
	}
	pthread_mutex_unlock(&vol->commit);
	return result;
}

int dvol_pin(struct dvol *vol, struct dvol_id id, const char *name, struct err *err)
{
	if (strcmp(name, DVOL_PIN_REVERT) == 0)
		return err_set(err, ERR_USAGE, "the pin \"%s\" is drover's own; choose another name", name);
	return pin_set(vol, id, name, true, err);
}

int dvol_unpin(struct dvol *vol, struct dvol_id id, const char *name, struct err *err)
{
	if (strcmp(name, DVOL_PIN_REVERT) == 0)
		return epoch_error(vol, id, "is what the head is being reverted to", err);
	return pin_set(vol, id, name, false, err);
}

int dvol_pins(struct dvol *vol, struct dvol_pinned **list, size_t *count, struct err *err)
{
	(void)err;
	pthread_mutex_lock(&vol->meta);
	const struct catalog *catalog = &vol->catalog;
	*list = must_alloc(catalog->npins + 1, sizeof(**list));
	*count = 0;
	for (size_t i = 0; i < catalog->nepochs; i++)
		for (size_t p = 0; p < catalog->npins; p++) {
			if (catalog->pins[p].index != catalog->epochs[i].index)
				continue;
			struct dvol_pinned *out = &(*list)[(*count)++];
			out->id = catalog->epochs[i].id;
			strcpy(out->name, catalog->pins[p].name);
		}
	pthread_mutex_unlock(&vol->meta);
	return 0;
}

int dvol_resize(struct dvol *vol, uint64_t size_bytes, struct err *err)
{
	if (vol_may_change(vol, err) < 0)
		return -1;
	if (size_bytes < dvol_size(vol) || size_bytes > DVOL_SIZE_MAX || size_bytes % DVOL_SECTOR != 0)
		return err_set(err, ERR_USAGE,
			       "%s: a volume can only grow, to a multiple of 512 bytes and at most 64 TiB",
			       vol->path);
	struct buf ops = {0};
	pthread_mutex_lock(&vol->commit);
	buf_put_u8(&ops, OP_RESIZE);
	buf_put_u64(&ops, size_bytes);
	int result = commit_op(vol, &ops, err);
	pthread_mutex_unlock(&vol->commit);
	return result;
}
