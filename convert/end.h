/* end.h: the two ends of a copy, each with one table of functions per kind. */
#ifndef CONVERT_END_H
#define CONVERT_END_H

#include "convert/convert.h"
#include "convert/format.h"
#include "convert/watch.h"
#include <stddef.h>
#include <stdint.h>

enum {
	LANES = 4, /* threads that copy, each with requests of its own at both ends */
	/* Bytes that one of them copies at a time, at whole multiples of it.  More does not fit into a socket at
	 * once, and then both sides wait for each other. */
	PIECE = 1 << 18,
	STRETCHES = 256, /* of one map call */
};

/* A part of a source that is all data, or all zeroes without being stored. */
struct stretch {
	uint64_t len; /* bytes, never 0 */
	bool zero;
};

struct source;
struct source_ops {
	/* map(source, offset, list, &count, err): what follows from offset on, which is below size_bytes, without
	 * gaps: 1 to STRETCHES of them; they may end before the source does, not after.  One thread at a time. */
	int (*map)(struct source *source, uint64_t offset, struct stretch list[STRETCHES], size_t *count,
		   struct err *err);
	/* read(source, lane, data, len, offset, err): all of it.  Any thread, each with a lane (below LANES) of its
	 * own. */
	int (*read)(struct source *source, unsigned lane, void *data, size_t len, uint64_t offset,
		    struct err *err);
	/* interrupt(source): reads that wait for somebody else fail soon.  Any thread.  NULL: none waits long. */
	void (*interrupt)(struct source *source);
	/* close(source): frees it.  Nothing was written, so nothing can fail. */
	void (*close)(struct source *source);
};
/* The beginning of each kind's own structure. */
struct source {
	const struct source_ops *ops;
	uint64_t size_bytes;
};

struct target;
struct target_ops {
	/* write(target, lane, data, len, offset, err): a new target reads as zeroes, and each byte is written once at
	 * most.  Any thread, each with a lane of its own. */
	int (*write)(struct target *target, unsigned lane, const void *data, size_t len, uint64_t offset,
		     struct err *err);
	void (*interrupt)(struct target *target); /* as above */
	/* finish(target, watch, report, err): all that was written is in the file; once, after the last write. */
	int (*finish)(struct target *target, const struct watch *watch, struct convert_report *report,
		      struct err *err);
	/* close(target): frees it, finished or not; the file stays. */
	void (*close)(struct target *target);
};
struct target {
	const struct target_ops *ops;
	uint64_t size_bytes;
	bool one_writer; /* writes go one after the other anyway, and would only wait in a worse place */
	size_t grain;    /* bytes, a power of two: zeroes of this size are worth not writing */
};

/* Each opens or makes one; NULL with *err.  path is absolute.  A target must not exist, and is at least size_bytes
 * large. */
struct source *source_raw_open(const char *path, struct err *err);
struct source *source_dvol_open(const char *path, const struct convert_options *options, struct err *err);
struct source *source_qemu_open(const char *path, const struct format *format, const struct watch *watch,
				struct err *err);
struct target *target_raw_create(const char *path, uint64_t size_bytes, struct err *err);
struct target *target_dvol_create(const char *path, uint64_t size_bytes,
				  const struct convert_options *options, struct err *err);
struct target *target_qemu_create(const char *path, const struct format *format, uint64_t size_bytes,
				  const struct watch *watch, struct err *err);

/* copy_all(source, target, watch, report, err): what is not zero goes over; the bytes are counted in *report. */
int copy_all(struct source *source, struct target *target, struct watch *watch, struct convert_report *report,
	     struct err *err);

#endif
