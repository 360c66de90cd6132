/* test_report.c: the report of a move and its progress line, to the character. */
#include "cli/progress.h"
#include "cli/report.h"
#include "tests/lib/test.h"

#include <stdlib.h>
#include <string.h>

static const struct move_options options = {
    .vm = "web",
    .peer = "ssh://root@b:2222",
    .downtime_ns = 30000000,
};

static struct move_report example(void)
{
	return (struct move_report){
	    .total_ns = 1923456789,
	    .downtime_ns = 12345678,
	    .forecast_ns = 1850000000,
	    .forecast_downtime_ns = 10100000,
	    .rounds = 3,
	    .listed = 3,
	    .round = {{.pages = 131072, .bytes = 134217728, .ns = 1500000000, .throttle = 0},
		      {.pages = 40000, .bytes = 41943040, .ns = 400000000, .throttle = 20},
		      {.pages = 900, .bytes = 943718, .ns = 12000000, .throttle = 20}},
	    .pages_sent = 171972,
	    .zero_pages = 65536,
	    .delta_pages = 40000,
	    .bytes_sent = 177104486,
	    .wire_mbps = 741,
	    .max_throttle = 20,
	    .links = 3,
	    .reconnects = 1,
	    .pages_again = 512,
	    .resumes = 1,
	    .lost_ns = 96172839,
	    .resumes_ns = 8500000,
	    .term = 2,
	};
}

static void check_text(const struct move_options *of, const struct move_report *report, const char *expected)
{
	char *text = NULL;
	size_t len = 0;
	FILE *out = open_memstream(&text, &len);

	assert_non_null(out);
	report_text(out, of, report);
	fclose(out);
	assert_string_equal(text, expected);
	free(text);
}

static void text_is_as_documented(void **state)
{
	struct move_report report = example();

	(void)state;
	check_text(&options, &report,
		   "VM 'web' runs on ssh://root@b:2222 now\n"
		   "  total time  1.9 s      forecast 1.9 s\n"
		   "  downtime    12.3 ms    forecast 10.1 ms, budget 30 ms\n"
		   "  taken back  1 pauses, in which a link broke; 8.5 ms in all\n"
		   "  pages       171972, of these 65536 zero pages, 40000 only as what had changed\n"
		   "  bytes       168.9 MiB\n"
		   "  links       3, connected again 1 times, 512 pages sent again\n"
		   "  throughput  92.6 MB/s (741 Mbit/s)\n"
		   "  throttle    the guest was slowed by up to 20%, and lost 5.0% of its time\n"
		   "  term        2\n"
		   "  round      pages       bytes        time      MB/s slowed by\n"
		   "      1     131072     128 MiB       1.5 s      89.5        0%\n"
		   "      2      40000      40 MiB      400 ms     104.9       20%\n"
		   "      3        900   921.6 KiB       12 ms      78.6       20%\n");
}

static void of_very_many_rounds_the_first_and_the_latest_are_kept(void **state)
{
	static struct move_report report;

	(void)state;
	for (unsigned i = 1; i <= 200; i++)
		move_report_round(&report)->pages = i;
	assert_int_equal(report.rounds, 200);
	assert_int_equal(report.listed, MOVE_MAX_ROUNDS);
	assert_int_equal(report.round[0].pages, 1);
	assert_int_equal(report.round[1].pages, 200 - MOVE_MAX_ROUNDS + 2);
	assert_int_equal(report.round[MOVE_MAX_ROUNDS - 1].pages, 200);
}

static void a_budget_that_was_missed_is_said(void **state)
{
	struct move_report report = {.downtime_ns = 40000000, .forecast_downtime_ns = 20000000, .term = 2};

	(void)state;
	check_text(&options, &report,
		   "VM 'web' runs on ssh://root@b:2222 now\n"
		   "  total time  0 s        forecast 0 s\n"
		   "  downtime    40 ms      forecast 20 ms, budget 30 ms: exceeded\n"
		   "  pages       0, of these 0 zero pages, 0 only as what had changed\n"
		   "  bytes       0 B\n"
		   "  links       0\n"
		   "  throughput  0.0 MB/s (0 Mbit/s)\n"
		   "  throttle    none\n"
		   "  term        2\n"
		   "  round      pages       bytes        time      MB/s slowed by\n");
}

static void json_is_as_documented(void **state)
{
	struct move_report report = example();
	json_t *object = report_json(&options, &report);
	char *text;

	(void)state;
	assert_non_null(object);
	text = json_dumps(object, JSON_REAL_PRECISION(15));
	assert_string_equal(
	    text,
	    "{\"name\": \"web\", \"destination\": \"ssh://root@b:2222\", \"term\": 2, \"total_ms\": "
	    "1923.457, "
	    "\"downtime_ms\": 12.346, \"downtime_budget_ms\": 30.0, \"forecast_ms\": 1850.0, "
	    "\"forecast_downtime_ms\": 10.1, \"rounds\": 3, \"pages_sent\": 171972, \"zero_pages\": 65536, "
	    "\"delta_pages\": 40000, "
	    "\"bytes_sent\": 177104486, \"bytes_per_round\": [134217728, 41943040, 943718], \"mbps\": 741, "
	    "\"max_throttle\": 20, \"rounds_detail\": ["
	    "{\"pages\": 131072, \"bytes\": 134217728, \"ms\": 1500.0, \"throttle\": 0}, "
	    "{\"pages\": 40000, \"bytes\": 41943040, \"ms\": 400.0, \"throttle\": 20}, "
	    "{\"pages\": 900, \"bytes\": 943718, \"ms\": 12.0, \"throttle\": 20}], "
	    "\"links\": 3, \"reconnects\": 1, \"pages_again\": 512, \"resumes\": 1, \"resumes_ms\": 8.5, "
	    "\"lost_percent\": 5.0, \"postcopy\": null, \"resumed\": false}");
	free(text);
	json_decref(object);
}

