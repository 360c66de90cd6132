/* attach.h: the guest's serial console on this terminal. */
#ifndef CLI_ATTACH_H
#define CLI_ATTACH_H

#include "common/err.h"
#include "vmm/control.h"
#include <stdbool.h>

/* Bytes of what the guest wrote before: some context for a late watcher; all there is for the first one. */
enum { ATTACH_BACKLOG = 4096, ATTACH_BACKLOG_ALL = 65536 };

enum attach_end {
	ATTACH_LEFT,   /* the user typed Ctrl-] */
	ATTACH_SIGNAL, /* a signal asked to leave */
	ATTACH_ENDED,  /* the VM process said that the guest ended */
	ATTACH_LOST,   /* the VM process went away without a word */
};

struct attach_result {
	enum attach_end end;
	bool too_late;    /* of ATTACH_ENDED: it had ended before a stream was had, so nothing was shown */
	int signal;       /* of ATTACH_SIGNAL */
	char why[32];     /* of ATTACH_ENDED: as in docs/control.md */
	char detail[256]; /* of ATTACH_ENDED: one sentence, or the other host; may be "" */
};

/* attach_run(control, backlog, result, err): show what the guest writes, beginning with up to backlog bytes of
 * what it wrote before, and type at it what comes on stdin.  A terminal on stdin is raw meanwhile, and as it was
 * on return.  Where stdin is something else, its end only ends the typing.  Returns 0 with *result, or -1 with
 * *err when the console could not be had or stdout fails. */
int attach_run(struct control *control, unsigned backlog, struct attach_result *result, struct err *err);

/* attach_conclude(name, result): say on stderr how it ended, in one line.  The exit status: 1 for a guest that
 * crashed or was lost, else 0.  Does not return for ATTACH_SIGNAL: the process ends by that signal. */
int attach_conclude(const char *name, const struct attach_result *result);

#endif
