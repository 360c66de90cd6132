/* memdisk.c: files in memory that record and fail. */
#include "tests/lib/memdisk.h"
#include "common/iovec.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>

struct handle {
	struct memdisk *disk;
	int file;
};

void memdisk_forget(struct memdisk *disk)
{
	for (size_t i = 0; i < disk->nevents; i++)
		free(disk->events[i].data);
	free(disk->events);
	disk->events = NULL;
	disk->nevents = disk->capevents = 0;
}

void memdisk_free(struct memdisk *disk)
{
	memdisk_forget(disk);
	for (int i = 0; i < MEMDISK_FILES; i++) {
		free(disk->files[i].path);
		free(disk->files[i].data);
		free(disk->files[i].touched);
	}
	memset(disk, 0, sizeof(*disk));
}

struct memdisk_file *memdisk_file(struct memdisk *disk, const char *path)
{
	for (int i = 0; i < MEMDISK_FILES; i++)
		if (disk->files[i].path != NULL && strcmp(disk->files[i].path, path) == 0)
			return &disk->files[i];
	return NULL;
}

static uint64_t pieces(uint64_t bytes)
{
	return (bytes + MEMDISK_PIECE - 1) / MEMDISK_PIECE;
}

void memdisk_touch(struct memdisk_file *file, uint64_t offset, uint64_t len)
{
	if (len > 0)
		memset(file->touched + offset / MEMDISK_PIECE, 1,
		       pieces(offset + len) - offset / MEMDISK_PIECE);
}

static void set_size(struct memdisk_file *file, uint64_t size)
{
	if (size > file->cap) {
		file->data = realloc(file->data, size);
		file->touched = realloc(file->touched, pieces(size));
		if (file->data == NULL || file->touched == NULL)
			abort();
		memset(file->touched + pieces(file->cap), 1, pieces(size) - pieces(file->cap));
		file->cap = size;
	}
	if (size > file->size)
		memset(file->data + file->size, 0, size - file->size);
	/* What is cut off, or comes again, is not what it was either way. */
	uint64_t low = size < file->size ? size : file->size, high = size < file->size ? file->size : size;
	memdisk_touch(file, low, high - low);
	file->size = size;
}

static struct memdisk_file *make(struct memdisk *disk, const char *path)
{
	struct memdisk_file *file = disk->files;
	while (file->path != NULL)
		if (++file == disk->files + MEMDISK_FILES)
			abort();
	file->path = strdup(path);
	return file;
}

void memdisk_put(struct memdisk *disk, const char *path, const void *data, uint64_t size)
{
	struct memdisk_file *file = memdisk_file(disk, path);
	if (file == NULL)
		file = make(disk, path);
	set_size(file, size);
	if (size > 0)
		memcpy(file->data, data, size);
	memdisk_touch(file, 0, size);
}

static void drop(struct memdisk_file *file)
{
	free(file->path);
	free(file->data);
	free(file->touched);
	memset(file, 0, sizeof(*file));
}

static void mirror_file(struct memdisk_file *to, struct memdisk_file *from)
{
	if (to->path != NULL && (from->path == NULL || strcmp(to->path, from->path) != 0))
		drop(to);
	if (from->path == NULL)
		return;
	if (to->path == NULL)
		to->path = strdup(from->path);
	set_size(to, from->size);
	for (uint64_t i = 0; i < pieces(from->size); i++) {
		uint64_t at = i * MEMDISK_PIECE, len = from->size - at;
		if (to->touched[i] || from->touched[i])
			memcpy(to->data + at, from->data + at, len < MEMDISK_PIECE ? len : MEMDISK_PIECE);
		to->touched[i] = from->touched[i] = 0;
	}
}

void memdisk_mirror(struct memdisk *to, struct memdisk *from)
{
	for (int i = 0; i < MEMDISK_FILES; i++)
		mirror_file(&to->files[i], &from->files[i]);
}

static void touch_all(struct memdisk *disk)
{
	for (int i = 0; i < MEMDISK_FILES; i++)
		memdisk_touch(&disk->files[i], 0, disk->files[i].size);
}

