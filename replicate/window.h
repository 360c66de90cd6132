/* window.h: parts of the week.  Pure.  docs/replication.md, Windows. */
#ifndef REPLICATE_WINDOW_H
#define REPLICATE_WINDOW_H

#include "common/err.h"
#include <stdbool.h>
#include <stddef.h>
#include <time.h>

enum { WINDOW_DAY = 24 * 60, WINDOW_TEXT = 48 };

/* From `from` on each of its days, for `length`, which may reach into the next day; in minutes. */
struct window {
	unsigned days; /* bit 0: Monday */
	unsigned from, length;
};

/* window_parse(text, window, err): "22:00-06:00", "mon-fri 20:00-06:00", "sat,sun 00:00-24:00".  -1 with *err (ERR_USAGE).
 * window_format(window, text): what gives the same again. */
int window_parse(const char *text, struct window *window, struct err *err);
const char *window_format(const struct window *window, char text[WINDOW_TEXT]);

/* window_is_open(window, local): at this local time (localtime_r).
 * windows_wait(windows, n, local): seconds until one of them is open; 0: one is, or there are none.  A clock that is changed meanwhile (summer
 * time) is for the caller to look at again. */
bool window_is_open(const struct window *window, const struct tm *local);
unsigned windows_wait(const struct window *windows, size_t n, const struct tm *local);

#endif
