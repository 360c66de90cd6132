/* When to switch over, how much to throttle, when to give up, and what is forecast: the decisions against simulated guests. */
#include "migrate/plan.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

/* A guest, and the link it goes over; a round also costs 1 ms. */
struct guest {
	double dirty; /* pages/s */
	double working_set, touched;
	double quiet_from_s; /* then it writes nothing; 0: it never rests */
	double link;         /* pages/s */
};

struct outcome {
	enum plan_action action;
	uint64_t pause_ns;
	unsigned rounds, throttle; /* the highest one */
};

static const struct plan_input usual = {
    .budget_ns = 30000000, .throttle_max = 99, .if_busy = MOVE_THROTTLE, .fixed_ns = 3000000};

static double dirtied(const struct guest *guest, double from_s, double to_s, unsigned throttle)
{
	double pages;

	if (guest->quiet_from_s > 0 && to_s > guest->quiet_from_s)
		to_s = guest->quiet_from_s > from_s ? guest->quiet_from_s : from_s;
	pages = guest->dirty * (100 - throttle) / 100 * (to_s - from_s);
	return pages < guest->working_set ? pages : guest->working_set;
}

static struct outcome simulate(const struct guest *guest, struct plan_input input)
{
	struct outcome outcome = {.action = PLAN_ROUND};
	struct move_report report = {.rounds = 0};
	double pages = guest->touched, now_s = 0;

	input.round = report.round;
	while (outcome.action == PLAN_ROUND) {
		struct move_round *round = move_report_round(&report);
		double began_s = now_s;
		struct plan_decision next;

		assert_true(report.rounds < 1000);
		round->pages = (uint64_t)pages;
		round->ns = (uint64_t)(pages / guest->link * 1e9) + 1000000;
		round->throttle = input.throttle;
		now_s += (double)round->ns / 1e9;
		pages = dirtied(guest, began_s, now_s, input.throttle);
		input.remaining = (uint64_t)pages;
		input.rounds = report.listed;
		next = plan_next(&input);
		assert_true(next.throttle <= input.throttle_max);
		if (next.throttle > outcome.throttle)
			outcome.throttle = next.throttle;
		input.throttle = next.throttle;
		outcome.action = next.action;
	}
	outcome.rounds = report.rounds;
	outcome.pause_ns = input.fixed_ns + (uint64_t)(pages / guest->link * 1e9);
	return outcome;
}

static const struct guest idle = {.touched = 131072, .link = 130000};
static const struct guest moderate = {
    .dirty = 25600, .working_set = 131072, .touched = 131072, .link = 130000};
static const struct guest fast = {.dirty = 2000000, .working_set = 131072, .touched = 131072, .link = 130000};
/* Even at 1 % of its speed it outruns this link. */
static const struct guest hopeless = {.dirty = 1e9, .working_set = 1e7, .touched = 131072, .link = 1000};
static const struct guest busy_for_a_while = {
    .dirty = 2000000, .working_set = 131072, .touched = 131072, .quiet_from_s = 20, .link = 130000};

static void idle_guest_switches_after_one_round(void **state)
{
	(void)state;
	for (enum move_if_busy if_busy = MOVE_THROTTLE; if_busy <= MOVE_CANCEL; if_busy++) {
		struct plan_input input = usual;
		struct outcome outcome;

		input.if_busy = if_busy;
		outcome = simulate(&idle, input);
		assert_int_equal(outcome.action, PLAN_SWITCH);
		assert_int_equal(outcome.rounds, 1);
		assert_int_equal(outcome.throttle, 0);
	}
}

static void moderate_guest_converges_unthrottled_well_below_the_budget(void **state)
{
	(void)state;
	for (enum move_if_busy if_busy = MOVE_THROTTLE; if_busy <= MOVE_CANCEL; if_busy++) {
		struct plan_input input = usual;
		struct outcome outcome;

		input.if_busy = if_busy;
		input.postcopy = true; /* which is not for such a guest */
		outcome = simulate(&moderate, input);
		assert_int_equal(outcome.action, PLAN_SWITCH);
		assert_true(outcome.pause_ns < 10000000);
		assert_int_equal(outcome.throttle, 0);
		assert_in_range(outcome.rounds, 3, 10);
	}
}