void memdisk_copy(struct memdisk *to, struct memdisk *from)
{
	touch_all(from);
	memdisk_mirror(to, from);
	touch_all(from);
	touch_all(to);
}

void memdisk_do(struct memdisk_file *file, const struct memdisk_event *event, uint64_t from, uint64_t to)
{
	switch (event->kind) {
	case MEMDISK_WRITE:
		if (event->offset + to > file->size)
			set_size(file, event->offset + to);
		memcpy(file->data + event->offset + from, event->data + from, to - from);
		memdisk_touch(file, event->offset + from, to - from);
		break;
	case MEMDISK_PUNCH:
		if (event->offset < file->size) {
			uint64_t left = file->size - event->offset;
			left = event->len < left ? event->len : left;
			memset(file->data + event->offset, 0, left);
			memdisk_touch(file, event->offset, left);
		}
		break;
	case MEMDISK_TRUNCATE:
		set_size(file, event->offset);
		break;
	case MEMDISK_SYNC:
		break;
	}
}

static void record(struct memdisk *disk, const struct memdisk_event *event)
{
	if (!disk->recording)
		return;
	if (disk->nevents == disk->capevents) {
		disk->capevents = disk->capevents * 2 + 64;
		disk->events = realloc(disk->events, disk->capevents * sizeof(*disk->events));
		if (disk->events == NULL)
			abort();
	}
	disk->events[disk->nevents] = *event;
	if (event->kind == MEMDISK_WRITE) {
		uint8_t *data = malloc(event->len + 1);
		if (data == NULL)
			abort();
		memcpy(data, event->data, event->len);
		disk->events[disk->nevents].data = data;
	}
	disk->nevents++;
}

static bool fails(struct memdisk *disk, const char *call)
{
	disk->operations++;
	if (disk->fail_in == 0 || --disk->fail_in > 0)
		return false;
	disk->failures++;
	disk->failed = call;
	disk->fail_in = disk->fail_sticky;
	errno = disk->fail_errno;
	return true;
}

static void *mem_open(void *context, const char *path, int flags)
{
	struct memdisk *disk = context;
	struct memdisk_file *file = memdisk_file(disk, path);
	if (fails(disk, "open") && !disk->fail_short)
		return NULL;
	if ((file == NULL) != !!(flags & O_CREAT)) {
		errno = file == NULL ? ENOENT : EEXIST;
		return NULL;
	}
	if (file == NULL)
		file = make(disk, path);
	struct handle *handle = calloc(1, sizeof(*handle));
	if (handle == NULL)
		abort();
	handle->disk = disk;
	handle->file = (int)(file - disk->files);
	return handle;
}

static void mem_close(void *opaque)
{
	struct handle *handle = opaque;
	for (int i = 0; i < MEMDISK_LOCKS; i++)
		if (handle->disk->locks[i].handle == handle)
			handle->disk->locks[i].handle = NULL;
	free(handle);
}

static ssize_t mem_readv(void *opaque, const struct iovec *iov, int count, uint64_t offset)
{
	struct handle *handle = opaque;
	const struct memdisk_file *file = &handle->disk->files[handle->file];
	bool failed = fails(handle->disk, "read");
	if (failed && !handle->disk->fail_short)
		return -1;
	size_t total = iovec_bytes(iov, count);
	const struct memdisk *disk = handle->disk;
	int why = disk->on_read != NULL ? disk->on_read(disk->read_context, file->path, offset, total) : 0;
	if (why != 0) {
		errno = why;
		return -1;
	}
	uint64_t there = offset < file->size ? file->size - offset : 0;
	total = total < there ? total : there;
	if (failed && total > 1) /* none at all would be the end of the file */
		total /= 2;
	if (total > 0)
		iovec_put(iov, count, 0, file->data + offset, total);
	return (ssize_t)total;
}

