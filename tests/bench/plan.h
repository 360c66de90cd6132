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

struct plan {
	const struct mover *movers[PLAN_MOVERS_MAX];
	size_t nmovers;
	uint32_t dirty_mb[PLAN_DIRTY_MAX];
	size_t ndirty;
	unsigned runs;
	unsigned timeout_s;
	bool strict; /* exit 1 when a target is missed */
	bool help;
};

/* plan_read(plan, env, argc, argv, err): the options over the defaults; those of the guest go to env.  0, or -1 with
 * ERR_USAGE.  plan_help: print them. */
int plan_read(struct plan *plan, struct benchenv *env, int argc, char **argv, struct err *err);
void plan_help(void);

#endif
