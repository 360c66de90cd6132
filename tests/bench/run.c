#include "tests/bench/run.h"
#include "common/io.h"
#include "tests/bench/guestlog.h"
#include "tests/bench/proc.h"
#include "tests/bench/procfs.h"
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#define S_NS       1000000000ull
#define SETUP_S    60 /* boot, fill, and be asked to move */
#define SETTLE_MS  1000
#define AFTER_MS   1000
#define AFTER_S    15 /* in which these AFTER_MS must have been reported */
#define LOST_MS    10 /* a clock that falls behind by more hides a part of the gap */
#define PAGE_BYTES 4096

/* Pages that the guest wrote in a millisecond of its clock. */
static double rate_of(const struct guest_line *from, const struct guest_line *to)
{
	return to->t_ms > from->t_ms ? (double)(to->written - from->written) / (double)(to->t_ms - from->t_ms)
				     : 0;
}

/* Boot the guest, let it fill its memory and then run for a while at its rate. */
static int bring_up(struct move *move, struct guestlog *log, struct run *run, struct err *err)
{
	uint64_t deadline_ns = clock_mono_ns() + SETUP_S * S_NS;
	struct guest_line settled;

	if (move->mover->ops->spawn(move, err) != 0 || move->mover->ops->ready(move, deadline_ns, err) != 0)
		return -1;
	guestlog_open(log, move->source_log);
	if (guestlog_wait_filled(log, deadline_ns, err) != 0 ||
	    move->mover->ops->prepare(move, deadline_ns, err) != 0)
		return -1;
	guestlog_pump(log);
	guestlog_window(log);
	settled = log->last;
	if (guestlog_wait_clock(log, log->last.t_ms + SETTLE_MS, deadline_ns, err) != 0)
		return -1;
	run->quiet_gap_ms = log->window_gap_us / 1000.0;
	run->quiet_rate = rate_of(&settled, &log->last);
	run->planned_total_ms = move->planned_total_ms;
	run->planned_downtime_ms = move->planned_downtime_ms;
	return 0;
}

/* The move itself, with everything that is measured from outside. */
static int move_it(struct move *move, struct run *run, unsigned timeout_s, struct err *err)
{
	uint64_t wire = benchenv_wire_bytes(move->env);
	const struct cpumeter *meter = &move->meter;
	uint64_t deadline_ns;

	cpumeter_start(&move->meter);
	deadline_ns = clock_mono_ns() + timeout_s * S_NS;
	if (move->mover->ops->migrate(move, deadline_ns, err) != 0) {
		run->end = clock_mono_ns() >= deadline_ns ? RUN_UNFINISHED : RUN_FAILED;
		return -1;
	}
	cpumeter_stop(&move->meter);
	wire = benchenv_wire_bytes(move->env) - wire;
	run->total_ms = (move->end_ns - move->begin_ns) / 1e6;
	run->cpu_s = meter->total_ns > meter->guest_ns ? (meter->total_ns - meter->guest_ns) / 1e9 : 0;
	run->guest_cpu_s = meter->guest_ns / 1e9;
	run->others_cpus = meter->others_ns / 1e6 / run->total_ms;
	run->reported_total_ms = move->reported_total_ms;
	run->reported_downtime_ms = move->reported_downtime_ms;
	run->reported_mib = move->reported_mib;
	run->wire_measured = move->env->own_network && (move->mover->over_ssh || move->env->far);
	run->wire_mib = run->wire_measured ? wire / 1048576.0 : move->reported_mib;
	return 0;
}

/* Wait until the guest has run at the destination for a while and, since it arrived, read all its pages again.  *arrived: its
 * first report there. */
