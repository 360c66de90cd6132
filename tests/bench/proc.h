/* proc.h: the processes of a benchmark: start, wait, CPU time, and an end that leaves none behind.
 *
 * The benchmark is the subreaper of all it starts, so a daemon that a started program leaves behind (a VM
 * process, an SSH session) stays its descendant: it is found, accounted and ended by walking /proc, and no
 * process of anybody else ever is.  One thread. */
#ifndef BENCH_PROC_H
#define BENCH_PROC_H

#include "common/err.h"
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

/* proc_open(err): become subreaper; SIGINT, SIGTERM and SIGHUP from now on only make proc_interrupted true, and
 * every wait below (and in qmp.h, guestlog.h) then fails with ERR_CANCELLED.  Once, first of all. */
int proc_open(struct err *err);
bool proc_interrupted(void);

struct proc_spawn {
	const char *const *argv; /* NULL-terminated; argv[0] is looked up in $PATH */
	const char *const *env;  /* NULL-terminated "NAME=value" put over the environment; or NULL */
	const char *out;         /* file that stdout is appended to; NULL: /dev/null */
	const char *errors;      /* the same for stderr */
};
/* proc_spawn(spawn, err): its process id, or -1.  It is killed if the benchmark dies. */
pid_t proc_spawn(const struct proc_spawn *spawn, struct err *err);
/* proc_wait(pid, deadline_ns, status, err): until it ended, and reap it; *status as of waitpid.  Fails with
 * ERR_LINK when clock_mono_ns passes deadline_ns first. */
int proc_wait(pid_t pid, uint64_t deadline_ns, int *status, struct err *err);
/* proc_await(pid, ms): true when the child ended (it is not reaped), false after ms milliseconds or a signal. */
bool proc_await(pid_t pid, int ms);
/* proc_finish(pid, spawn, deadline_ns, err): wait for the child that proc_spawn(spawn) gave; a status other than 0
 * is an error that quotes the end of the file spawn->errors.  proc_run: spawn and finish. */
int proc_finish(pid_t pid, const struct proc_spawn *spawn, uint64_t deadline_ns, struct err *err);
int proc_run(const struct proc_spawn *spawn, uint64_t deadline_ns, struct err *err);
/* proc_end_all(keep): end and reap every descendant but keep (0: none): SIGTERM, and SIGKILL a second later. */
void proc_end_all(pid_t keep);
/* proc_find(program): the youngest descendant whose program file has this name; 0: none. */
pid_t proc_find(const char *program);

/* proc_pause(ns): sleep a moment between two looks at a condition; returns early on a signal. */
void proc_pause(uint64_t ns);
/* proc_check(deadline_ns, what, err): 0, or -1 when interrupted (ERR_CANCELLED) or past the deadline (ERR_LINK,
 * naming what was waited for). */
int proc_check(uint64_t deadline_ns, const char *what, struct err *err);

#endif
