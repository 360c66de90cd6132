/* guestlog.h: what the test guest says on its serial port, followed over a move: the log of the host it ran on,
 * then, without a seam, the log of the host it runs on now.
 *
 * The guest's own lines are the only witness of a migration that is believed: what it saw as the longest time
 * in which it did not run, whether its memory is what it wrote, and whether its lines follow one another. */
#ifndef BENCH_GUESTLOG_H
#define BENCH_GUESTLOG_H

#include "common/err.h"
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct guest_line {
	uint64_t seq;  /* one more in each line */
	uint64_t t_ms; /* the guest's clock */
	uint64_t written, verified;
	uint64_t gap_us;     /* the longest pause since the line before */
	uint64_t max_gap_us; /* since the guest started */
	uint64_t errors;     /* places that did not hold what was written there, since the guest started */
	unsigned cpus;
};

/* guestlog_parse(text, len, line): one line without its end.  False when it is no report of the guest's. */
bool guestlog_parse(const char *text, size_t len, struct guest_line *line);

struct guestlog {
	int fd;
	char path[512];
	char partial[512]; /* of a line whose end has not come */
	size_t len;
	bool overlong;
	bool filled; /* the guest said that its memory is filled */
	uint64_t lines;
	struct guest_line last; /* valid when lines > 0 */
	uint64_t seen_ns;       /* clock_mono_ns when it was read */
	uint64_t breaks;        /* times that seq was not the one before plus 1 */
	uint64_t window_gap_us; /* longest gap_us since guestlog_window */
	uint64_t
	    landing_gap_us; /* the longest in the first two reports after guestlog_move: the switch-over's */
	unsigned landing_lines; /* how many of these two came; 2 before any move */
	char complaint[160]; /* the first line that begins as the guest's but says neither report nor state */
};

/* guestlog_open(log, path): follow this file, which need not be there yet.  guestlog_close: harmless twice. */
void guestlog_open(struct guestlog *log, const char *path);
void guestlog_close(struct guestlog *log);
/* guestlog_move(log, path): the guest runs elsewhere now: take the rest of the old file, then follow this one; a
 * line may begin in the one and end in the other. */
void guestlog_move(struct guestlog *log, const char *path);
/* guestlog_feed(log, data, len): bytes of the log (what pump does with what it read). */
void guestlog_feed(struct guestlog *log, const char *data, size_t len);
/* guestlog_pump(log): take in what was written since; never waits. */
void guestlog_pump(struct guestlog *log);

/* guestlog_window(log): forget gaps seen so far; window_gap_us counts from here. */
void guestlog_window(struct guestlog *log);

/* Each waits: until the guest said "filled" and reported once after it; until this many reports came in all; until
 * its clock shows t_ms or more.  0, or -1 when time runs out, interrupted, or the guest reports memory errors. */
int guestlog_wait_filled(struct guestlog *log, uint64_t deadline_ns, struct err *err);
int guestlog_wait_lines(struct guestlog *log, uint64_t lines, uint64_t deadline_ns, struct err *err);
int guestlog_wait_clock(struct guestlog *log, uint64_t t_ms, uint64_t deadline_ns, struct err *err);

#endif
