/* file.h: the file operations under a volume, so that tests can stand between it and the disk. */
#ifndef IMAGEFMT_FILE_H
#define IMAGEFMT_FILE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>
#include <sys/uio.h>

/* Each returns as its system call does: -1 with errno; reads and writes may be short.  `file` is what open gave.
 * open: flags O_RDONLY or O_RDWR, with O_CREAT | O_EXCL to create (mode 0600), O_DIRECT.
 * punch: the range reads as zeroes; may return EOPNOTSUPP, which is no error.
 * allocate: the range, within the file's size, gets space on the disk and reads as it did; may be NULL: it cannot be had ahead.
 * descriptor: its file descriptor, for transfers that do not go through these operations; may be NULL: it has none.
 * threads: they may be called from threads of the volume's own, too.
 * lock: one byte of an OFD lock; -1 with EAGAIN when somebody else has it.  kind: F_RDLCK, F_WRLCK, F_UNLCK. */
struct file_ops {
	bool threads;
	void *(*open)(void *context, const char *path, int flags);
	void (*close)(void *file);
	ssize_t (*readv)(void *file, const struct iovec *iov, int count, uint64_t offset);
	ssize_t (*writev)(void *file, const struct iovec *iov, int count, uint64_t offset);
	int (*sync)(void *file);
	int (*truncate)(void *file, uint64_t size);
	int (*punch)(void *file, uint64_t offset, uint64_t len);
	int (*allocate)(void *file, uint64_t offset, uint64_t len);
	int (*size)(void *file, uint64_t *size);
	int (*lock)(void *file, int kind, uint64_t byte);
	int (*descriptor)(void *file);
	int (*unlink)(void *context, const char *path);
	int (*sync_folder)(void *context, const char *path); /* of this file */
};

extern const struct file_ops file_system;

/* A file with its operations. */
struct file {
	const struct file_ops *ops;
	void *file;
};

/* All of it or an error: -1 with errno; a read past the end gives zeroes.  Short transfers and EINTR are continued. */
int file_read(const struct file *file, void *data, size_t len, uint64_t offset);
int file_write(const struct file *file, const void *data, size_t len, uint64_t offset);
/* The buffers of iov, which is not changed.  */
int file_readv(const struct file *file, const struct iovec *iov, int count, uint64_t offset);
int file_writev(const struct file *file, const struct iovec *iov, int count, uint64_t offset);

#endif