static int await_proof(struct move *move, struct guestlog *log, struct guest_line *arrived,
		       uint64_t deadline_ns, struct err *err)
{
	uint64_t fill_pages = ((uint64_t)move->env->fill_mib << 20) / PAGE_BYTES;
	uint64_t lines = log->lines;

	/* The report that spans the switch-over comes first. */
	if (guestlog_wait_lines(log, lines + 1, deadline_ns, err) != 0)
		return -1;
	*arrived = log->last;
	if (guestlog_wait_clock(log, arrived->t_ms + AFTER_MS, deadline_ns, err) != 0)
		return -1;
	while (log->last.verified < arrived->verified + fill_pages)
		if (guestlog_wait_lines(log, log->lines + 1, deadline_ns, err) != 0)
			return err_context(err, "checking all memory after the move");
	return 0;
}

/* What the guest itself saw of the move. */
static int ask_guest(struct move *move, struct guestlog *log, const struct guestlog *before, struct run *run,
		     struct err *err)
{
	uint64_t deadline_ns = clock_mono_ns() + AFTER_S * S_NS;
	struct guest_line arrived;

	guestlog_move(log, move->destination_log);
	if (await_proof(move, log, &arrived, deadline_ns, err) != 0)
		return -1;
	run->slowed_percent = -1;
	if (run->quiet_rate > 0) {
		double kept = rate_of(&before->last, &arrived) / run->quiet_rate;

		run->slowed_percent = kept < 1 ? 100 * (1 - kept) : 0;
	}
	run->gap_ms = log->window_gap_us / 1000.0;
	run->landing_gap_ms = log->landing_gap_us / 1000.0;
	run->clock_lost_ms =
	    (log->seen_ns - before->seen_ns) / 1e6 - (double)(log->last.t_ms - before->last.t_ms);
	run->end = RUN_MOVED;
	if (run->clock_lost_ms > LOST_MS)
		snprintf(run->note, sizeof(run->note),
			 "the guest's clock fell behind by %.0f ms: its gap is that much too short",
			 run->clock_lost_ms);
	return 0;
}

static int run_steps(struct move *move, unsigned timeout_s, struct guestlog *log, struct run *run,
		     struct err *err)
{
	struct guestlog before;

	if (bring_up(move, log, run, err) != 0)
		return -1;
	guestlog_pump(log);
	guestlog_window(log);
	before = *log;
	if (move_it(move, run, timeout_s, err) != 0)
		return -1;
	return ask_guest(move, log, &before, run, err);
}

int run_do(struct benchenv *env, const struct mover *mover, uint32_t dirty_mb, unsigned timeout_s,
	   struct run *run)
{
	struct move move = {.mover = mover, .env = env, .dirty_mb = dirty_mb};
	struct guestlog log = {.fd = -1};
	struct err err;

	memset(run, 0, sizeof(*run));
	run->mover = mover;
	run->dirty_mb = dirty_mb;
	run->end = RUN_FAILED;
	if (benchenv_run_dir(env, move.dir, &err) != 0 || run_steps(&move, timeout_s, &log, run, &err) != 0)
		snprintf(run->note, sizeof(run->note), "%.300s", err.text);
	else if (log.complaint[0] && !run->note[0])
		snprintf(run->note, sizeof(run->note), "garbled report: %.250s", log.complaint);
	run->memory_errors = log.last.errors;
	run->breaks = log.breaks;
	run->reported = move.reported;
	guestlog_close(&log);
	mover->ops->stop(&move);
	benchenv_end_processes(env);
	benchenv_remove(env, move.dir);
	if (!proc_interrupted())
		return 0;
	json_decref(run->reported);
	return -1;
}

const char *run_dirty_name(uint32_t dirty_mb, char text[24])
{
	if (dirty_mb == 0)
		snprintf(text, 24, "idle");
	else if (dirty_mb == MOVE_DIRTY_MAX)
		snprintf(text, 24, "flat out");
	else
		snprintf(text, 24, "%" PRIu32 " MB/s", dirty_mb);
	return text;
}

const char *run_end_name(enum run_end end)
{
	static const char *const names[] = {
	    [RUN_MOVED] = "moved", [RUN_UNFINISHED] = "did not finish", [RUN_FAILED] = "failed"};

	return names[end];
}
