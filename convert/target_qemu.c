/* target_qemu.c: a foreign image, made by qemu-img and written through qemu-nbd. */
#include "convert/end.h"
#include "convert/qemu.h"

#include <stdlib.h>

enum { SECTOR = 512, GRAIN = 65536 }; /* the smallest cluster of these formats, by default */

struct qemu_target {
	struct target target;
	struct qemu_server server;
};

static int qemu_write(struct target *target, unsigned lane, const void *data, size_t len, uint64_t offset,
		      struct err *err)
{
	struct qemu_target *self = (struct qemu_target *)target;

	if (nbd_pwrite(self->server.lane[lane], data, len, offset, 0))
		return qemu_failed("writing the target", offset, err);
	return 0;
}

static int qemu_finish(struct target *target, const struct watch *watch, struct convert_report *report,
		       struct err *err)
{
	(void)report;
	return qemu_stop(&((struct qemu_target *)target)->server, watch, err);
}

static void qemu_interrupt(struct target *target)
{
	child_kill(&((struct qemu_target *)target)->server.child);
}

static void qemu_close(struct target *target)
{
	struct qemu_target *self = (struct qemu_target *)target;

	qemu_drop(&self->server);
	free(self);
}

static const struct target_ops ops = {
    .write = qemu_write, .interrupt = qemu_interrupt, .finish = qemu_finish, .close = qemu_close};

struct target *target_qemu_create(const char *path, const struct format *format, uint64_t size_bytes,
				  const struct watch *watch, struct err *err)
{
	struct qemu_target *self = calloc(1, sizeof(*self));

	if (!self)
		abort();
	self->target = (struct target){.ops = &ops, .grain = GRAIN};
	if (qemu_create(path, format, (size_bytes + SECTOR - 1) / SECTOR * SECTOR, watch, err) ||
	    qemu_serve(&self->server, path, format->word, true, LANES, watch, err)) {
		free(self);
		return NULL;
	}
	self->target.size_bytes = self->server.size_bytes;
	if (self->target.size_bytes >= size_bytes)
		return &self->target;
	err_set(err, ERR_SYSTEM, "qemu-img made an image of %llu bytes where %llu were asked for",
		(unsigned long long)self->target.size_bytes, (unsigned long long)size_bytes);
	qemu_close(&self->target);
	return NULL;
}
