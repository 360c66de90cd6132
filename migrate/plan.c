#include "migrate/plan.h"

enum {
	ROUNDS_TO_TELL =
	    16, /* the first acknowledgements wait for a full link, and so tell little of its delay */
	LARGE_ROUND = 2048, /* pages; below, fixed costs hide the cost of a page */
	SMALL_REST = 128,   /* pages that are not worth another round */
	THROTTLE_MAX = 99,
	ROUNDS_MAX = MOVE_MAX_ROUNDS - 2,
};

double plan_page_ns(const struct move_round *round, unsigned rounds)
{
	const struct move_round *best = &round[0];

	for (unsigned i = 1; i < rounds; i++)
		if (round[i].pages >= LARGE_ROUND || round[i].pages >= best->pages)
			best = &round[i];
	return best->pages > 0 ? (double)best->ns / (double)best->pages : 0;
}

/* Rounds stop shrinking when the guest dirties as fast as the link carries. */
static bool shrinking(uint64_t remaining, uint64_t sent)
{
	return remaining * 100 < sent * 85;
}

/* The guest dirtied `remaining` pages while `sent` were sent: let it run just so much that it would have been half of
 * them, and no less than half of what it runs now, unless even that would be too much. */
static unsigned slower(unsigned throttle, uint64_t remaining, uint64_t sent)
{
	double run = (100 - throttle) * 0.5 * (double)sent / (double)remaining;
	unsigned next = run >= 1 ? 100 - (unsigned)run : THROTTLE_MAX;

	return next > THROTTLE_MAX ? THROTTLE_MAX : next;
}

struct plan_decision plan_next(const struct plan_input *input)
{
	const struct move_round *last = &input->round[input->rounds - 1];
	double page_ns = plan_page_ns(input->round, input->rounds);
	struct plan_decision decision = {.action = PLAN_ROUND, .throttle = input->throttle};
	uint64_t pages_ns = (uint64_t)((double)input->remaining * page_ns);
	bool better_soon;

	decision.downtime_ns = input->fixed_ns + pages_ns;
	/* Another round is worth its time while it at least halves what the pause would have to carry. */
	better_soon = input->remaining > SMALL_REST && input->remaining * 2 < last->pages;
	if (decision.downtime_ns <= input->budget_ns && (!better_soon || input->rounds >= ROUNDS_MAX)) {
		decision.action = PLAN_SWITCH;
	} else if (decision.downtime_ns > input->budget_ns) {
		if (input->rounds >= ROUNDS_MAX ||
		    (input->rounds >= ROUNDS_TO_TELL && input->fixed_ns > input->budget_ns))
			decision.action = PLAN_FAIL;
		else if (pages_ns > input->budget_ns / 4 && !shrinking(input->remaining, last->pages))
			decision.throttle = slower(input->throttle, input->remaining, last->pages);
	}
	return decision;
}

uint64_t plan_forecast_total(uint64_t first_round_ns, double dirty_pages_per_s, uint64_t working_set_pages,
			     double page_ns, uint64_t fixed_ns, uint64_t budget_ns, uint64_t *downtime_ns)
{
	double total = (double)first_round_ns, round = (double)first_round_ns, rest = 0;

	for (int i = 0; i < MOVE_MAX_ROUNDS; i++) {
		double dirty = dirty_pages_per_s * round / 1e9;

		if (dirty > (double)working_set_pages)
			dirty = (double)working_set_pages;
		/* A round that does not shrink is answered by throttling: taken as halving what is left. */
		if (i > 0 && dirty > rest * 0.85)
			dirty = rest * 0.5;
		rest = dirty;
		round = rest * page_ns;
		if (rest <= SMALL_REST || (double)fixed_ns + round * 2 <= (double)fixed_ns + 1e6)
			break;
		if ((double)fixed_ns + round <= (double)budget_ns &&
		    dirty_pages_per_s * round / 1e9 * 2 >= rest)
			break;
		total += round;
	}
	*downtime_ns = fixed_ns + (uint64_t)round;
	return (uint64_t)total + *downtime_ns;
}
