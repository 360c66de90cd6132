/* disk_files.c: see disk_files.h.
 *
 * Which files a volume needs is found out by opening it: its newest epoch, which can be read beside its writer. */
#include "vmm/disk_files.h"
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>

enum { FILES_MAX = 32 };

/* A file that is open, and how. */
struct kept {
	char *path;
	int flags;
	void *file; /* NULL: taken */
};

struct disk_files {
	struct kept kept[FILES_MAX];
	unsigned count;
	bool direct;
	struct file_ops finding; /* opens, and keeps another one open */
	struct file_ops ops;     /* opens what was kept */
};

static bool keep(struct disk_files *files, const char *path, int flags)
{
	struct kept *kept = &files->kept[files->count];
	if (files->count == FILES_MAX) {
		errno = EMFILE;
		return false;
	}
	void *file = file_system.open(NULL, path, flags);
	if (!file)
		return false;
	*kept = (struct kept){.path = strdup(path), .flags = flags, .file = file};
	if (!kept->path)
		abort(); /* small, as in common/buf.h */
	files->count++;
	return true;
}

static void *open_found(void *context, const char *path, int flags)
{
	struct disk_files *files = context;
	/* The volume itself, which is opened otherwise for writing. */
	if (strcmp(path, files->kept[0].path) != 0 && !keep(files, path, flags))
		return NULL;
	return file_system.open(NULL, path, flags);
}

static void *open_kept(void *context, const char *path, int flags)
{
	struct disk_files *files = context;
	for (unsigned i = 0; i < files->count; i++) {
		struct kept *kept = &files->kept[i];
		void *file = kept->file;
		if (!file || kept->flags != flags || strcmp(kept->path, path) != 0)
			continue;
		kept->file = NULL;
		return file;
	}
	errno = ENOENT;
	return NULL;
}

/* The files behind it: an epoch is read through all of them.  A volume without any epoch is new, and has nothing behind it. */
static int find_backings(struct disk_files *files, struct dvol *list, struct err *err)
{
	struct dvol_epoch *epochs;
	size_t count;
	if (dvol_epochs(list, &epochs, &count, err))
		return -1;
	struct dvol_open_options options = {.files = &files->finding, .files_context = files};
	if (count > 0)
		options.epoch = epochs[count - 1].id;
	free(epochs);
	if (count == 0)
		return 0;
	struct dvol *vol = dvol_open(files->kept[0].path, &options, err);
	dvol_close(vol, NULL);
	return vol ? 0 : -1;
}

struct disk_files *disk_files_open(const char *path, uint64_t *size_bytes, struct err *err)
{
	const struct dvol_open_options options = {.list = true};
	struct disk_files *files = calloc(1, sizeof(*files));
	struct dvol *list;
	if (!files) {
		err_sys(err, "%s", path);
		return NULL;
	}
	files->finding = files->ops = file_system;
	files->finding.open = open_found;
	files->ops.open = open_kept;
	if (!keep(files, path, O_RDWR) || !keep(files, path, O_RDONLY)) {
		err_sys(err, "%s", path);
		goto failed;
	}
	files->direct = keep(files, path, O_RDWR | O_DIRECT);
	list = dvol_open(path, &options, err);
	if (!list)
		goto failed;
	*size_bytes = dvol_size(list);
	int status = find_backings(files, list, err);
	dvol_close(list, NULL);
	if (!status)
		return files;
failed:
	disk_files_close(files);
	return NULL;
}

void disk_files_close(struct disk_files *files)
{
	if (!files)
		return;
	for (unsigned i = 0; i < files->count; i++) {
		if (files->kept[i].file)
			file_system.close(files->kept[i].file);
		free(files->kept[i].path);
	}
	free(files);
}

struct dvol *disk_files_volume(struct disk_files *files, struct err *err)
{
	const struct dvol_open_options options = {
	    .writable = true, .direct = files->direct, .files = &files->ops, .files_context = files};
	return dvol_open(files->kept[0].path, &options, err);
}