static void post_copy_is_told_of(void **state)
{
	struct move_report report = {.term = 2,
				     .postcopy = {.owed = 9000, .bytes = 20971520, .ns = 150000000}};
	char *text, *json_text;
	json_t *json;
	size_t len;
	FILE *out = open_memstream(&text, &len);

	(void)state;
	for (int i = 0; i < 99; i++)
		histogram_add(&report.postcopy.faults, 300);
	histogram_add(&report.postcopy.faults, 5000);
	assert_non_null(out);
	report_text(out, &options, &report);
	fclose(out);
	assert_non_null(
	    strstr(text, "  post-copy   9000 pages, 20 MiB, 150 ms after the start\n"
			 "  faults      100 waited for pages: half of them 512 us or less, 99% 512 us, the "
			 "longest 5000 us\n"));
	free(text);
	json = report_json(&options, &report);
	json_text = json_dumps(json_object_get(json, "postcopy"), 0);
	assert_non_null(
	    strstr(json_text, "{\"pages\": 9000, \"bytes\": 20971520, \"ms\": 150.0, \"faults\": {\"count\": "
			      "100, \"p50_us\": 512, \"p99_us\": 512, \"max_us\": 5000, \"buckets\": [0, "));
	free(json_text);
	json_decref(json);
}

static void a_hostile_url_reaches_neither_terminal_nor_json(void **state)
{
	struct move_options hostile = {.vm = "web", .peer = "ssh://\x1b[2J\xff", .downtime_ns = 1000000};
	struct move_report report = {.term = 2};
	char *text = NULL;
	size_t len = 0;
	FILE *out = open_memstream(&text, &len);
	json_t *object;

	(void)state;
	assert_non_null(out);
	report_text(out, &hostile, &report);
	fclose(out);
	assert_memory_equal(text, "VM 'web' runs on ssh://?[2J? now\n", 32);
	free(text);
	object = report_json(&hostile, &report);
	assert_string_equal(json_string_value(json_object_get(object, "destination")), "ssh://?[2J?");
	json_decref(object);
}

static void progress_says_what_matters_in_each_phase(void **state)
{
	struct move_progress now = {.phase = MOVE_CONNECT};
	char line[256];

	(void)state;
	assert_string_equal(progress_format(&now, true, line, sizeof(line)), "connecting");
	now = (struct move_progress){.phase = MOVE_COPY};
	assert_string_equal(progress_format(&now, true, line, sizeof(line)), "copying");
	now.round = 1;
	assert_string_equal(progress_format(&now, true, line, sizeof(line)), "copying, round 1");
	now = (struct move_progress){.phase = MOVE_COPY,
				     .round = 2,
				     .pages_left = 250,
				     .pages_total = 1000,
				     .bytes_per_s = 812000000,
				     .dirty_bytes_per_s = 102000000,
				     .throttle = 20,
				     .eta_ns = 3200000000};
	assert_string_equal(
	    progress_format(&now, true, line, sizeof(line)),
	    "copying, round 2:  75%, 812 MB/s, guest dirties 102 MB/s, slowed by 20%, 3.2 s left");
	assert_string_equal(progress_format(&now, false, line, sizeof(line)),
			    "copying, round 2: 1000 pages, 812 MB/s, guest dirties 102 MB/s, slowed by 20%");
	now.pages_left = 5000; /* more than there were: shown as nothing done, not as a huge number */
	progress_format(&now, true, line, sizeof(line));
	assert_memory_equal(line, "copying, round 2:   0%,", 23);
	now.phase = MOVE_SWITCH;
	assert_string_equal(progress_format(&now, true, line, sizeof(line)), "switching over");
	assert_string_equal(progress_format(&now, true, line, 8), "switchi");
	now.phase = MOVE_COPY;
	assert_string_equal(progress_format(&now, true, line, 12), "copying, ro");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(text_is_as_documented),
	    cmocka_unit_test(of_very_many_rounds_the_first_and_the_latest_are_kept),
	    cmocka_unit_test(a_budget_that_was_missed_is_said),
	    cmocka_unit_test(json_is_as_documented),
	    cmocka_unit_test(post_copy_is_told_of),
	    cmocka_unit_test(a_hostile_url_reaches_neither_terminal_nor_json),
	    cmocka_unit_test(progress_says_what_matters_in_each_phase),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
