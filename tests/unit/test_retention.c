/* test_retention.c: which recovery points stay. */
#include "tests/lib/random.h"
#include "tests/lib/test.h"
#include "vmm/retention.h"

#include <string.h>

#define MINUTE 60000000000ull
#define HOUR   (60 * MINUTE)
#define DAY    (24 * HOUR)
#define BEGIN  (20000 * DAY)

enum { MANY = 4000 };

static struct retention_point points[MANY];

static struct retention rules(const char *text)
{
	struct retention retention;
	struct err err;

	assert_int_equal(retention_parse(text, &retention, &err), 0);
	return retention;
}

/* n points, one every `every`. */
static void take(size_t n, uint64_t every)
{
	memset(points, 0, sizeof(points));
	for (size_t i = 0; i < n; i++)
		points[i].taken_ns = BEGIN + i * every;
}

static size_t kept(size_t n)
{
	size_t count = 0;

	for (size_t i = 0; i < n; i++)
		count += points[i].keep;
	return count;
}

static void what_people_write(void **state)
{
	static const char *const good[] = {"all", "1x1s", "12x5m,24x1h,7x1d", "4x2w", "100000x90s"};
	static const char *const bad[] = {
	    "",      ",",     "12",    "x",     "12x",       "x5m",    "0x5m",      "5x0m", "5x5",     "5x5y",
	    "-1x5m", "5x-1m", "1x1m,", " 1x1m", "100001x1m", "1.5x1h", "1x1m 2x1h", "1X1m", "all,1x1h"};
	struct retention retention;
	char text[RETENTION_TEXT];
	struct err err;

	(void)state;
	for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++) {
		retention = rules(good[i]);
		assert_string_equal(retention_format(&retention, text), good[i]);
	}
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		if (!retention_parse(bad[i], &retention, &err))
			fail_msg("'%s' was taken", bad[i]);
		assert_int_equal(err.kind, ERR_USAGE);
	}
	assert_int_equal(retention_parse("1x1s,1x1s,1x1s,1x1s,1x1s,1x1s,1x1s,1x1s,1x1s", &retention, &err),
			 -1);
	/* The longest that there is has room as text. */
	retention = rules("100000x100000w,100000x100000w,100000x100000w,100000x100000w,100000x100000w,"
			  "100000x100000w,100000x100000w,100000x100000w");
	retention_format(&retention, text);
	assert_int_equal(strlen(text), 8 * 14 + 7);
}

static void rules_add_up(void **state)
{
	struct retention retention = rules("12x5m,24x1h,7x1d");
	const size_t n = 12 * 24 * 10; /* ten days, every five minutes */

	(void)state;
	take(n, 5 * MINUTE);
	retention_choose(&retention, points, n);
	/* The newest twelve; of 24 hours the last one each, the newest of which is there already; and of seven days. */
	assert_int_equal(kept(n), 12 + 23 + 6);
	for (size_t i = n - 12; i < n; i++)
		assert_true(points[i].keep);
	assert_true(points[n - 1 - 12].keep);
	assert_false(points[n - 1 - 13].keep);
	assert_true(points[n - 1 - 288 * 6].keep);
	assert_false(points[n - 1 - 288 * 7].keep);
}

static void some_stay_whatever_the_rules(void **state)
{
	struct retention retention = rules("1x1s");

	(void)state;
	take(100, HOUR);
	points[3].held = points[50].held = true;
	points[7].verified = points[20].verified = true;
	retention_choose(&retention, points, 100);
	assert_int_equal(kept(100), 4);
	assert_true(points[3].keep && points[50].keep && points[20].keep && points[99].keep);
	retention = rules("all");
	retention_choose(&retention, points, 100);
	assert_int_equal(kept(100), 100);
	retention_choose(&retention, points, 0);
}

/* What goes at once goes one by one, too: a point that stays now is not lost by having pruned before. */
static void pruning_often_keeps_what_pruning_once_keeps(void **state)
{
	struct retention retention = rules("6x10m,5x1h,3x1d");
	static struct retention_point left[MANY];
	uint64_t random = random_begin(), now = BEGIN;
	size_t n = 1500, have = 0, k = 0;

	(void)state;
	take(n, 0);
	for (size_t i = 0; i < n; i++) {
		now += MINUTE + random_below(&random, 20 * MINUTE);
		points[i].taken_ns = now;
		left[have++] = points[i];
		retention_choose(&retention, left, have);
		for (k = 0; k < have;)
			if (left[k].keep)
				k++;
			else
				memmove(&left[k], &left[k + 1], (--have - k) * sizeof(left[0]));
	}
	retention_choose(&retention, points, n);
	k = 0;
	for (size_t i = 0; i < n; i++)
		if (points[i].keep)
			assert_true(k < have && left[k++].taken_ns == points[i].taken_ns);
	assert_int_equal(k, have);
}

static void a_clock_that_goes_back_loses_nothing_new(void **state)
{
	struct retention retention = rules("3x1h");

	(void)state;
	take(20, HOUR);
	for (size_t i = 10; i < 20; i++)
		points[i].taken_ns -= 9 * HOUR;
	retention_choose(&retention, points, 20);
	assert_true(points[19].keep && points[18].keep && points[17].keep);
	assert_int_equal(kept(20), 3);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(what_people_write),
	    cmocka_unit_test(rules_add_up),
	    cmocka_unit_test(some_stay_whatever_the_rules),
	    cmocka_unit_test(pruning_often_keeps_what_pruning_once_keeps),
	    cmocka_unit_test(a_clock_that_goes_back_loses_nothing_new),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
