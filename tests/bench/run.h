/* run.h: one migration, measured. */
#ifndef BENCH_RUN_H
#define BENCH_RUN_H

#include "common/err.h"
#include "tests/bench/mover.h"
#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

enum run_end {
	RUN_MOVED,
	RUN_UNFINISHED, /* the time limit came first */
	RUN_FAILED,     /* it could not be made, or the move failed */
};

struct run {
	const struct mover *mover;
	uint32_t dirty_mb;
	enum run_end end;
	char note[320];  /* why it did not move; what was odd though it did */
	double total_ms; /* outside wall clock: from the order until the guest runs there */
	double gap_ms;   /* the longest pause that the guest saw around the move */
	double
	    landing_gap_ms; /* the part of it at the switch-over: in the first two reports from the destination */
	double
	    slowed_percent; /* of what it writes, at the rate before, how much it did not during the move; negative:
				   it writes nothing */
	double planned_total_ms, planned_downtime_ms; /* by drover plan; negative: not asked */
	double quiet_gap_ms;    /* the same in the second before: what the machine does to it anyhow */
	double quiet_rate;      /* and how fast it wrote then, pages a millisecond */
	double clock_lost_ms;   /* by how much the guest's clock fell behind the host's over the move */
	double wire_mib;        /* on the wire; negative: unknown */
	bool wire_measured;     /* on a network interface, rather than said by the mover */
	double cpu_s;           /* CPU time of both ends and all between, beside the guest's vCPUs */
	double guest_cpu_s;     /* of the vCPUs */
	double others_cpus;     /* CPUs that programs of others kept busy meanwhile: noise */
	uint64_t memory_errors; /* places in the guest's memory that did not hold what it wrote there */
	uint64_t breaks;        /* in the numbers of its reports */
	double reported_total_ms, reported_downtime_ms, reported_mib; /* by the mover; negative: not said */
	json_t *reported;
};

/* run_do(env, mover, dirty_mb, timeout_s, run): one migration, from an empty folder to an empty folder.  0 with
 * *run filled, whatever became of it, run->reported the caller's; -1 only when interrupted: then nothing is. */
int run_do(struct benchenv *env, const struct mover *mover, uint32_t dirty_mb, unsigned timeout_s,
	   struct run *run);

const char *run_dirty_name(uint32_t dirty_mb, char text[24]); /* "idle", "100 MB/s", "flat out" */
const char *run_end_name(enum run_end end);

#endif
