/* revert.c: the head reads as an older epoch again, and the later epochs stay.
 *
 * A rollback undoes what the newest epoch's undo entries know; those of older ones belong to later epochs too.  So here the
 * blocks that differ are copied, as ordinary writes.  These become durable in pieces; a pin on the epoch says that
 * the head is on its way, from before the first write until after the last is durable. */
#include "imagefmt/vol.h"

#include <stdlib.h>
#include <string.h>

enum { CHUNK = 1 << 20 };

const struct epoch *revert_pending(const struct dvol *vol)
{
	for (size_t i = 0; i < vol->catalog.npins; i++)
		if (strcmp(vol->catalog.pins[i].name, DVOL_PIN_REVERT) == 0)
			return catalog_index(&vol->catalog, vol->catalog.pins[i].index);
	return NULL;
}

int revert_refuse(const struct dvol *vol, struct err *err)
{
	const struct epoch *epoch = revert_pending(vol);
	if (epoch == NULL)
		return 0;
	return err_set(err, ERR_STATE,
		       "%s: its head was being reverted to epoch %llu.%llu when that was cut short; opening "
		       "the volume for writing finishes it",
		       vol->path, (unsigned long long)epoch->id.term, (unsigned long long)epoch->id.number);
}

struct revert {
	struct dvol *vol, *from;
	uint64_t from_size;
	uint8_t *then; /* a chunk of from */
};

static int put_chunk(struct revert *revert, uint64_t offset, size_t len, struct err *err)
{
	uint64_t there = offset < revert->from_size ? revert->from_size - offset : 0;
	size_t some = len < there ? len : (size_t)there;
	memset(revert->then + some, 0, len - some);
	if (some > 0 && dvol_read(revert->from, revert->then, some, offset, err) < 0)
		return -1;
	return dvol_write_differing(revert->vol, revert->then, len, offset, NULL, err);
}

static int put_all(struct revert *revert, const struct dvol_extent *list, size_t count, struct err *err)
{
	uint64_t done = 0, total = 0;
	for (size_t i = 0; i < count; i++)
		total += list[i].len;
	for (size_t i = 0; i < count; i++)
		for (uint64_t at = 0, some; at < list[i].len; at += some) {
			some = list[i].len - at < CHUNK ? list[i].len - at : CHUNK;
			if (vol_tick(revert->vol, done, total, err) < 0 ||
			    put_chunk(revert, list[i].offset + at, (size_t)some, err) < 0)
				return -1;
			done += some;
		}
	return 0;
}

static int copy(struct dvol *vol, struct dvol_id id, struct err *err)
{
	struct dvol_open_options options = {
	    .epoch = id, .files = vol->ops, .files_context = vol->files_context};
	struct dvol_extent *list = NULL;
	size_t count = 0;
	if (dvol_changed(vol, id, (struct dvol_id){0}, &list, &count, err) < 0)
		return -1;
	struct revert revert = {.vol = vol, .from = vol_open(vol->path, &options, vol->depth, err)};
	int result = -1;
	if (revert.from != NULL) {
		revert.from_size = dvol_size(revert.from);
		revert.then = must_align(CHUNK);
		result = put_all(&revert, list, count, err);
		free(revert.then);
		dvol_close(revert.from, NULL);
	}
	free(list);
	return result;
}

static int finish(struct dvol *vol, struct dvol_id id, struct err *err)
{
	if (copy(vol, id, err) < 0 || dvol_flush(vol, err) < 0)
		return -1;
	return pin_set(vol, id, DVOL_PIN_REVERT, false, err);
}

int revert_finish(struct dvol *vol, struct err *err)
{
	pthread_mutex_lock(&vol->commit);
	const struct epoch *epoch = revert_pending(vol);
	struct dvol_id id = epoch != NULL ? epoch->id : (struct dvol_id){0};
	pthread_mutex_unlock(&vol->commit);
	return id.number != 0 ? finish(vol, id, err) : 0;
}

int dvol_revert(struct dvol *vol, struct dvol_id id, struct err *err)
{
	if (vol_may_change(vol, err) < 0)
		return -1;
	pthread_mutex_lock(&vol->commit);
	const struct epoch *epoch = catalog_id(&vol->catalog, id);
	bool older = epoch != NULL && epoch->index != catalog_newest(&vol->catalog);
	int result = revert_refuse(vol, err);
	pthread_mutex_unlock(&vol->commit);
	if (result < 0)
		return -1;
	if (!older)
		return dvol_rollback(vol, id, err); /* or its words for an epoch that is not there */
	if (pin_set(vol, id, DVOL_PIN_REVERT, true, err) < 0)
		return -1;
	return finish(vol, id, err);
}
