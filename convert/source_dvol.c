/* source_dvol.c: a volume's head, or one of its closed epochs. */
#include "convert/end.h"

#include <stdlib.h>

struct dvol_source {
	struct source source;
	struct dvol *vol;
};

static int dvol_source_map(struct source *source, uint64_t offset, struct stretch list[STRETCHES],
			   size_t *count, struct err *err)
{
	struct dvol_source *self = (struct dvol_source *)source;
	uint64_t begin = offset - offset % DVOL_BLOCK;
	struct dvol_map_extent *extents;
	size_t n;

	if (dvol_map(self->vol, begin, source->size_bytes - begin, STRETCHES, &extents, &n, err))
		return -1;
	for (size_t i = 0; i < n; i++)
		list[i] = (struct stretch){.len = extents[i].len,
					   .zero = extents[i].kind == DVOL_MAP_HOLE ||
						   extents[i].kind == DVOL_MAP_ZERO};
	list[0].len -= offset - begin;
	*count = n;
	free(extents);
	return 0;
}

static int dvol_source_read(struct source *source, unsigned lane, void *data, size_t len, uint64_t offset,
			    struct err *err)
{
	struct dvol_source *self = (struct dvol_source *)source;

	(void)lane;
	return dvol_read(self->vol, data, len, offset, err);
}

static void dvol_source_close(struct source *source)
{
	struct dvol_source *self = (struct dvol_source *)source;

	dvol_close(self->vol, NULL);
	free(self);
}

static const struct source_ops ops = {
    .map = dvol_source_map, .read = dvol_source_read, .close = dvol_source_close};

static int check_backing(struct dvol *vol, const char *path, bool allow, struct err *err)
{
	struct dvol_info info;

	if (allow)
		return 0;
	if (dvol_info(vol, &info, err))
		return -1;
	if (info.backing_kind == DVOL_BACKING_NONE)
		return 0;
	return err_set(
	    err, ERR_INPUT,
	    "%s reads another file, its backing %.200s; a volume from elsewhere could get at any file of "
	    "this host so: if you trust it, say --allow-backing",
	    path, info.backing_path);
}

struct source *source_dvol_open(const char *path, const struct convert_options *options, struct err *err)
{
	struct dvol_open_options open_options = {.epoch = options->epoch};
	struct dvol *vol = dvol_open(path, &open_options, err);
	struct dvol_source *self;

	if (!vol)
		return NULL;
	if (check_backing(vol, path, options->allow_backing, err)) {
		dvol_close(vol, NULL);
		return NULL;
	}
	self = calloc(1, sizeof(*self));
	if (!self)
		abort();
	*self = (struct dvol_source){.source = {.ops = &ops, .size_bytes = dvol_size(vol)}, .vol = vol};
	return &self->source;
}
