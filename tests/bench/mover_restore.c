/* drover restore as a way to start a guest: prepare starts it, takes a snapshot once it has filled its memory, and ends it; spawn
 * restores it.  For bench_start; it moves nothing. */
#include "common/io.h"
#include "tests/bench/guestlog.h"
#include "tests/bench/mover.h"
#include "tests/bench/proc.h"
#include <stdio.h>
#include <string.h>
#include <unistd.h>

/* command(move, deadline_ns, err, words): `drover WORDS… bench` on the host where mover_drover's spawn has started it. */
static int command(struct move *move, uint64_t deadline_ns, const char *word, pid_t *started, struct err *err)
{
	char state[BENCHENV_PATH + 32], run[BENCHENV_PATH + 32], errors[BENCHENV_PATH + 32];
	const char *env[] = {state, run, NULL};
	const char *argv[] = {move->env->drover, word, "bench", NULL};
	struct proc_spawn spawn = {.argv = argv, .env = env, .errors = errors};

	snprintf(state, sizeof(state), "DROVER_STATE=%s/a/state", move->dir);
	snprintf(run, sizeof(run), "DROVER_RUN=%s/a/run", move->dir);
	snprintf(errors, sizeof(errors), "%s/run.err", move->dir);
	if (!started)
		return proc_run(&spawn, deadline_ns, err);
	*started = proc_spawn(&spawn, err);
	return *started < 0 ? -1 : 0;
}

static int restore_available(const struct mover *mover, const struct benchenv *env, struct err *err)
{
	return mover_drover_ops.available(mover, env, err);
}

static int restore_prepare(struct move *move, uint64_t deadline_ns, struct err *err)
{
	struct guestlog log = {.fd = -1};
	int failed =
	    mover_drover_ops.spawn(move, err) != 0 || mover_drover_ops.ready(move, deadline_ns, err) != 0;

	if (failed)
		return -1;
	guestlog_open(&log, move->source_log);
	failed = guestlog_wait_filled(&log, deadline_ns, err) != 0;
	guestlog_close(&log);
	if (failed || command(move, deadline_ns, "snapshot", NULL, err) != 0 ||
	    command(move, deadline_ns, "kill", NULL, err) != 0)
		return -1;
	return unlink(move->source_log) == 0 ? 0 : err_sys(err, "%s", move->source_log);
}

static int restore_spawn(struct move *move, struct err *err)
{
	return command(move, 0, "restore", &move->vm, err);
}

static int restore_ready(struct move *move, uint64_t deadline_ns, struct err *err)
{
	return mover_drover_ops.ready(move, deadline_ns, err);
}

static void restore_stop(struct move *move)
{
	mover_drover_ops.stop(move);
}

const struct mover_ops mover_restore_ops = {.available = restore_available,
					    .spawn = restore_spawn,
					    .ready = restore_ready,
					    .prepare = restore_prepare,
					    .stop = restore_stop};
