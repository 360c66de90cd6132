/* backing.c: what a volume's never-written blocks are read from. */
#include "common/iovec.h"
#include "imagefmt/vol.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { DEPTH_MAX = 16 };

/* backing_path: a relative one is seen from the volume's folder. */
static int backing_path(const struct dvol *vol, char path[4096], struct err *err)
{
	const char *slash = strrchr(vol->path, '/');
	int folder = vol->catalog.backing_path[0] == '/' || slash == NULL ? 0 : (int)(slash - vol->path + 1);
	if (snprintf(path, 4096, "%.*s%s", folder, vol->path, vol->catalog.backing_path) >= 4096)
		return err_set(err, ERR_USAGE, "%s: the backing's path is too long", vol->path);
	return 0;
}

static int open_dvol(struct dvol *vol, const char *path, struct err *err)
{
	struct dvol_open_options options = {
	    .epoch = vol->catalog.backing_epoch, .files = vol->ops, .files_context = vol->files_context};
	if (vol->depth >= DEPTH_MAX)
		return err_set(err, ERR_INPUT, "%s: more than %d backings, or a circle of them", path,
			       DEPTH_MAX);
	vol->backing = vol_open(path, &options, vol->depth + 1, err);
	if (vol->backing == NULL)
		return -1;
	static const uint8_t none[16];
	if (memcmp(vol->catalog.backing_lineage, none, 16) != 0 &&
	    memcmp(vol->catalog.backing_lineage, vol->backing->super.lineage, 16) != 0)
		return err_set(err, ERR_STATE, "%s is not the volume that it was made upon (another lineage)",
			       path);
	vol->backing_size = dvol_size(vol->backing);
	return 0;
}

static int open_raw(struct dvol *vol, const char *path, struct err *err)
{
	vol->backing_file.ops = vol->ops;
	vol->backing_file.file = vol->ops->open(vol->files_context, path, O_RDONLY);
	if (vol->backing_file.file == NULL)
		return err_sys(err, "%s", path);
	if (vol->ops->size(vol->backing_file.file, &vol->backing_size) < 0)
		return err_sys(err, "%s", path);
	return 0;
}

int backing_open(struct dvol *vol, struct err *err)
{
	char path[4096];
	if (vol->catalog.backing_kind == DVOL_BACKING_NONE)
		return 0;
	if (backing_path(vol, path, err) < 0 ||
	    (vol->catalog.backing_kind == DVOL_BACKING_DVOL ? open_dvol(vol, path, err)
							    : open_raw(vol, path, err)) < 0)
		return err_context(err, "the backing of %s", vol->path);
	/* What was added behind it since then is not this volume's. */
	if (vol->catalog.backing_size < vol->backing_size)
		vol->backing_size = vol->catalog.backing_size;
	return 0;
}

void backing_close(struct dvol *vol)
{
	if (vol->backing != NULL)
		(void)dvol_close(vol->backing, NULL);
	if (vol->backing_file.file != NULL)
		vol->ops->close(vol->backing_file.file);
	vol->backing = NULL;
	vol->backing_file.file = NULL;
}

int backing_read(struct dvol *vol, const struct iovec *iov, int count, uint64_t offset, struct err *err)
{
	size_t len = iovec_bytes(iov, count);
	uint64_t inside = offset >= vol->backing_size ? 0 : vol->backing_size - offset;
	inside = inside < len ? inside : len;
	struct iovec *part = must_alloc((size_t)count, sizeof(*part));
	int used = iovec_slice(iov, count, inside, len - inside, part);
	for (int i = 0; i < used; i++)
		memset(part[i].iov_base, 0, part[i].iov_len);
	int result = 0;
	used = iovec_slice(iov, count, 0, inside, part);
	if (used > 0 && vol->backing != NULL)
		result = dvol_readv(vol->backing, part, used, offset, err);
	else if (used > 0 && file_readv(&vol->backing_file, part, used, offset) < 0)
		result = err_sys(err, "reading the backing of %s", vol->path);
	free(part);
	return result;
}
