/* convert.h: disk images from one format to another: .dvol and raw natively, the others through qemu-nbd.
 *
 * Nothing here knows how a foreign format looks inside: qemu-img says what an image is and makes new ones, a
 * qemu-nbd child serves it on a private socket.  These children end with the call, whatever happens, and with the
 * process. */
#ifndef CONVERT_CONVERT_H
#define CONVERT_CONVERT_H

#include "common/err.h"
#include "imagefmt/dvol.h"
#include <stdbool.h>
#include <stdint.h>

enum convert_format {
	CONVERT_RAW,
	CONVERT_DVOL,
	CONVERT_QCOW2,
	CONVERT_VMDK,
	CONVERT_VPC,
	CONVERT_VHDX,
	CONVERT_VDI,
	CONVERT_PARALLELS,
	CONVERT_FORMATS, /* how many; as an option: not said */
};
/* Their names on the command line, in the order of the enum, NULL at the end. */
extern const char *const convert_format_words[];

struct convert_options {
	const char *from, *to;                      /* paths */
	enum convert_format from_format, to_format; /* CONVERT_FORMATS: found out */
	struct dvol_id epoch; /* of a .dvol source: this closed epoch; number 0: the head */
	unsigned compress;    /* of a .dvol target: zstd level, 0: none */
	bool open_head;       /* of a .dvol target: close no epoch at the end */
	bool force;           /* replace what is at `to` */
	bool allow_backing;   /* the source may read other files that it names */
};

struct convert_report {
	enum convert_format from_format, to_format;
	uint64_t size_bytes;        /* of the source's disk */
	uint64_t target_size_bytes; /* larger where the target's format wants a rounder size: zeroes */
	uint64_t read_bytes, written_bytes;
	uint64_t zero_bytes;  /* of size_bytes: found to be zero, not written */
	struct dvol_id epoch; /* that a .dvol target ends with; number 0: none */
	uint64_t time_ns;
};

/* convert_image(options, tick, context, report, err): make a new image at options->to with the content of
 * options->from.  It appears there when it is complete and durable, in one step; until then it is in a folder of its
 * own beside it (NAME.part-XXXXXX), which is gone when this returns.  tick(context, done_bytes, total_bytes) is called
 * in this thread several times a second; when it returns false, ERR_CANCELLED.  Returns 0 or -1: ERR_USAGE for what the
 * options cannot mean, and where a format can only be guessed; ERR_STATE when the target exists or is in use;
 * ERR_INPUT for a damaged image and one that reads other files without leave.  Signals are not changed; while it runs
 * they go to this thread. */
int convert_image(const struct convert_options *options, dvol_progress *tick, void *context,
		  struct convert_report *report, struct err *err);

#endif
