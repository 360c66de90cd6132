/* test_throttle.c: how long a throttled vCPU rests, on a clock of the test's own. */
#include "tests/lib/test.h"
#include "vmm/throttle.h"

#define MS 1000000ull

/* A vCPU that runs until `late` after each slice's end, for a second.  Returns the share of time it ran, in percent. */
static unsigned share(unsigned percent, uint64_t late)
{
	struct throttle throttle = {.has_timer = false};
	uint64_t now = 5000 * MS, end = now + 2000 * MS, ran = 0;

	while (now < end) {
		uint64_t slice = throttle_slice_ns(percent) + late;
		throttle.slice_began_ns = now; /* as throttle_begin does */
		now += slice;
		ran += slice;
		/* a kick in the middle */
		assert_int_equal(
		    throttle_rest(&throttle, percent, now - slice + throttle_slice_ns(percent) / 2), 0);
		uint64_t until = throttle_rest(&throttle, percent, now);
		assert_true(until > now);
		assert_int_equal(throttle_rest(&throttle, percent, until - 1), until); /* woken too early */
		assert_int_equal(throttle_rest(&throttle, percent, until), 0);
		now = until;
	}
	return (unsigned)((ran * 100 + (now - 5000 * MS) / 2) / (now - 5000 * MS));
}

static void test_proportion(void **state)
{
	(void)state;
	for (unsigned percent = 1; percent <= 99; percent++) {
		assert_in_range(share(percent, 0), 99 - percent, 101 - percent);
		assert_in_range(share(percent, MS / 5), 99 - percent, 101 - percent);
	}
}

static void test_slices_are_short(void **state)
{
	(void)state;
	assert_int_equal(throttle_slice_ns(50), MS);
	assert_int_equal(throttle_slice_ns(90), 4 * MS / 9);
	assert_int_equal(throttle_slice_ns(99), MS / 10);
	assert_int_equal(throttle_slice_ns(20), 4 * MS);
	assert_int_equal(throttle_slice_ns(1), 99 * MS);
}

static void test_off(void **state)
{
	struct throttle throttle = {.slice_began_ns = 1, .rest_until_ns = UINT64_MAX};

	(void)state;
	assert_int_equal(throttle_rest(&throttle, 0, 1000 * MS), 0);
	assert_int_equal(throttle_rest(&throttle, 50, 1000 * MS), 0); /* nothing is left of before */
}

/* A vCPU that the host did not let run is not made to rest for all that time. */
static void test_long_slice(void **state)
{
	struct throttle throttle = {.slice_began_ns = 1 * MS};

	(void)state;
	assert_true(throttle_rest(&throttle, 50, 10001 * MS) <= 10005 * MS);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_proportion),
	    cmocka_unit_test(test_slices_are_short),
	    cmocka_unit_test(test_off),
	    cmocka_unit_test(test_long_slice),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