static ssize_t mem_writev(void *opaque, const struct iovec *iov, int count, uint64_t offset)
{
	struct handle *handle = opaque;
	struct memdisk *disk = handle->disk;
	size_t total = iovec_bytes(iov, count);
	bool failed = fails(disk, "write");
	if (failed && !disk->fail_short)
		return -1;
	if (failed && total > 1)
		total /= 2;
	struct memdisk_event event = {
	    .kind = MEMDISK_WRITE, .file = handle->file, .offset = offset, .len = total};
	event.data = malloc(total + 1);
	if (event.data == NULL)
		abort();
	iovec_get(iov, count, 0, event.data, total);
	memdisk_do(&disk->files[handle->file], &event, 0, total);
	record(disk, &event);
	free(event.data);
	return (ssize_t)total;
}

static int mem_event(void *opaque, enum memdisk_kind kind, uint64_t offset, uint64_t len)
{
	struct handle *handle = opaque;
	struct memdisk_event event = {.kind = kind, .file = handle->file, .offset = offset, .len = len};
	static const char *const names[] = {[MEMDISK_WRITE] = "write",
					    [MEMDISK_PUNCH] = "punch",
					    [MEMDISK_TRUNCATE] = "truncate",
					    [MEMDISK_SYNC] = "sync"};
	if (fails(handle->disk, names[kind]) && !handle->disk->fail_short)
		return -1;
	memdisk_do(&handle->disk->files[handle->file], &event, 0, 0);
	record(handle->disk, &event);
	return 0;
}

static int mem_sync(void *file)
{
	return mem_event(file, MEMDISK_SYNC, 0, 0);
}

static int mem_truncate(void *file, uint64_t size)
{
	return mem_event(file, MEMDISK_TRUNCATE, size, 0);
}

static int mem_punch(void *file, uint64_t offset, uint64_t len)
{
	return mem_event(file, MEMDISK_PUNCH, offset, len);
}

static int mem_size(void *opaque, uint64_t *size)
{
	const struct handle *handle = opaque;
	if (fails(handle->disk, "size") && !handle->disk->fail_short)
		return -1;
	*size = handle->disk->files[handle->file].size;
	return 0;
}

static int mem_lock(void *opaque, int kind, uint64_t byte)
{
	struct handle *handle = opaque;
	struct memdisk_lock *mine = NULL, *empty = NULL;
	if (kind != F_UNLCK && fails(handle->disk, "lock") && !handle->disk->fail_short)
		return -1;
	for (int i = 0; i < MEMDISK_LOCKS; i++) {
		struct memdisk_lock *lock = &handle->disk->locks[i];
		if (lock->handle == NULL) {
			empty = lock;
		} else if (lock->file == handle->file && lock->byte == byte) {
			if (lock->handle == handle) {
				mine = lock;
			} else if (kind == F_WRLCK || (kind == F_RDLCK && lock->kind == F_WRLCK)) {
				errno = EAGAIN;
				return -1;
			}
		}
	}
	struct memdisk_lock *lock = mine != NULL ? mine : empty;
	if (lock == NULL)
		abort();
	*lock = (struct memdisk_lock){
	    .handle = kind == F_UNLCK ? NULL : handle, .file = handle->file, .kind = kind, .byte = byte};
	return 0;
}

static int mem_unlink(void *context, const char *path)
{
	struct memdisk_file *file = memdisk_file(context, path);
	if (file == NULL) {
		errno = ENOENT;
		return -1;
	}
	drop(file);
	return 0;
}

static int mem_sync_folder(void *context, const char *path)
{
	struct memdisk *disk = context;
	(void)path;
	return fails(disk, "sync_folder") && !disk->fail_short ? -1 : 0;
}

const struct file_ops memdisk_ops = {
    .open = mem_open,
    .close = mem_close,
    .readv = mem_readv,
    .writev = mem_writev,
    .sync = mem_sync,
    .truncate = mem_truncate,
    .punch = mem_punch,
    .size = mem_size,
    .lock = mem_lock,
    .unlink = mem_unlink,
    .sync_folder = mem_sync_folder,
};
