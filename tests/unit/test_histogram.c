/* test_histogram.c: latencies in power-of-two buckets. */
#include "common/histogram.h"
#include "tests/lib/test.h"

static void an_empty_one_has_no_latency(void **state)
{
	struct histogram none = {0};

	(void)state;
	assert_int_equal(histogram_percentile(&none, 50), 0);
	assert_int_equal(histogram_percentile(&none, 100), 0);
}

static void each_goes_under_its_power_of_two(void **state)
{
	static const struct {
		uint64_t us;
		unsigned bucket;
	} cases[] = {{0, 0}, {1, 1},     {2, 2},     {3, 2},
		     {4, 3}, {1023, 10}, {1024, 11}, {UINT64_MAX, HISTOGRAM_BUCKETS - 1}};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct histogram one = {0};

		histogram_add(&one, cases[i].us);
		assert_int_equal(one.bucket[cases[i].bucket], 1);
		assert_int_equal(one.count, 1);
		assert_int_equal(one.max_us, cases[i].us);
	}
}

static void percentiles_are_upper_bounds(void **state)
{
	struct histogram many = {0};

	(void)state;
	for (int i = 0; i < 98; i++)
		histogram_add(&many, 100);
	histogram_add(&many, 1000);
	histogram_add(&many, 5000);
	assert_int_equal(histogram_percentile(&many, 50), 128);
	assert_int_equal(histogram_percentile(&many, 98), 128);
	assert_int_equal(histogram_percentile(&many, 99), 1024);
	assert_int_equal(histogram_percentile(&many, 100), 5000);
}

static void one_of_few_is_the_highest(void **state)
{
	struct histogram two = {0};

	(void)state;
	histogram_add(&two, 10);
	histogram_add(&two, 70);
	assert_int_equal(histogram_percentile(&two, 50), 16);
	assert_int_equal(histogram_percentile(&two, 99), 70);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(an_empty_one_has_no_latency),
	    cmocka_unit_test(each_goes_under_its_power_of_two),
	    cmocka_unit_test(percentiles_are_upper_bounds),
	    cmocka_unit_test(one_of_few_is_the_highest),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
