/* test_units.c: what people write is understood or refused, never guessed. */
#include "common/units.h"
#include "tests/lib/test.h"

#include <stdio.h>
#include <string.h>

/* Text that no parser of this file may take. */
static const char *const never[] = {
    "",    " ",   "-1",   "+1",   " 1",    "1 ",   "1.5G", "0x10", "1e3", "K",   "1KK",
    "1Mi", "1k",  "1m ",  "1 M",  "1B",    "1P",   "1E",   "1,0",  "\n",  "1\n", "99999999999999999999",
    "nan", "inf", "1G1G", "\xff", "1\xff", "1MiBs"};

static void sizes(void **state)
{
	static const struct {
		const char *text;
		uint64_t bytes;
	} good[] = {
	    {"0", 0},
	    {"4096", 4096},
	    {"007", 7},
	    {"1K", 1024},
	    {"1KB", 1024},
	    {"1KiB", 1024},
	    {"512M", 512ull << 20},
	    {"512MB", 512ull << 20},
	    {"512MiB", 512ull << 20},
	    {"3G", 3ull << 30},
	    {"3GiB", 3ull << 30},
	    {"2T", 2ull << 40},
	    {"18446744073709551615", UINT64_MAX},
	    {"16777215T", 16777215ull << 40},
	};
	static const char *const bad[] = {"16777216T", "18446744073709551616", "18014398509481984K", "512m",
					  "1s"};
	struct err err = {0};
	uint64_t bytes = 77;

	(void)state;
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		assert_int_equal(units_parse_size(bad[i], &bytes, &err), -1);
	for (size_t i = 0; i < sizeof(never) / sizeof(never[0]); i++)
		assert_int_equal(units_parse_size(never[i], &bytes, &err), -1);
	assert_int_equal(bytes, 77);
	assert_int_equal(err.kind, ERR_USAGE);
	for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++) {
		assert_int_equal(units_parse_size(good[i].text, &bytes, &err), 0);
		assert_true(bytes == good[i].bytes);
	}
}

static void a_refusal_shows_the_text_and_an_example(void **state)
{
	struct err err = {0};
	char longest[5000];
	uint64_t bytes;

	(void)state;
	units_parse_size("12Q", &bytes, &err);
	assert_non_null(strstr(err.text, "\"12Q\""));
	assert_non_null(strstr(err.text, "512M"));
	memset(longest, '9', sizeof(longest));
	longest[sizeof(longest) - 1] = '\0';
	units_parse_size(longest, &bytes, &err);
	assert_non_null(strstr(err.text, "512M"));
}

static void durations(void **state)
{
	static const struct {
		const char *text;
		uint64_t ns;
	} good[] = {
	    {"0s", 0},          {"350us", 350000},           {"30ms", 30000000},
	    {"2s", 2000000000}, {"5m", 300ull * 1000000000}, {"1h", 3600ull * 1000000000},
	};
	static const char *const bad[] = {
	    "30", "0", "1S", "1ns", "1min", "1d", "s", "5124096h", "18446744073709551616us"};
	struct err err = {0};
	uint64_t ns = 77;

	(void)state;
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		assert_int_equal(units_parse_duration(bad[i], &ns, &err), -1);
	for (size_t i = 0; i < sizeof(never) / sizeof(never[0]); i++)
		assert_int_equal(units_parse_duration(never[i], &ns, &err), -1);
	assert_int_equal(ns, 77);
	assert_int_equal(err.kind, ERR_USAGE);
	for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++) {
		assert_int_equal(units_parse_duration(good[i].text, &ns, &err), 0);
		assert_true(ns == good[i].ns);
	}
}

