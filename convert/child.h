/* child.h: programs that are started for one conversion, and never outlive it. */
#ifndef CONVERT_CHILD_H
#define CONVERT_CHILD_H

#include "common/err.h"
#include "convert/watch.h"
#include <stdbool.h>
#include <sys/types.h>

struct child {
	const char *name; /* of the program */
	pid_t pid;        /* 0: none runs */
	int pidfd;
	int status;   /* as waitpid gives it, after child_wait */
	int out, log; /* its stdout and stderr: memfds */
};

struct child_options {
	int listener;    /* > 0: it gets this socket the way systemd hands one over ($LISTEN_FDS) */
	const char *env; /* NULL, or a variable for it: "NAME=value" */
	bool bounded;    /* at most 30 s of CPU time and 1 GiB of memory: it reads what nobody has checked */
};

/* child_start(child, argv, options, err): argv[0] is searched in $PATH; options may be NULL.  The child has a process
 * group of its own, so that Ctrl-C reaches it through us, and is killed when we die.  A program that is not
 * installed is a sentence with the Debian package.  On failure child needs no child_end. */
int child_start(struct child *child, const char *const argv[], const struct child_options *options,
		struct err *err);
/* child_wait(child, watch, err): until it has ended; 0 when with status 0, else -1 with what it said on stderr
 * (ERR_INPUT), or ERR_CANCELLED; then it still runs. */
int child_wait(struct child *child, const struct watch *watch, struct err *err);
/* child_kill(child): it will end at once.  From any thread. */
void child_kill(const struct child *child);
/* child_end(child): killed if it runs, and everything freed.  Harmless on a zeroed one, and twice. */
void child_end(struct child *child);
/* child_failed(child, err): it should run, and does not, or not right: child_end, and *err gets what it said on stderr
 * before, if anything.  Returns -1. */
int child_failed(struct child *child, struct err *err);

#endif
