/* source_qemu.c: a foreign image, served by qemu-nbd. */
#include "convert/end.h"
#include "convert/qemu.h"

#include <stdlib.h>
#include <string.h>

/* The last connection is for the map: the copying threads go on meanwhile. */
enum { MAP_LANE = LANES, MAP_MOST = 1 << 30 };

struct qemu_source {
	struct source source;
	struct qemu_server server;
};

struct answer {
	struct stretch *list;
	size_t count;
	uint64_t left;
};

/* take: the server's list of (length, flags); only so much of it as was asked for. */
static int take(void *context, const char *metacontext, uint64_t offset, uint32_t *entries, size_t count,
		int *error)
{
	struct answer *answer = context;

	(void)offset;
	(void)error;
	if (strcmp(metacontext, LIBNBD_CONTEXT_BASE_ALLOCATION))
		return 0;
	for (size_t i = 0; i + 2 <= count && answer->left > 0 && answer->count < STRETCHES; i += 2) {
		uint64_t len = entries[i] < answer->left ? entries[i] : answer->left;

		if (len == 0)
			continue;
		answer->list[answer->count++] =
		    (struct stretch){.len = len, .zero = (entries[i + 1] & LIBNBD_STATE_ZERO) != 0};
		answer->left -= len;
	}
	return 0;
}

static int qemu_map(struct source *source, uint64_t offset, struct stretch list[STRETCHES], size_t *count,
		    struct err *err)
{
	struct qemu_source *self = (struct qemu_source *)source;
	struct nbd_handle *nbd = self->server.lane[MAP_LANE];
	uint64_t left = source->size_bytes - offset;
	struct answer answer = {.list = list, .left = left < MAP_MOST ? left : MAP_MOST};

	if (nbd_can_meta_context(nbd, LIBNBD_CONTEXT_BASE_ALLOCATION) == 1 &&
	    nbd_block_status(nbd, answer.left, offset,
			     (nbd_extent_callback){.callback = take, .user_data = &answer}, 0))
		return qemu_failed("finding the data", offset, err);
	if (answer.count == 0)
		list[answer.count++] = (struct stretch){.len = answer.left};
	*count = answer.count;
	return 0;
}

static int qemu_read(struct source *source, unsigned lane, void *data, size_t len, uint64_t offset,
		     struct err *err)
{
	struct qemu_source *self = (struct qemu_source *)source;

	if (nbd_pread(self->server.lane[lane], data, len, offset, 0))
		return qemu_failed("reading the source", offset, err);
	return 0;
}

static void qemu_interrupt(struct source *source)
{
	child_kill(&((struct qemu_source *)source)->server.child);
}

static void qemu_close(struct source *source)
{
	struct qemu_source *self = (struct qemu_source *)source;

	qemu_drop(&self->server);
	free(self);
}

static const struct source_ops ops = {
    .map = qemu_map, .read = qemu_read, .interrupt = qemu_interrupt, .close = qemu_close};

struct source *source_qemu_open(const char *path, const struct format *format, const struct watch *watch,
				struct err *err)
{
	struct qemu_source *self = calloc(1, sizeof(*self));

	if (!self)
		abort();
	self->source.ops = &ops;
	if (qemu_check(path, format->word, watch, err) ||
	    qemu_serve(&self->server, path, format->word, false, LANES + 1, watch, err)) {
		free(self);
		return NULL;
	}
	self->source.size_bytes = self->server.size_bytes;
	if (self->source.size_bytes > 0)
		return &self->source;
	err_set(err, ERR_INPUT, "%s holds a disk of 0 bytes: there is nothing to convert", path);
	qemu_close(&self->source);
	return NULL;
}