static void numbers_stay_within_their_bounds(void **state)
{
	struct err err = {0};
	uint64_t value = 77;

	(void)state;
	assert_int_equal(units_parse_uint("0", 1, 8, &value, &err), -1);
	assert_int_equal(units_parse_uint("9", 1, 8, &value, &err), -1);
	assert_non_null(strstr(err.text, "from 1 to 8"));
	assert_int_equal(units_parse_uint("4K", 1, 8, &value, &err), -1);
	for (size_t i = 0; i < sizeof(never) / sizeof(never[0]); i++)
		assert_int_equal(units_parse_uint(never[i], 0, UINT64_MAX, &value, &err), -1);
	assert_int_equal(value, 77);
	assert_int_equal(units_parse_uint("1", 1, 8, &value, &err), 0);
	assert_int_equal(value, 1);
	assert_int_equal(units_parse_uint("8", 1, 8, &value, &err), 0);
	assert_int_equal(value, 8);
	assert_int_equal(units_parse_uint("18446744073709551615", 0, UINT64_MAX, &value, &err), 0);
	assert_true(value == UINT64_MAX);
}

static void size_is(uint64_t bytes, const char *expected)
{
	char text[16];

	assert_string_equal(units_format_size(bytes, text), expected);
}

static void sizes_are_written_for_people(void **state)
{
	(void)state;
	size_is(0, "0 B");
	size_is(1, "1 B");
	size_is(1023, "1023 B");
	size_is(1024, "1 KiB");
	size_is(1536, "1.5 KiB");
	size_is(512ull << 20, "512 MiB");
	size_is((512ull << 20) + 1, "512 MiB");
	size_is(3ull << 29, "1.5 GiB");
	size_is((1ull << 30) - 1, "1 GiB"); /* not 1024 MiB */
	size_is(1023ull << 30, "1023 GiB");
	size_is(UINT64_MAX, "16 EiB");
}

static void duration_is(uint64_t ns, const char *expected)
{
	char text[24];

	assert_string_equal(units_format_duration(ns, text), expected);
}

static void durations_are_written_for_people(void **state)
{
	(void)state;
	duration_is(0, "0 s");
	duration_is(999, "999 ns");
	duration_is(1000, "1 us");
	duration_is(350000, "350 us");
	duration_is(999499, "999 us");
	duration_is(999500, "1 ms");
	duration_is(12345678, "12.3 ms");
	duration_is(999949999, "999.9 ms");
	duration_is(999950000, "1 s");
	duration_is(4200000000, "4.2 s");
	duration_is(59949999999, "59.9 s");
	duration_is(59950000000, "1 min 0 s");
	duration_is(200ull * 1000000000, "3 min 20 s");
	duration_is(3599ull * 1000000000, "59 min 59 s");
	duration_is(3599ull * 1000000000 + 500000000, "1 h 0 min");
	duration_is(UINT64_MAX, "5124095 h 34 min");
}

static void names_are_safe_in_a_path_and_a_shell(void **state)
{
	static const char *const good[] = {"a", "0", "web-1", "Db_2.old", "x..y"};
	static const char *const bad[] = {"",    ".",   "..",  "-rf", "_x",   "a/b",      "../x",  "a b",
					  "a\n", "a;b", "a$b", "a\"", "a\\b", "\xc3\xa9", "a\xff", "a*"};
	char name[66];

	(void)state;
	for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++)
		assert_true(units_name_valid(good[i]));
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		assert_false(units_name_valid(bad[i]));
	assert_false(units_name_valid(NULL));
	/* Every single byte: letters and digits alone may begin a name. */
	for (int c = 1; c < 256; c++) {
		bool alnum = (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');

		snprintf(name, sizeof(name), "%c", c);
		assert_int_equal(units_name_valid(name), alnum);
		snprintf(name, sizeof(name), "a%c", c);
		assert_int_equal(units_name_valid(name), alnum || c == '.' || c == '_' || c == '-');
	}
	memset(name, 'a', sizeof(name));
	name[63] = '\0';
	assert_true(units_name_valid(name));
	name[63] = 'a';
	name[64] = '\0';
	assert_false(units_name_valid(name));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(sizes),
	    cmocka_unit_test(a_refusal_shows_the_text_and_an_example),
	    cmocka_unit_test(durations),
	    cmocka_unit_test(numbers_stay_within_their_bounds),
	    cmocka_unit_test(sizes_are_written_for_people),
	    cmocka_unit_test(durations_are_written_for_people),
	    cmocka_unit_test(names_are_safe_in_a_path_and_a_shell),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
