/* target_dvol.c: a new volume, which ends with its first closed epoch, so that clones and deltas have a base. */
#include "convert/end.h"

#include <stdlib.h>

struct dvol_target {
	struct target target;
	struct dvol *vol;
	bool open_head;
};

static int dvol_target_write(struct target *target, unsigned lane, const void *data, size_t len,
			     uint64_t offset, struct err *err)
{
	struct dvol_target *self = (struct dvol_target *)target;

	(void)lane;
	return dvol_write_cold(self->vol, data, len, offset, err);
}

static int dvol_target_finish(struct target *target, const struct watch *watch, struct convert_report *report,
			      struct err *err)
{
	struct dvol_target *self = (struct dvol_target *)target;
	struct dvol *vol = self->vol;

	(void)watch;
	if (!self->open_head && dvol_epoch_close(vol, NULL, &report->epoch, err))
		return -1;
	self->vol = NULL;
	return dvol_close(vol, err);
}

static void dvol_target_close(struct target *target)
{
	struct dvol_target *self = (struct dvol_target *)target;

	dvol_close(self->vol, NULL);
	free(self);
}

static const struct target_ops ops = {
    .write = dvol_target_write, .finish = dvol_target_finish, .close = dvol_target_close};

struct target *target_dvol_create(const char *path, uint64_t size_bytes,
				  const struct convert_options *options, struct err *err)
{
	struct dvol_create_options create = {.compress = options->compress};
	struct dvol_open_options open = {.writable = true};
	struct dvol_target *self;
	struct dvol *vol;

	/* The smallest volume, and the unit of their sizes. */
	create.size_bytes =
	    size_bytes < DVOL_BLOCK ? DVOL_BLOCK : (size_bytes + DVOL_SECTOR - 1) / DVOL_SECTOR * DVOL_SECTOR;
	if (dvol_create(path, &create, err))
		return NULL;
	vol = dvol_open(path, &open, err);
	if (!vol)
		return NULL;
	self = calloc(1, sizeof(*self));
	if (!self)
		abort();
	*self = (struct dvol_target){.target = {.ops = &ops,
						.size_bytes = create.size_bytes,
						.one_writer = options->compress == 0,
						.grain = DVOL_BLOCK},
				     .vol = vol,
				     .open_head = options->open_head};
	return &self->target;
}
