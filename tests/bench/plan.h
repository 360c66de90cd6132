/* plan.h: the options of bench_migrate. */
#ifndef BENCH_PLAN_H
#define BENCH_PLAN_H

#include "common/err.h"
#include "tests/bench/benchenv.h"
#include "tests/bench/mover.h"
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { PLAN_MOVERS_MAX = 16, PLAN_DIRTY_MAX = 8 };

/* Parts of bench_migrate, in the order in which they run. */
enum plan_part { PART_MOVES = 1, PART_AGAIN = 2, PART_HARVEST = 4, PART_LINES = 8 };

struct plan {
	unsigned parts;                              /* of enum plan_part */
	const struct mover *movers[PLAN_MOVERS_MAX]; /* asked for by name: at each rate */
	size_t nmovers;
	bool only; /* these alone; else those of each rate, too */
	uint32_t dirty_mb[PLAN_DIRTY_MAX];
	size_t ndirty;
	unsigned runs;
	unsigned timeout_s;
	bool strict; /* exit 1 when a target is missed */
	bool help;
};

/* plan_read(plan, env, argc, argv, err): the options over the defaults; those of the guest go to env.  0, or -1 with
 * ERR_USAGE.  plan_help: print them.
 * plan_movers(plan, dirty_mb, movers): those that are to be measured at this rate; how many. */
int plan_read(struct plan *plan, struct benchenv *env, int argc, char **argv, struct err *err);
void plan_help(void);
size_t plan_movers(const struct plan *plan, uint32_t dirty_mb, const struct mover *movers[PLAN_MOVERS_MAX]);

#endif
