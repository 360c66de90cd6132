#include "migrate/plan.h"

#include <math.h>

enum {
	ROUNDS_TO_TELL =
	    16, /* the first acknowledgements wait for a full link, and so tell little of its delay */
	LARGE_ROUND = 2048, /* pages; below, fixed costs hide the cost of a page */
	SMALL_REST = 128,   /* pages that are not worth another round */
	ROUNDS_MAX = MOVE_MAX_ROUNDS - 2,
	IN_VAIN = 4, /* rounds at the highest throttle that did not shrink, before that is believed */
};

#define ENDLESS 1e15

uint64_t plan_fixed_ns(uint64_t ack_ns, uint64_t rtt_ns)
{
	/* The shortest acknowledgement knows better than a round trip measured once. */
	return PLAN_SWITCH_NS + ack_ns + (rtt_ns < ack_ns ? rtt_ns : ack_ns);
}

int plan_way_fits(uint64_t rtt_ns, uint64_t budget_ns, struct err *err)
{
	uint64_t least = plan_fixed_ns(rtt_ns, rtt_ns);

	if (least <= budget_ns)
		return 0;
	/* Some room for what the guest writes, and for a round trip that is not the shortest. */
	return err_set(
	    err, ERR_STATE,
	    "a round trip takes %.1f ms, and a switch-over waits for two: it does not fit the %.0f "
	    "ms that are allowed; give it --downtime %.0fms or more",
	    (double)rtt_ns / 1e6, (double)budget_ns / 1e6, ceil((double)least * 1.25 / 1e6));
}

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
static unsigned slower(const struct plan_input *input, uint64_t sent)
{
	double run = (100 - input->throttle) * 0.5 * (double)sent / (double)input->remaining;
	unsigned next = run >= 1 ? 100 - (unsigned)run : 99;

	return next > input->throttle_max ? input->throttle_max : next;
}

/* The last rounds ran as slow as may be, and did not shrink. */
static bool in_vain(const struct plan_input *input)
{
	uint64_t next = input->remaining;

	if (input->rounds < IN_VAIN)
		return false;
	for (unsigned i = input->rounds; i-- > input->rounds - IN_VAIN; next = input->round[i].pages)
		if (input->round[i].throttle < input->throttle_max || shrinking(next, input->round[i].pages))
			return false;
	return true;
}

/* The rest is too much for a pause, and grows as fast as it is sent. */
static void too_busy(const struct plan_input *input, struct plan_decision *decision)
{
	const enum plan_action otherwise = input->postcopy ? PLAN_POSTCOPY : PLAN_FAIL;

	switch (input->if_busy) {
	case MOVE_THROTTLE:
		decision->throttle = slower(input, input->round[input->rounds - 1].pages);
		if (in_vain(input))
			decision->action = otherwise;
		break;
	case MOVE_POSTCOPY:
		decision->action = otherwise;
		break;
	case MOVE_WAIT:
		break;
	case MOVE_CANCEL:
		decision->action = PLAN_FAIL;
		break;
	}
}

struct plan_decision plan_next(const struct plan_input *input)
{
	const struct move_round *last = &input->round[input->rounds - 1];
	double page_ns = plan_page_ns(input->round, input->rounds);
	struct plan_decision decision = {.action = PLAN_ROUND, .throttle = input->throttle};
	uint64_t pages_ns = (uint64_t)((double)input->remaining * page_ns);
	bool falling, patient = input->if_busy == MOVE_WAIT;

	decision.downtime_ns = input->fixed_ns + pages_ns;
	/* What fits the pause is sent in less than that: another round is worth its time until the rest is as small as it gets. */
	falling = input->remaining > SMALL_REST && shrinking(input->remaining, last->pages);
	if (decision.downtime_ns <= input->budget_ns) {
		if (!falling || input->rounds >= ROUNDS_MAX)
			decision.action = PLAN_SWITCH;
	} else if ((input->rounds >= ROUNDS_MAX && !patient) ||
		   (input->rounds >= ROUNDS_TO_TELL && input->fixed_ns > input->budget_ns)) {
		decision.action =
		    input->postcopy && input->if_busy != MOVE_CANCEL ? PLAN_POSTCOPY : PLAN_FAIL;
	} else if (pages_ns > input->budget_ns / 4 && !shrinking(input->remaining, last->pages)) {
		too_busy(input, &decision);
	}
	return decision;
}

