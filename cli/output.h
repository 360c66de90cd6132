/* output.h: what the command prints, and where: results on stdout, everything else on stderr. */
#ifndef CLI_OUTPUT_H
#define CLI_OUTPUT_H

#include "common/err.h"
#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

/* output_error(err, json): "drover: <sentence>" as one line on stderr; with json also the object
 * {"error": {"kind", "message"}} on stdout. */
void output_error(const struct err *err, bool json);

/* output_say(format, …): one line on stdout.  output_note: "drover: …" as one line on stderr.  In both,
 * control characters are shown as '?', since parts may come from a file, a guest or another host. */
void output_say(const char *format, ...) __attribute__((format(printf, 1, 2)));
void output_note(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* output_json(object): one line on stdout, keys in the order they were set; drops the reference. */
void output_json(json_t *object);

/* output_string(text): a JSON string of bytes that may be anything (made printable).  output_ms(ns):
 * milliseconds as a JSON number, to the microsecond.  New references. */
json_t *output_string(const char *text);
json_t *output_ms(uint64_t ns);

/* output_flush(err): what was printed has left the process; -1 with *err when it could not (a full disk, a
 * closed pipe).  Once, at the end. */
int output_flush(struct err *err);

#endif