static void guest_faster_than_the_link_is_slowed_until_it_fits(void **state)
{
	struct outcome outcome = simulate(&fast, usual);

	(void)state;
	assert_int_equal(outcome.action, PLAN_SWITCH);
	assert_true(outcome.pause_ns <= usual.budget_ns);
	assert_in_range(outcome.throttle, 50, 99);
}

static void a_throttle_that_may_not_be_high_enough_ends_in_failure_or_post_copy(void **state)
{
	struct plan_input input = usual;
	struct outcome outcome;

	(void)state;
	input.throttle_max = 50;
	outcome = simulate(&fast, input);
	assert_int_equal(outcome.action, PLAN_FAIL);
	assert_int_equal(outcome.throttle, 50);
	assert_in_range(outcome.rounds, 4, 8);
	input.postcopy = true;
	assert_int_equal(simulate(&fast, input).action, PLAN_POSTCOPY);
}

static void impossible_budget_fails_instead_of_going_on_for_ever(void **state)
{
	struct plan_input input = usual;

	(void)state;
	assert_int_equal(simulate(&hopeless, input).action, PLAN_FAIL);
	/* The switch itself costs more than the budget; however quiet the guest will be. */
	input.budget_ns = 1000000;
	assert_int_equal(simulate(&moderate, input).action, PLAN_FAIL);
	input.if_busy = MOVE_WAIT;
	assert_int_equal(simulate(&moderate, input).action, PLAN_FAIL);
}

static void who_chose_post_copy_gets_it_without_a_throttle(void **state)
{
	struct plan_input input = usual;
	struct outcome outcome;

	(void)state;
	input.if_busy = MOVE_POSTCOPY;
	input.postcopy = true;
	outcome = simulate(&fast, input);
	assert_int_equal(outcome.action, PLAN_POSTCOPY);
	assert_int_equal(outcome.rounds, 1);
	assert_int_equal(outcome.throttle, 0);
	input.postcopy = false;
	assert_int_equal(simulate(&fast, input).action, PLAN_FAIL);
}

static void who_waits_is_through_when_the_guest_rests(void **state)
{
	struct plan_input input = usual;
	struct outcome outcome;

	(void)state;
	input.if_busy = MOVE_WAIT;
	outcome = simulate(&busy_for_a_while, input);
	assert_int_equal(outcome.action, PLAN_SWITCH);
	assert_int_equal(outcome.throttle, 0);
	assert_true(outcome.pause_ns < 10000000);
	assert_in_range(outcome.rounds, 18, 30);
}

static void who_cancels_has_an_answer_after_one_round(void **state)
{
	struct plan_input input = usual;
	struct outcome outcome;

	(void)state;
	input.if_busy = MOVE_CANCEL;
	input.postcopy = true;
	outcome = simulate(&fast, input);
	assert_int_equal(outcome.action, PLAN_FAIL);
	assert_int_equal(outcome.rounds, 1);
}

/* An ACK of 20 ms of which 19 are a disk's: that is waited for once in the pause, not twice. */
static void what_an_acknowledgement_waits_for_besides_the_way_counts_once(void **state)
{
	struct plan_input input = usual;

	(void)state;
	assert_int_equal(plan_fixed_ns(20000000, 1000000), PLAN_SWITCH_NS + 21000000);
	assert_int_equal(plan_fixed_ns(20000000, 20000000), PLAN_SWITCH_NS + 40000000);
	/* A round trip that was slow when it was measured. */
	assert_int_equal(plan_fixed_ns(1000000, 20000000), PLAN_SWITCH_NS + 2000000);
	input.fixed_ns = plan_fixed_ns(20000000, 1000000);
	assert_int_equal(simulate(&moderate, input).action, PLAN_SWITCH);
	input.fixed_ns = plan_fixed_ns(20000000, 20000000);
	assert_int_equal(simulate(&moderate, input).action, PLAN_FAIL);
}

static void a_way_that_is_too_long_for_any_pause_is_told_with_one_that_is_not(void **state)
{
	struct err err;

	(void)state;
	assert_int_equal(plan_way_fits(13000000, 30000000, &err), 0);
	assert_int_equal(plan_way_fits(100000000, 30000000, &err), -1);
	assert_int_equal(err.kind, ERR_STATE);
	assert_non_null(strstr(err.text, "a round trip takes 100.0 ms"));
	assert_non_null(strstr(err.text, "--downtime 254ms or more"));
	assert_int_equal(plan_way_fits(100000000, 254000000, &err), 0);
}

