/* format.h: the formats, one line each, and how the format of an image is found out. */
#ifndef CONVERT_FORMAT_H
#define CONVERT_FORMAT_H

#include "convert/convert.h"
#include "convert/watch.h"

struct format {
	const char *word;    /* on the command line; also what QEMU calls it */
	const char *suffix;  /* of files: ".vhd .vpc" */
	const char *options; /* of qemu-img create -o; NULL: none */
	bool foreign;        /* goes through QEMU */
};
extern const struct format formats[CONVERT_FORMATS];

/* format_of_suffix(path): what a file's name says, CONVERT_FORMATS for nothing. */
enum convert_format format_of_suffix(const char *path);

/* format_of_target(path, said, &format, err): as said, else by the suffix. */
int format_of_target(const char *path, enum convert_format said, enum convert_format *format,
		     struct err *err);

/* format_of_source(path, said, allow_backing, watch, &format, err): as said, else what the file shows; raw never shows,
 * since whoever wrote a raw disk may have put another format's header into it: it must be said, or be what the
 * name says and nothing contradicts.  A foreign image that reads other files is refused unless allow_backing. */
int format_of_source(const char *path, enum convert_format said, bool allow_backing,
		     const struct watch *watch, enum convert_format *format, struct err *err);

#endif