double plan_dirty(const struct plan_model *model, uint64_t ns)
{
	double begun = model->dirty_per_s * (double)ns / 1e9, dirty;

	if (model->working_set <= 0)
		return 0;
	dirty = model->working_set * -expm1(-begun / model->working_set);
	return dirty < (double)model->first_pages ? dirty : (double)model->first_pages;
}

/* A guest that writes anywhere in its working set finds more and more of it dirty already: of two intervals the longer one has
 * fewer pages than its length would say, and how many fewer tells how large the set is. */
void plan_fit_dirty(struct plan_model *model, uint64_t short_ns, uint64_t short_pages, uint64_t long_ns,
		    uint64_t long_pages)
{
	double t1 = (double)short_ns / 1e9, t2 = (double)long_ns / 1e9, low = 1e-3, high = 1e3;

	model->dirty_per_s = model->working_set = 0;
	if (long_pages == 0 || long_ns == 0)
		return;
	model->dirty_per_s = (double)long_pages / t2;
	/* In order, or not yet round: as far as there is memory. */
	model->working_set = ENDLESS;
	if (short_pages == 0 || t1 <= 0 || (double)short_pages * t2 < 1.05 * (double)long_pages * t1)
		return;
	/* (1 - e^-at1) / (1 - e^-at2) grows with a, the part of the set that is written to in a second. */
	for (int i = 0; i < 60; i++) {
		double a = sqrt(low * high);

		if (expm1(-a * t1) / expm1(-a * t2) < (double)short_pages / (double)long_pages)
			low = a;
		else
			high = a;
	}
	model->working_set = (double)long_pages / -expm1(-low * t2);
	model->dirty_per_s = low * model->working_set;
}

void plan_forecast(const struct plan_model *model, const struct plan_input *policy,
		   struct plan_forecast *forecast)
{
	enum { FOREVER = 4 * MOVE_MAX_ROUNDS };
	struct move_report history = {.rounds = 0};
	struct plan_input input = *policy;
	struct plan_decision next = {.action = PLAN_ROUND, .throttle = 0};

	*forecast = (struct plan_forecast){.total_ns = model->before_ns};
	input.remaining = model->first_pages;
	input.fixed_ns = model->fixed_ns;
	input.round = history.round;
	while (next.action == PLAN_ROUND) {
		struct move_round *now = move_report_round(&history);
		double page_ns = history.rounds == 1 ? model->page_ns : model->again_ns;

		input.throttle = next.throttle;
		*now =
		    (struct move_round){.pages = input.remaining,
					.ns = model->round_ns + (uint64_t)((double)input.remaining * page_ns),
					.throttle = input.throttle};
		forecast->total_ns += now->ns;
		forecast->pages += now->pages;
		forecast->lost_ns += now->ns / 100 * now->throttle;
		if (now->throttle > forecast->max_throttle)
			forecast->max_throttle = now->throttle;
		input.rounds = history.listed;
		input.remaining = (uint64_t)plan_dirty(model, now->ns / 100 * (100 - now->throttle));
		next = plan_next(&input);
		/* Rounds that go on until the guest is quieter: it is not known when that will be. */
		if (next.action == PLAN_ROUND && history.rounds >= FOREVER)
			next.action = PLAN_FAIL;
	}
	forecast->action = next.action;
	forecast->rounds = history.rounds;
	forecast->downtime_ns = model->fixed_ns;
	forecast->pages += input.remaining;
	if (next.action == PLAN_SWITCH)
		forecast->downtime_ns += (uint64_t)((double)input.remaining * model->again_ns);
	else
		forecast->total_ns += (uint64_t)((double)input.remaining * model->again_ns);
	forecast->total_ns += forecast->downtime_ns;
	forecast->bytes = (uint64_t)((double)model->first_pages * model->page_bytes +
				     (double)(forecast->pages - model->first_pages) * model->again_bytes);
}
