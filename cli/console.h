/* console.h: the guest's serial console on this terminal. */
#ifndef CLI_CONSOLE_H
#define CLI_CONSOLE_H

#include "common/err.h"
#include "vmm/control.h"

enum { CONSOLE_BACKLOG = 4096, CONSOLE_BACKLOG_ALL = 65536 };

enum console_end {
	CONSOLE_LEFT,   /* the user typed Ctrl-] */
	CONSOLE_SIGNAL, /* a signal asked to leave */
	CONSOLE_ENDED,  /* the VM process said that the guest ended */
	CONSOLE_LOST,   /* the VM process went away without a word, or gave the console to somebody else */
};

struct console_result {
	enum console_end end;
	int signal;       /* of CONSOLE_SIGNAL */
	char why[32];     /* of CONSOLE_ENDED: as in docs/control.md */
	char detail[256]; /* of CONSOLE_ENDED: one sentence, may be "" */
};

/* console_attach(control, backlog, result, err): show what the guest writes, beginning with up to backlog bytes
 * of what it wrote before, and type at it what comes on stdin.  A terminal on stdin is raw meanwhile, and as it
 * was on return.  Where stdin is something else, its end only ends the typing.  Returns 0 with *result, or -1
 * with *err when the console could not be had or stdout fails. */
int console_attach(struct control *control, unsigned backlog, struct console_result *result, struct err *err);

/* console_conclude(name, result): say on stderr how it ended, in one line.  The exit status: 1 for a guest that
 * crashed or was lost, else 0.  Does not return for CONSOLE_SIGNAL: the process ends by that signal. */
int console_conclude(const char *name, const struct console_result *result);

#endif
