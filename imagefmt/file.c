/* file.c: the system's file operations, and transfers that are complete or fail. */
#include "imagefmt/file.h"
#include "common/iovec.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static int fd_of(void *file)
{
	return (int)(intptr_t)file - 1;
}

static void *system_open(void *context, const char *path, int flags)
{
	(void)context;
	int fd = open(path, flags | O_CLOEXEC | O_NOCTTY | O_NONBLOCK, 0600);
	if (fd < 0)
		return NULL;
	struct stat st;
	if (fstat(fd, &st) < 0 || !(S_ISREG(st.st_mode) || S_ISBLK(st.st_mode))) {
		close(fd);
		errno = EINVAL;
		return NULL;
	}
	return (void *)(intptr_t)(fd + 1);
}

static void system_close(void *file)
{
	close(fd_of(file));
}

static ssize_t system_readv(void *file, const struct iovec *iov, int count, uint64_t offset)
{
	return preadv(fd_of(file), iov, count, (off_t)offset);
}

static ssize_t system_writev(void *file, const struct iovec *iov, int count, uint64_t offset)
{
	return pwritev(fd_of(file), iov, count, (off_t)offset);
}

static int system_sync(void *file)
{
	return fdatasync(fd_of(file));
}

static int system_truncate(void *file, uint64_t size)
{
	return ftruncate(fd_of(file), (off_t)size);
}

static int system_punch(void *file, uint64_t offset, uint64_t len)
{
	return fallocate(fd_of(file), FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, (off_t)offset, (off_t)len);
}

static int system_allocate(void *file, uint64_t offset, uint64_t len)
{
	return fallocate(fd_of(file), FALLOC_FL_KEEP_SIZE, (off_t)offset, (off_t)len);
}

static int system_size(void *file, uint64_t *size)
{
	off_t end = lseek(fd_of(file), 0, SEEK_END);
	if (end < 0)
		return -1;
	*size = (uint64_t)end;
	return 0;
}

static int system_lock(void *file, int kind, uint64_t byte)
{
	struct flock lock = {.l_type = (short)kind, .l_whence = SEEK_SET, .l_start = (off_t)byte, .l_len = 1};
	int result = fcntl(fd_of(file), F_OFD_SETLK, &lock);
	if (result < 0 && errno == EACCES)
		errno = EAGAIN;
	return result;
}

static int system_unlink(void *context, const char *path)
{
	(void)context;
	return unlink(path);
}

static int system_sync_folder(void *context, const char *path)
{
	(void)context;
	char folder[PATH_MAX];
	const char *slash = strrchr(path, '/');
	size_t len = slash == NULL ? 0 : slash == path ? 1 : (size_t)(slash - path);
	if (len >= sizeof(folder)) {
		errno = ENAMETOOLONG;
		return -1;
	}
	memcpy(folder, len > 0 ? path : ".", len > 0 ? len : 1);
	folder[len > 0 ? len : 1] = '\0';
	int fd = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (fd < 0)
		return -1;
	int result = fsync(fd);
	int saved = errno;
	close(fd);
	errno = saved;
	return result;
}

const struct file_ops file_system = {
    .threads = true,
    .open = system_open,
    .close = system_close,
    .readv = system_readv,
    .writev = system_writev,
    .sync = system_sync,
    .truncate = system_truncate,
    .punch = system_punch,
    .allocate = system_allocate,
    .size = system_size,
    .lock = system_lock,
    .descriptor = fd_of,
    .unlink = system_unlink,
    .sync_folder = system_sync_folder,
};

/* transfer: 64 buffers at a time, so that short transfers can be continued without changing the caller's list. */
static int transfer(const struct file *file, const struct iovec *iov, int count, uint64_t offset, bool write)
{
	size_t total = iovec_bytes(iov, count);
	struct iovec part[64];
	for (size_t done = 0; done < total;) {
		int first = 0;
		size_t skip = done;
		while (skip >= iov[first].iov_len)
			skip -= iov[first++].iov_len;
		int some = count - first < 64 ? count - first : 64;
		int used = iovec_slice(iov + first, some, skip, total, part);
		ssize_t n = write ? file->ops->writev(file->file, part, used, offset + done)
				  : file->ops->readv(file->file, part, used, offset + done);
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -1;
		if (n == 0 && write) {
			errno = ENOSPC;
			return -1;
		}
		if (n == 0) { /* past the end of the file */
			for (int i = 0; i < used; i++)
				memset(part[i].iov_base, 0, part[i].iov_len);
			n = (ssize_t)iovec_bytes(part, used);
		}
		done += (size_t)n;
	}
	return 0;
}

int file_readv(const struct file *file, const struct iovec *iov, int count, uint64_t offset)
{
	return transfer(file, iov, count, offset, false);
}

int file_writev(const struct file *file, const struct iovec *iov, int count, uint64_t offset)
{
	return transfer(file, iov, count, offset, true);
}

int file_read(const struct file *file, void *data, size_t len, uint64_t offset)
{
	struct iovec iov = {.iov_base = data, .iov_len = len};
	return transfer(file, &iov, 1, offset, false);
}

int file_write(const struct file *file, const void *data, size_t len, uint64_t offset)
{
	struct iovec iov = {.iov_base = (void *)(uintptr_t)data, .iov_len = len};
	return transfer(file, &iov, 1, offset, true);
}
