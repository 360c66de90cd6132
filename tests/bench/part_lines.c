/* part_lines.c: moves over a link of little bandwidth, and over one with long round trips. */
#include "common/io.h"
#include "tests/bench/farhost.h"
#include "tests/bench/parts.h"
#include "tests/bench/run.h"
#include <stdio.h>

enum {
	SLOW_MBIT = 100,
	SLOW_FILL_PART = 2, /* a half of the memory will do there */
	FAR_MBIT = 500,
	FAR_RTT_MS = 100,
	FAR_STREAMS = 8, /* of TCP, to see what the link carries */
	ONE_ROUNDS = 2,  /* of the slow one connection */
	TIMEOUT_S = 180,
};

/* One move of an idle guest with this mover over the link as it is; run->reported is the caller's. */
static int move_once(struct benchenv *env, const char *name, struct run *run, struct err *err)
{
	if (run_do(env, mover_find(name), 0, TIMEOUT_S, run) != 0)
		return err_set(err, ERR_CANCELLED, "interrupted");
	if (run->end == RUN_MOVED && run->memory_errors + run->breaks == 0)
		return 0;
	err_set(err, ERR_LINK, "%s over a slow link: %s", name,
		run->end == RUN_MOVED ? "the guest found wrong memory" : run->note);
	json_decref(run->reported);
	return -1;
}

static struct stats *figure(struct results *results, const char *unit, const char *name)
{
	return &figure_of(&results->figures, unit, "%s", name)->values;
}

static int slow_round(struct benchenv *env, struct results *results, double least_ms, struct stats *ratios,
		      struct err *err)
{
	struct run run;

	if (move_once(env, "drover", &run, err) != 0)
		return -1;
	stats_add(figure(results, "ms", "100 Mbit/s: drover"), run.total_ms);
	stats_add(figure(results, "MiB", "100 Mbit/s: drover on the wire"), run.wire_mib);
	stats_add(figure(results, "%", "100 Mbit/s: of the bandwidth used by drover"),
		  run.wire_mib * 8 * 1.048576 / SLOW_MBIT / run.total_ms * 1e5);
	stats_add(ratios, run.total_ms / least_ms);
	json_decref(run.reported);
	if (!env->qemu[0])
		return 0;
	if (move_once(env, "qemu-multifd-zstd", &run, err) != 0)
		return -1;
	stats_add(figure(results, "ms", "100 Mbit/s: QEMU multifd with zstd, plain TCP"), run.total_ms);
	stats_add(figure(results, "MiB", "100 Mbit/s: the same, on the wire"), run.wire_mib);
	json_decref(run.reported);
	return 0;
}

static int slow(struct benchenv *env, struct results *results, unsigned rounds, struct err *err)
{
	double least_ms = results->ideal_mib / SLOW_FILL_PART * 8 * 1.048576 / SLOW_MBIT * 1e3;
	struct stats ratios = {.count = 0};
	struct target *target;
	int status = 0;

	env->fill_mib /= SLOW_FILL_PART;
	status = farhost_link(env, SLOW_MBIT, 0, err);
	for (unsigned i = 0; i < rounds && status == 0; i++)
		status = slow_round(env, results, least_ms, &ratios, err);
	env->fill_mib *= SLOW_FILL_PART;
	target = target_add(&results->targets, "slow-link", "x",
			    "link of 100 Mbit/s: total time / (ideal bytes / bandwidth)", "1.15 x");
	if (ratios.count > 0 && results->ideal_mib > 0)
		target_judge(target, stats_median(&ratios), 1.15);
	return status;
}

/* What a move's report says that it carried, in Mbit/s, while it carried memory. */
static double carried_mbit(const struct run *run)
{
	return json_number_value(json_object_get(run->reported, "mbps"));
}

static int far_round(struct benchenv *env, struct results *results, unsigned round, struct stats *ratios,
		     struct err *err)
{
	struct run run;
	double tcp;

	if (farhost_tcp(env, FAR_STREAMS, &tcp, err) != 0)
		return -1;
	stats_add(figure(results, "Mbit/s", "100 ms round trips, 500 Mbit/s: 8 TCP streams"), tcp);
	if (move_once(env, "drover-far", &run, err) != 0)
		return -1;
	stats_add(figure(results, "Mbit/s", "100 ms round trips: drover, while it sends memory"),
		  carried_mbit(&run));
	stats_add(figure(results, "ms", "100 ms round trips: drover"), run.total_ms);
	stats_add(figure(results, "ms", "100 ms round trips: drover, guest-seen downtime"),
		  run.landing_gap_ms);
	stats_add(ratios, carried_mbit(&run) / tcp);
	json_decref(run.reported);
	if (round >= ONE_ROUNDS)
		return 0;
	if (move_once(env, "drover-one", &run, err) != 0)
		return -1;
	stats_add(figure(results, "Mbit/s", "100 ms round trips: drover over one SSH connection"),
		  carried_mbit(&run));
	stats_add(figure(results, "ms", "100 ms round trips: drover over one SSH connection"), run.total_ms);
	json_decref(run.reported);
	return 0;
}

static int far(struct benchenv *env, struct results *results, unsigned rounds, struct err *err)
{
	struct stats ratios = {.count = 0};
	int status = farhost_link(env, FAR_MBIT, FAR_RTT_MS, err);
	struct target *target;

	for (unsigned i = 0; i < rounds && status == 0; i++)
		status = far_round(env, results, i, &ratios, err);
	target = target_add(&results->targets, "long-round-trip", "x",
			    "round trips of 100 ms, 500 Mbit/s: bandwidth while memory is sent / that of TCP",
			    "0.8 x");
	target->least = true;
	if (ratios.count > 0)
		target_judge(target, stats_median(&ratios), 0.8);
	return status;
}

int part_lines(struct benchenv *env, struct results *results, unsigned rounds, struct err *err)
{
	int status;

	if (farhost_open(env, err) != 0)
		return -1;
	env->plan = false;
	status = slow(env, results, rounds, err) != 0 || far(env, results, rounds, err) != 0 ? -1 : 0;
	farhost_close(env);
	return status;
}