/* ---- forecasts ---- */

static struct plan_model model_of(const struct guest *guest)
{
	return (struct plan_model){.first_pages = (uint64_t)guest->touched,
				   .page_ns = 1e9 / guest->link,
				   .again_ns = 1e9 / guest->link,
				   .page_bytes = 2000,
				   .again_bytes = 2000,
				   .round_ns = 1000000,
				   .fixed_ns = usual.fixed_ns,
				   .dirty_per_s = guest->dirty,
				   .working_set = 1e15};
}

static void what_is_forecast_is_what_the_simulated_guest_does(void **state)
{
	const struct guest *const guests[] = {&idle, &moderate, &fast, &hopeless};

	(void)state;
	for (size_t i = 0; i < sizeof(guests) / sizeof(guests[0]); i++) {
		struct plan_model model = model_of(guests[i]);
		struct outcome outcome = simulate(guests[i], usual);
		struct plan_forecast forecast;

		plan_forecast(&model, &usual, &forecast);
		assert_int_equal(forecast.action, outcome.action);
		if (outcome.action != PLAN_SWITCH)
			continue;
		assert_in_range(forecast.rounds, outcome.rounds > 1 ? outcome.rounds - 1 : 1,
				outcome.rounds + 1);
		assert_in_range(forecast.downtime_ns, outcome.pause_ns - 2000000, outcome.pause_ns + 2000000);
		assert_true(forecast.total_ns > (uint64_t)(guests[i]->touched / guests[i]->link * 1e9));
		assert_int_equal(forecast.bytes, forecast.pages * 2000);
	}
}

static void waiting_for_a_guest_that_does_not_rest_is_forecast_as_failure(void **state)
{
	struct plan_model model = model_of(&fast);
	struct plan_input input = usual;
	struct plan_forecast forecast;

	(void)state;
	input.if_busy = MOVE_WAIT;
	plan_forecast(&model, &input, &forecast);
	assert_int_equal(forecast.action, PLAN_FAIL);
}

static void dirty_pages_of_two_intervals_tell_rate_and_working_set(void **state)
{
	struct plan_model model = {.first_pages = 100000};

	(void)state;
	/* One that goes through its memory in order: twice the time, twice the pages. */
	plan_fit_dirty(&model, 100000000, 2500, 1000000000, 25000);
	assert_in_range((uint64_t)plan_dirty(&model, 500000000), 12490, 12510);
	assert_in_range((uint64_t)plan_dirty(&model, 60000000000), 100000, 100000);
	/* Half of 10000 pages in 0.1 s, at random; 1 s finds nearly all of them. */
	plan_fit_dirty(&model, 100000000, 5000, 1000000000, 9990);
	assert_in_range((uint64_t)model.working_set, 9900, 10200);
	assert_in_range((uint64_t)plan_dirty(&model, 10000000), 600, 730);
	/* One that writes nothing. */
	plan_fit_dirty(&model, 100000000, 0, 1000000000, 0);
	assert_in_range((uint64_t)plan_dirty(&model, 60000000000), 0, 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(idle_guest_switches_after_one_round),
	    cmocka_unit_test(moderate_guest_converges_unthrottled_well_below_the_budget),
	    cmocka_unit_test(guest_faster_than_the_link_is_slowed_until_it_fits),
	    cmocka_unit_test(a_throttle_that_may_not_be_high_enough_ends_in_failure_or_post_copy),
	    cmocka_unit_test(impossible_budget_fails_instead_of_going_on_for_ever),
	    cmocka_unit_test(who_chose_post_copy_gets_it_without_a_throttle),
	    cmocka_unit_test(who_waits_is_through_when_the_guest_rests),
	    cmocka_unit_test(who_cancels_has_an_answer_after_one_round),
	    cmocka_unit_test(what_an_acknowledgement_waits_for_besides_the_way_counts_once),
	    cmocka_unit_test(a_way_that_is_too_long_for_any_pause_is_told_with_one_that_is_not),
	    cmocka_unit_test(what_is_forecast_is_what_the_simulated_guest_does),
	    cmocka_unit_test(waiting_for_a_guest_that_does_not_rest_is_forecast_as_failure),
	    cmocka_unit_test(dirty_pages_of_two_intervals_tell_rate_and_working_set),
	};

	return cmocka_run_group_tests_name("plan", tests, NULL, NULL);
}
