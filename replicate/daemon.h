/* daemon.h: begins the cycles of all jobs of this host, each as a process of its own (docs/replication.md, Jobs). */
#ifndef REPLICATE_DAEMON_H
#define REPLICATE_DAEMON_H

#include "common/err.h"

struct daemon_options {
	unsigned parallel; /* cycles at the same time; 0: two, or one a processor where there are more */
	/* event: what happens, for a log: one sentence about a job.  May be NULL. */
	void (*event)(void *arg, const char *job, const char *sentence);
	void *arg;
};

/* daemon_run(options, err): until SIGTERM or SIGINT, which it blocks and takes: then it begins nothing more, and returns 0; cycles that run go on to
 * their end.  Jobs that come, change or go while it runs are found.  -1: it cannot work at all; ERR_STATE: another daemon does. */
int daemon_run(const struct daemon_options *options, struct err *err);

#endif
