/* memdisk.h: files in memory under the operations of imagefmt/file.h: they record what is done to them, and fail on
 * demand.  Names are compared as whole strings.  One thread at a time. */
#ifndef TESTS_LIB_MEMDISK_H
#define TESTS_LIB_MEMDISK_H

#include "imagefmt/file.h"

enum memdisk_kind { MEMDISK_WRITE, MEMDISK_PUNCH, MEMDISK_TRUNCATE, MEMDISK_SYNC };

struct memdisk_event {
	enum memdisk_kind kind;
	int file;
	uint64_t offset, len; /* truncate: offset is the size */
	uint8_t *data;        /* of a write */
};

struct memdisk_file {
	char *path; /* NULL: free */
	uint8_t *data;
	uint64_t size, cap;
};

struct memdisk_lock {
	const void *handle;
	int file, kind;
	uint64_t byte;
};

enum { MEMDISK_FILES = 16, MEMDISK_LOCKS = 64 };

struct memdisk {
	struct memdisk_file files[MEMDISK_FILES];
	struct memdisk_lock locks[MEMDISK_LOCKS];
	bool recording;
	struct memdisk_event *events;
	size_t nevents, capevents;
	/* Operations (reads, writes, syncs, truncates) until one fails with this errno; 0: none.  sticky: all later
	 * ones too.  shorten: a write that fails has written half before. */
	uint64_t fail_in;
	int fail_errno;
	bool fail_sticky, fail_short;
	uint64_t failures; /* how many were made */
	uint64_t operations;
	/* Called for every read when not NULL; an errno makes it fail. */
	int (*on_read)(void *context, const char *path, uint64_t offset, uint64_t len);
	void *read_context;
};

extern const struct file_ops memdisk_ops; /* context: a struct memdisk, zeroed at first */

void memdisk_free(struct memdisk *disk);
void memdisk_forget(struct memdisk *disk); /* the events */
/* memdisk_file: of that name, or NULL; memdisk_put: make or replace a file. */
struct memdisk_file *memdisk_file(struct memdisk *disk, const char *path);
void memdisk_put(struct memdisk *disk, const char *path, const void *data, uint64_t size);
/* memdisk_do: do an event to a file, of a write only the bytes of [from, to) within it. */
void memdisk_do(struct memdisk_file *file, const struct memdisk_event *event, uint64_t from, uint64_t to);

#endif
