/* dvol_plugin.c: an nbdkit plugin that serves a volume, at a closed epoch or at its head.
 *
 * All clients share one handle, whose functions may be called from any thread.  A closed epoch is open from start to
 * end, so that it cannot be deleted under its clients.  The head is open only while there are clients: whether it
 * is wanted for writing is known only then, and between two clients everything is in the file and others may
 * have it. */
#include "imagefmt/dvol.h"

#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define NBDKIT_API_VERSION 2
#include <nbdkit-plugin.h>

#define THREAD_MODEL NBDKIT_THREAD_MODEL_PARALLEL

enum { EXTENTS_MAX = 1024 }; /* in one answer */

static char *file;
static struct dvol_id epoch; /* number 0: the head */
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct dvol *vol; /* lock held, except by clients: while there are any it does not change */
static unsigned clients;
static bool writable;

/* refuse(err): the library's sentence, and an errno that says as much of it as NBD can. */
static int refuse(const struct err *err)
{
	nbdkit_error("%s", err->text);
	nbdkit_set_error(err->kind == ERR_USAGE ? EINVAL : err->kind == ERR_STATE ? EBUSY : EIO);
	return -1;
}

static void dvol_dump_plugin(void)
{
	printf("dvol_format_version=1\ndvol_block_size=%d\n", DVOL_BLOCK);
}

static int dvol_config(const char *key, const char *value)
{
	struct err err = {0};

	if (strcmp(key, "file") == 0) {
		free(file);
		file = nbdkit_absolute_path(value); /* nbdkit leaves this folder */
		return file != NULL ? 0 : -1;
	}
	if (strcmp(key, "epoch") == 0)
		return dvol_id_parse(value, &epoch, &err) < 0 ? refuse(&err) : 0;
	nbdkit_error("unknown parameter '%s'; there are file=VOLUME and epoch=TERM.NUMBER", key);
	return -1;
}

static int dvol_config_complete(void)
{
	if (file != NULL)
		return 0;
	nbdkit_error("which volume? say file=VOLUME");
	return -1;
}

/* Before nbdkit goes into the background: what is wrong with the volume is said on the terminal. */
static int dvol_get_ready(void)
{
	struct dvol_open_options options = {.epoch = epoch};
	struct err err = {0};

	vol = dvol_open(file, &options, &err);
	if (vol == NULL)
		return refuse(&err);
	if (epoch.number == 0) {
		dvol_close(vol, NULL);
		vol = NULL;
	}
	return 0;
}

static void close_volume(void)
{
	struct err err = {0};

	if (vol != NULL && dvol_close(vol, &err) < 0)
		nbdkit_error("%s", err.text);
	vol = NULL;
}

static void *dvol_client_open(int readonly)
{
	struct dvol_open_options options = {.epoch = epoch, .writable = readonly == 0};
	struct err err = {0};

	pthread_mutex_lock(&lock);
	if (vol == NULL) {
		vol = dvol_open(file, &options, &err);
		writable = vol != NULL && options.writable;
	}
	struct dvol *opened = vol;
	if (opened != NULL)
		clients++;
	pthread_mutex_unlock(&lock);
	if (opened == NULL)
		refuse(&err);
	return opened;
}

static void dvol_client_close(void *handle)
{
	(void)handle;
	pthread_mutex_lock(&lock);
	if (--clients == 0 && epoch.number == 0)
		close_volume();
	pthread_mutex_unlock(&lock);
}

static void dvol_unload(void)
{
	close_volume();
	free(file);
}

static int64_t dvol_get_size(void *handle)
{
	return (int64_t)dvol_size(handle);
}

static int dvol_block_size(void *handle, uint32_t *minimum, uint32_t *preferred, uint32_t *maximum)
{
	(void)handle;
	*minimum = 1;
	*preferred = DVOL_BLOCK;
	*maximum = UINT32_MAX;
	return 0;
}

static int dvol_can_write(void *handle)
{
	(void)handle;
	return writable;
}

/* What is flushed through one connection is flushed for all. */
static int yes(void *handle)
{
	(void)handle;
	return 1;
}

static int dvol_pread(void *handle, void *data, uint32_t count, uint64_t offset, uint32_t flags)
{
	struct err err = {0};

	(void)flags;
	return dvol_read(handle, data, count, offset, &err) < 0 ? refuse(&err) : 0;
}

static int dvol_pwrite(void *handle, const void *data, uint32_t count, uint64_t offset, uint32_t flags)
{
	struct err err = {0};

	(void)flags;
	return dvol_write(handle, data, count, offset, &err) < 0 ? refuse(&err) : 0;
}

static int dvol_client_flush(void *handle, uint32_t flags)
{
	struct err err = {0};

	(void)flags;
	return dvol_flush(handle, &err) < 0 ? refuse(&err) : 0;
}

static int dvol_trim(void *handle, uint32_t count, uint64_t offset, uint32_t flags)
{
	struct err err = {0};

	(void)flags;
	return dvol_discard(handle, offset, count, &err) < 0 ? refuse(&err) : 0;
}

static int dvol_zero(void *handle, uint32_t count, uint64_t offset, uint32_t flags)
{
	struct err err = {0};

	(void)flags; /* it is always fast */
	return dvol_write_zeroes(handle, offset, count, &err) < 0 ? refuse(&err) : 0;
}

static int dvol_extents(void *handle, uint32_t count, uint64_t offset, uint32_t flags,
			struct nbdkit_extents *extents)
{
	uint64_t begin = offset - offset % DVOL_BLOCK;
	size_t most = flags & NBDKIT_FLAG_REQ_ONE ? 1 : EXTENTS_MAX, found;
	struct dvol_map_extent *list;
	struct err err = {0};
	int result = 0;

	if (dvol_map(handle, begin, offset + count - begin, most, &list, &found, &err) < 0)
		return refuse(&err);
	for (size_t i = 0; i < found && result == 0; i++) {
		bool zeroes = list[i].kind == DVOL_MAP_HOLE || list[i].kind == DVOL_MAP_ZERO;

		result = nbdkit_add_extent(extents, list[i].offset, list[i].len,
					   zeroes ? NBDKIT_EXTENT_HOLE | NBDKIT_EXTENT_ZERO : 0);
	}
	free(list);
	return result;
}

static struct nbdkit_plugin plugin = {
    .name = "dvol",
    .longname = "drover volumes",
    .version = DROVER_VERSION,
    .description = "serves a .dvol volume at any of its epochs",
    .magic_config_key = "file",
    .config_help = "[file=]VOLUME      (required) a .dvol file\n"
		   "epoch=TERM.NUMBER  a closed epoch, read-only (the head)",
    .dump_plugin = dvol_dump_plugin,
    .config = dvol_config,
    .config_complete = dvol_config_complete,
    .get_ready = dvol_get_ready,
    .unload = dvol_unload,
    .open = dvol_client_open,
    .close = dvol_client_close,
    .get_size = dvol_get_size,
    .block_size = dvol_block_size,
    .can_write = dvol_can_write,
    .can_multi_conn = yes,
    .can_extents = yes,
    .can_fast_zero = yes,
    .pread = dvol_pread,
    .pwrite = dvol_pwrite,
    .flush = dvol_client_flush,
    .trim = dvol_trim,
    .zero = dvol_zero,
    .extents = dvol_extents,
};

/* The macro defines it without one. */
struct nbdkit_plugin *plugin_init(void);

NBDKIT_REGISTER_PLUGIN(plugin)
