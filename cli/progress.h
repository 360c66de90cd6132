/* progress.h: what a move shows on stderr while it runs: one line redrawn on a terminal, else a line for each phase
 * and each round. */
#ifndef CLI_PROGRESS_H
#define CLI_PROGRESS_H

#include "migrate/move.h"
#include <stdbool.h>
#include <stddef.h>

struct progress {
	bool redraw; /* stderr is a terminal */
	bool drawn;  /* a line without its end stands there */
	bool began;
	enum move_phase phase; /* the last one shown */
	unsigned round;
	volatile sig_atomic_t *phase_seen; /* for signal handlers; or NULL */
};

/* progress_format(now, live, text, size): one line about now, without its end; live: it will be redrawn, so it says how
 * far the round is, else how large it is. */
const char *progress_format(const struct move_progress *now, bool live, char *text, size_t size);

/* progress_observer(progress): progress must be zeroed, and outlive the move. */
struct move_observer progress_observer(struct progress *progress);
/* progress_end(progress): leaves the cursor at the beginning of an empty line. */
void progress_end(struct progress *progress);

#endif
