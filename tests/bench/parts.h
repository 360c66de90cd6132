/* parts.h: what bench_migrate measures besides moves over loopback, and the least that a move has to send. */
#ifndef BENCH_PARTS_H
#define BENCH_PARTS_H

#include "common/err.h"
#include "tests/bench/benchenv.h"
#include "tests/bench/figures.h"
#include "tests/bench/targets.h"

/* What a part adds to. */
struct results {
	struct figures figures;
	struct targets targets;
	double ideal_mib; /* what an idle guest's memory takes at least; negative: not known */
};

/* Each of `rounds` rounds.  0; -1 with err when the part cannot be had here, failed or was interrupted: its promises then are not
 * measured, or judged by the rounds before.
 * part_ideal: results->ideal_mib, by packing all pages of a guest that has filled its memory.
 * part_again: a second move, back to the host that the guest came from.
 * part_lines: links of little bandwidth, and of long round trips.  Uses ideal_mib.
 * part_harvest: finding what was written, in guests of 1 GiB and 64 GiB. */
int part_ideal(struct benchenv *env, struct results *results, unsigned rounds, struct err *err);
int part_again(struct benchenv *env, struct results *results, unsigned rounds, struct err *err);
int part_lines(struct benchenv *env, struct results *results, unsigned rounds, struct err *err);
int part_harvest(struct benchenv *env, struct results *results, unsigned rounds, struct err *err);

/* part_waits_for(path, key, least, deadline_ns, err): until the last "key=N" of a guest's log has at least this N. */
int part_waits_for(const char *path, const char *key, uint64_t least, uint64_t deadline_ns, struct err *err);
/* part_last(path, key): its last N, 0 where there is none yet. */
uint64_t part_last(const char *path, const char *key);

#endif
