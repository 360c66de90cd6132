/* plan.h: when to switch over, and how much to slow the guest: a decision from numbers alone. */
#ifndef MIGRATE_PLAN_H
#define MIGRATE_PLAN_H

#include "migrate/move.h"
#include <stdbool.h>
#include <stdint.h>

struct plan_input {
	uint64_t budget_ns;             /* downtime that the user allows */
	const struct move_round *round; /* those that are over */
	unsigned rounds;                /* at least 1 */
	uint64_t remaining;             /* pages dirtied during the last one */
	uint64_t fixed_ns;              /* of a switch-over with no pages: state, round trips */
	unsigned throttle;              /* percent, at present */
};

enum plan_action {
	PLAN_ROUND,  /* send what remains while the guest runs */
	PLAN_SWITCH, /* pause and send what remains */
	PLAN_FAIL,   /* it will not fit the budget, whatever is done */
};

struct plan_decision {
	enum plan_action action;
	unsigned throttle;    /* for the next round */
	uint64_t downtime_ns; /* expected if switched now */
};

/* plan_next(input): deterministic, no I/O.  Switches when the rest fits the budget and another round would not
 * make it clearly smaller; slows the guest only when rounds have stopped shrinking. */
struct plan_decision plan_next(const struct plan_input *input);

/* plan_page_ns(round, rounds): nanoseconds that one page costs on this link, from the latest round that was large
 * enough to tell (or the largest). */
double plan_page_ns(const struct move_round *round, unsigned rounds);

/* plan_forecast_total(first_round_ns, dirty_pages_per_s, page_ns, fixed_ns, budget_ns, &downtime): time
 * of a whole move whose first round will take first_round_ns, guest unthrottled while it converges by itself. */
uint64_t plan_forecast_total(uint64_t first_round_ns, double dirty_pages_per_s, uint64_t working_set_pages,
			     double page_ns, uint64_t fixed_ns, uint64_t budget_ns, uint64_t *downtime_ns);

#endif
