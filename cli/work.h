/* work.h: a long operation on a volume: how far it is, on stderr while that is a terminal, and the signals that end it. */
#ifndef CLI_WORK_H
#define CLI_WORK_H

#include "common/err.h"
#include "imagefmt/dvol.h"
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct work {
	char what[80]; /* as in "verifying epoch 1.5" */
	bool redraw;   /* stderr is a terminal */
	bool drawn;
	uint64_t began_ns, shown_ns;
};

/* work_begin(work, vol, format, …): vol's long operations show themselves as what is formatted.  From now on to the end of
 * the process the first SIGINT, SIGTERM or SIGHUP makes them end with ERR_CANCELLED, and the second one ends the
 * process.  work must outlive the operation.  vol may be NULL: then work_tick is the caller's to pass on. */
void work_begin(struct work *work, struct dvol *vol, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
/* work_tick: a dvol_progress; its context is the work. */
bool work_tick(void *work, uint64_t done_bytes, uint64_t total_bytes);
/* work_end(work, result, left, err): nothing is shown any longer.  Returns result; where that is a failure with ERR_CANCELLED,
 * *err tells what was cancelled, and what that left behind (as in "nothing was written"). */
int work_end(struct work *work, int result, const char *left, struct err *err);

/* work_format(what, done_bytes, total_bytes, elapsed_ns, text, size): one line; total_bytes 0: not known. */
const char *work_format(const char *what, uint64_t done_bytes, uint64_t total_bytes, uint64_t elapsed_ns,
			char *text, size_t size);

#endif
