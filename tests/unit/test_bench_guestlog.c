/* test_bench_guestlog.c: the benchmark's reading of the guest's reports: a report that is misread, or a break
 * that is not seen, would make a migration look better than it was. */
#include "common/io.h"
#include "tests/bench/guestlog.h"
#include "tests/lib/temp.h"
#include "tests/lib/test.h"

#include <stdio.h>
#include <string.h>

static const char report[] =
    "drover-guest: seq=12 t_ms=12000 written=34 verified=56 gap_us=85 max_gap_us=1034 errors=7 cpus=2";

static void parses_every_field(void **state)
{
	struct guest_line line;

	(void)state;
	assert_true(guestlog_parse(report, strlen(report), &line));
	assert_int_equal(line.seq, 12);
	assert_int_equal(line.t_ms, 12000);
	assert_int_equal(line.written, 34);
	assert_int_equal(line.verified, 56);
	assert_int_equal(line.gap_us, 85);
	assert_int_equal(line.max_gap_us, 1034);
	assert_int_equal(line.errors, 7);
	assert_int_equal(line.cpus, 2);
}

static void refuses_what_is_no_report(void **state)
{
	static const char *const lines[] = {
	    "",
	    "drover-guest: ",
	    "drover-guest: filled ms=10",
	    "rover-guest: seq=1 t_ms=1 written=1 verified=1 gap_us=1 max_gap_us=1 errors=0 cpus=1",
	    /* a byte lost within: errors has no value, or a value that goes on */
	    "drover-guest: seq=1 t_ms=1 written=1 verified=1 gap_us=1 max_gap_us=1 errors= cpus=1",
	    "drover-guest: seq=1 t_ms=1 written=1 verified=1 gap_us=1 max_gap_us=1 errors=0cpus=1",
	    "drover-guest: seq=1 t_ms=1 written=1 verified=1 max_gap_us=1 errors=0 cpus=1",
	    ("drover-guest: seq=18446744073709551616 t_ms=1 written=1 verified=1 gap_us=1 max_gap_us=1 "
	     "errors=0 cpus=1"),
	};
	struct guest_line line;

	(void)state;
	for (size_t i = 0; i < sizeof(lines) / sizeof(lines[0]); i++)
		assert_false(guestlog_parse(lines[i], strlen(lines[i]), &line));
}

static void feed_report(struct guestlog *log, unsigned seq, unsigned gap_us)
{
	char text[256];
	int len =
	    snprintf(text, sizeof(text),
		     "drover-guest: seq=%u t_ms=%u written=1 verified=1 gap_us=%u max_gap_us=9999 errors=0 "
		     "cpus=1\r\n",
		     seq, seq * 100, gap_us);

	guestlog_feed(log, text, len);
}

static void counts_breaks_and_the_longest_gap_of_the_window(void **state)
{
	struct guestlog log;

	(void)state;
	guestlog_open(&log, "/nonexistent");
	feed_report(&log, 5, 700);
	feed_report(&log, 6, 100);
	assert_int_equal(log.breaks, 0);
	assert_int_equal(log.window_gap_us, 700);
	guestlog_window(&log);
	feed_report(&log, 7, 300);
	feed_report(&log, 8, 200);
	assert_int_equal(log.window_gap_us, 300);
	assert_int_equal(log.breaks, 0);
	feed_report(&log, 8, 1); /* once more: two copies ran, or one went back */
	assert_int_equal(log.breaks, 1);
	feed_report(&log, 10, 1); /* one is lost */
	assert_int_equal(log.breaks, 2);
	assert_int_equal(log.lines, 6);
}

static void tells_a_garbled_report_from_other_words(void **state)
{
	struct guestlog log;
	const char other[] = "drover-guest: filled ms=3\n";
	const char garbled[] = "drover-guest: seq=1 t_ms=1 wri\n";
	char overlong[2000];

	(void)state;
	guestlog_open(&log, "/nonexistent");
	guestlog_feed(&log, other, strlen(other));
	assert_true(log.filled);
	assert_string_equal(log.complaint, "");
	memset(overlong, 'x', sizeof(overlong));
	overlong[sizeof(overlong) - 1] = '\n';
	guestlog_feed(&log, overlong, sizeof(overlong));
	assert_int_equal(log.lines, 0);
	guestlog_feed(&log, garbled, strlen(garbled));
	assert_string_equal(log.complaint, "drover-guest: seq=1 t_ms=1 wri");
	feed_report(&log, 3, 4);
	assert_int_equal(log.lines, 1);
}

/* The guest moves in the middle of a line: its first half is in one host's log, its second in the other's. */
static void joins_a_line_over_two_logs(void **state)
{
	char source[TEMP_MAX + 8], destination[TEMP_MAX + 16];
	size_t half = strlen(report) / 2;
	struct guestlog log;
	char rest[256];
	int len;

	snprintf(source, sizeof(source), "%s/source", (char *)*state);
	snprintf(destination, sizeof(destination), "%s/destination", (char *)*state);
	guestlog_open(&log, source);
	guestlog_pump(&log); /* the file is not there yet */
	assert_int_equal(io_replace_file(source, report, half), 0);
	guestlog_move(&log, destination);
	guestlog_pump(&log);
	assert_int_equal(log.lines, 0);
	len = snprintf(rest, sizeof(rest), "%s\n", report + half);
	assert_int_equal(io_replace_file(destination, rest, len), 0);
	guestlog_pump(&log);
	assert_int_equal(log.lines, 1);
	assert_int_equal(log.last.seq, 12);
	guestlog_close(&log);
}

static void stops_waiting_when_memory_is_wrong(void **state)
{
	struct guestlog log;
	struct err err;

	(void)state;
	guestlog_open(&log, "/nonexistent");
	guestlog_feed(&log, report, strlen(report));
	guestlog_feed(&log, "\n", 1);
	assert_int_equal(guestlog_wait_clock(&log, 13000, clock_mono_ns() + 60000000000ull, &err), -1);
	assert_int_equal(err.kind, ERR_INPUT);
	assert_non_null(strstr(err.text, "7 places"));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(parses_every_field),
	    cmocka_unit_test(refuses_what_is_no_report),
	    cmocka_unit_test(counts_breaks_and_the_longest_gap_of_the_window),
	    cmocka_unit_test(tells_a_garbled_report_from_other_words),
	    cmocka_unit_test_setup_teardown(joins_a_line_over_two_logs, temp_setup, temp_teardown),
	    cmocka_unit_test(stops_waiting_when_memory_is_wrong),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
