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
	uint8_t *touched; /* a byte for each MEMDISK_PIECE: not as it was at the last memdisk_mirror */
};

struct memdisk_lock {
	const void *handle;
	int file, kind;
	uint64_t byte;
};

enum { MEMDISK_FILES = 16, MEMDISK_LOCKS = 256, MEMDISK_PIECE = 4096 };

struct memdisk {
	struct memdisk_file files[MEMDISK_FILES];
	struct memdisk_lock locks[MEMDISK_LOCKS];
	bool recording;
	struct memdisk_event *events;
	size_t nevents, capevents;
	/* Operations (all but close, unlink and giving a lock back) until one fails with this errno; 0: none.  sticky:
	 * all later ones too.  short: reads and writes do not fail, but do half of what is asked. */
	uint64_t fail_in;
	int fail_errno;
	bool fail_sticky, fail_short;
	uint64_t failures;  /* how many were made */
	const char *failed; /* the last one: "sync", … */
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
/* memdisk_mirror(to, from): make all of `to`'s files what `from`'s are.  Only pieces are copied that either changed since they
 * were mirrored last, so a disk takes part in one pair only.  memdisk_copy: the same for any two, everything is copied.
 * memdisk_touch: [offset, offset + len) of a file was changed through its data. */
void memdisk_mirror(struct memdisk *to, struct memdisk *from);
void memdisk_copy(struct memdisk *to, struct memdisk *from);
void memdisk_touch(struct memdisk_file *file, uint64_t offset, uint64_t len);

#endif
