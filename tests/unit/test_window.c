/* test_window.c: parts of the week. */
#include "replicate/window.h"
#include "tests/lib/random.h"
#include "tests/lib/test.h"

#include <string.h>

static struct window window_of(const char *text)
{
	struct window window;
	struct err err;

	if (window_parse(text, &window, &err))
		fail_msg("%s", err.text);
	return window;
}

/* Minutes since Monday, 00:00. */
static struct tm at(unsigned minute)
{
	return (struct tm){.tm_wday = (int)(minute / WINDOW_DAY + 1) % 7,
			   .tm_hour = (int)(minute % WINDOW_DAY / 60),
			   .tm_min = (int)(minute % 60)};
}

static bool is_open(const char *text, unsigned day, unsigned hour, unsigned minute)
{
	struct window window = window_of(text);
	struct tm local = at(day * WINDOW_DAY + hour * 60 + minute);

	return window_is_open(&window, &local);
}

static void what_people_write(void **state)
{
	static const char *const good[][2] = {{"22:00-06:00", "22:00-06:00"},
					      {"mon-sun 22:00-06:00", "22:00-06:00"},
					      {"mon-fri 20:00-06:00", "mon,tue,wed,thu,fri 20:00-06:00"},
					      {"sat,sun 00:00-24:00", "sat,sun 00:00-24:00"},
					      {"fri-mon 12:30-12:31", "mon,fri,sat,sun 12:30-12:31"},
					      {"wed 23:59-00:00", "wed 23:59-24:00"}};
	static const char *const bad[] = {"",
					  "22:00",
					  "22:00-",
					  "22:00-22:00",
					  "24:00-06:00",
					  "22:00-24:01",
					  "2:00-6:00",
					  "22:60-23:00",
					  "mon",
					  "mon ",
					  "mon22:00-23:00",
					  "mon-fri",
					  "mon- 1:00-2:00",
					  "funday 10:00-11:00",
					  "mon,,tue 10:00-11:00",
					  "mon 10:00-11:00 ",
					  " 10:00-11:00",
					  "Mon 10:00-11:00",
					  "10:00 - 11:00"};
	char text[WINDOW_TEXT];
	struct window window;
	struct err err;

	(void)state;
	for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++) {
		window = window_of(good[i][0]);
		assert_string_equal(window_format(&window, text), good[i][1]);
	}
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		if (!window_parse(bad[i], &window, &err))
			fail_msg("'%s' was taken", bad[i]);
		assert_int_equal(err.kind, ERR_USAGE);
	}
}

static void the_night_belongs_to_the_day_before(void **state)
{
	(void)state;
	assert_false(is_open("mon-fri 20:00-06:00", 0, 5, 0)); /* Monday morning: Sunday's */
	assert_true(is_open("mon-fri 20:00-06:00", 0, 20, 0));
	assert_true(is_open("mon-fri 20:00-06:00", 5, 5, 59)); /* Saturday morning: Friday's */
	assert_false(is_open("mon-fri 20:00-06:00", 5, 6, 0));
	assert_false(is_open("mon-fri 20:00-06:00", 5, 20, 0));
	assert_true(is_open("sun 22:00-02:00", 0, 1, 59)); /* over the end of the week */
	assert_true(is_open("sat,sun 00:00-24:00", 6, 23, 59));
	assert_false(is_open("sat,sun 00:00-24:00", 0, 0, 0));
}

/* By looking at each minute to come. */
static void the_wait_is_until_the_first_open_minute(void **state)
{
	uint64_t random = random_begin();

	(void)state;
	for (int i = 0; i < 300; i++) {
		unsigned now = (unsigned)random_below(&random, 7 * WINDOW_DAY), wait = 0;
		struct tm local = at(now), then = local;
		struct window windows[2];

		for (int k = 0; k < 2; k++)
			windows[k] =
			    (struct window){.days = 1 + (unsigned)random_below(&random, 127),
					    .from = (unsigned)random_below(&random, WINDOW_DAY),
					    .length = 1 + (unsigned)random_below(&random, WINDOW_DAY)};
		while (!window_is_open(&windows[0], &then) && !window_is_open(&windows[1], &then))
			then = at((now + ++wait) % (7 * WINDOW_DAY));
		assert_int_equal(windows_wait(windows, 2, &local), wait * 60);
		local.tm_sec = 17;
		assert_int_equal(windows_wait(windows, 2, &local), wait ? wait * 60 - 17 : 0);
	}
	assert_int_equal(windows_wait(NULL, 0, &(struct tm){.tm_hour = 3}), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(what_people_write),
	    cmocka_unit_test(the_night_belongs_to_the_day_before),
	    cmocka_unit_test(the_wait_is_until_the_first_open_minute),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
