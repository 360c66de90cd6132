/* test_clock.c: how much time a guest is told has passed, and which TSC frequencies count as the same. */
#include "tests/lib/test.h"
#include "vmm/clock.h"

#define S 1000000000ull

static void test_elapsed(void **state)
{
	(void)state;
	assert_int_equal(clock_elapsed(100 * S, 100 * S), 0);
	assert_int_equal(clock_elapsed(100 * S, 100 * S + 1234), 1234);
	assert_int_equal(clock_elapsed(100 * S, 99 * S), 0); /* never backwards */
	assert_int_equal(clock_elapsed(100 * S, 0), 0);
	assert_int_equal(clock_elapsed(100 * S, 110 * S), 10 * S);
	assert_int_equal(clock_elapsed(100 * S, 3600 * S), 10 * S); /* the hosts' clocks disagree */
	assert_int_equal(clock_elapsed(0, UINT64_MAX), 10 * S);
}

static void test_tsc_at(void **state)
{
	(void)state;
	assert_int_equal(clock_tsc_at(1000, 2500000, 100 * S, 100 * S), 1000);
	assert_int_equal(clock_tsc_at(1000, 2500000, 100 * S, 101 * S), 1000 + 2500000000);
	assert_int_equal(clock_tsc_at(1000, 2500000, 100 * S, 100 * S + 2), 1005);
	assert_int_equal(clock_tsc_at(1000, 2500000, 100 * S, 99 * S), 1000);
	assert_int_equal(clock_tsc_at(1000, UINT32_MAX, 0, UINT64_MAX), 1000 + 10000ull * UINT32_MAX);
}

static void test_same_khz(void **state)
{
	(void)state;
	assert_true(clock_same_khz(2500000, 2500000));
	assert_true(clock_same_khz(2500000, 2500625));
	assert_true(clock_same_khz(2500000, 2499375));
	assert_false(clock_same_khz(2500000, 2500626));
	assert_false(clock_same_khz(2500000, 2499374));
	assert_false(clock_same_khz(2500000, 0));
	assert_false(clock_same_khz(1, UINT32_MAX));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_elapsed),
	    cmocka_unit_test(test_tsc_at),
	    cmocka_unit_test(test_same_khz),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
