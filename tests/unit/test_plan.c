/* When to switch over and how much to throttle: the decision against simulated guests and links. */
#include "migrate/plan.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

/* A guest that dirties `dirty` pages/s of a working set, on a link of `link` pages/s; a round also costs 1 ms.
 * Returns the pause in ns, or 0 when the plan gave up. */
static uint64_t simulate(double dirty, double working_set, double touched, double link, uint64_t budget_ns,
			 unsigned *rounds, unsigned *throttle)
{
	struct move_round round[MOVE_MAX_ROUNDS] = {0};
	struct plan_input input = {.budget_ns = budget_ns, .round = round, .fixed_ns = 3000000};
	double pages = touched;

	for (;;) {
		struct move_round *now = &round[input.rounds++];
		struct plan_decision next;
		double rest;

		assert_true(input.rounds <= MOVE_MAX_ROUNDS - 1);
		now->pages = (uint64_t)pages;
		now->ns = (uint64_t)(pages / link * 1e9) + 1000000;
		rest = dirty * (100 - input.throttle) / 100 * (double)now->ns / 1e9;
		if (rest > working_set)
			rest = working_set;
		input.remaining = (uint64_t)rest;
		next = plan_next(&input);
		*rounds = input.rounds;
		*throttle = next.throttle;
		if (next.action == PLAN_SWITCH)
			return input.fixed_ns + (uint64_t)(rest / link * 1e9);
		if (next.action == PLAN_FAIL)
			return 0;
		input.throttle = next.throttle;
		pages = rest;
	}
}

static void idle_guest_switches_after_one_round(void **state)
{
	unsigned rounds, throttle;

	(void)state;
	assert_true(simulate(0, 0, 131072, 130000, 30000000, &rounds, &throttle) > 0);
	assert_int_equal(rounds, 1);
	assert_int_equal(throttle, 0);
}

static void moderate_guest_converges_unthrottled_well_below_the_budget(void **state)
{
	unsigned rounds, throttle;
	uint64_t pause = simulate(25600, 131072, 131072, 130000, 30000000, &rounds, &throttle);

	(void)state;
	assert_true(pause > 0 && pause < 10000000);
	assert_int_equal(throttle, 0);
	assert_in_range(rounds, 3, 10);
}

static void guest_faster_than_the_link_is_slowed_until_it_fits(void **state)
{
	unsigned rounds, throttle;
	uint64_t pause = simulate(2000000, 131072, 131072, 130000, 30000000, &rounds, &throttle);

	(void)state;
	assert_true(pause > 0 && pause <= 30000000);
	assert_in_range(throttle, 50, 99);
}

static void impossible_budget_fails_instead_of_going_on_for_ever(void **state)
{
	unsigned rounds, throttle;

	(void)state;
	/* The switch itself costs more than the budget. */
	assert_int_equal(simulate(25600, 131072, 131072, 130000, 1000000, &rounds, &throttle), 0);
	/* Even at 1 % of its speed the guest outruns this link. */
	assert_int_equal(simulate(1e9, 1e7, 131072, 1000, 30000000, &rounds, &throttle), 0);
}

static void forecast_of_a_converging_guest_is_near_the_simulation(void **state)
{
	uint64_t downtime, total, first_ns = (uint64_t)(131072 / 130000.0 * 1e9);

	(void)state;
	total = plan_forecast_total(first_ns, 25600, 131072, 1e9 / 130000, 3000000, 30000000, &downtime);
	assert_in_range(total, first_ns, first_ns + first_ns / 2);
	assert_in_range(downtime, 3000000, 30000000);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(idle_guest_switches_after_one_round),
	    cmocka_unit_test(moderate_guest_converges_unthrottled_well_below_the_budget),
	    cmocka_unit_test(guest_faster_than_the_link_is_slowed_until_it_fits),
	    cmocka_unit_test(impossible_budget_fails_instead_of_going_on_for_ever),
	    cmocka_unit_test(forecast_of_a_converging_guest_is_near_the_simulation),
	};

	return cmocka_run_group_tests_name("plan", tests, NULL, NULL);
}
