/* test_bench_summary.c: the benchmark's medians and verdicts: what did not finish, or was not measured, must
 * never read as a promise that was kept. */
#include "tests/bench/summary.h"
#include "tests/lib/test.h"

#include <string.h>

static struct run moved(const char *name, uint32_t dirty_mb, double total_ms, double gap_ms)
{
	assert_non_null(mover_find(name));
	return (struct run){.mover = mover_find(name),
			    .dirty_mb = dirty_mb,
			    .end = RUN_MOVED,
			    .total_ms = total_ms,
			    .gap_ms = gap_ms,
			    .landing_gap_ms = gap_ms,
			    .slowed_percent = -1,
			    .planned_total_ms = -1,
			    .wire_mib = 1,
			    .cpu_s = 1};
}

static struct run unfinished(const char *name, uint32_t dirty_mb)
{
	return (struct run){.mover = mover_find(name), .dirty_mb = dirty_mb, .end = RUN_UNFINISHED};
}

/* The promise of that id, judged by the runs. */
static struct target target_of(const struct run *runs, size_t count, double ideal_mib, const char *id)
{
	static struct cell cells[SUMMARY_CELLS_MAX];
	static struct figures figures;
	static struct targets targets;

	targets.count = figures.count = 0;
	summary_targets(cells, summary_cells(runs, count, cells), ideal_mib, &targets);
	summary_forecasts(runs, count, &figures, &targets);
	for (size_t i = 0; i < targets.count; i++)
		if (strcmp(targets.row[i].id, id) == 0)
			return targets.row[i];
	fail_msg("no promise \"%s\"", id);
	return (struct target){.unit = NULL};
}
#define COUNT(runs)         (sizeof(runs) / sizeof((runs)[0]))
#define TARGET_OF(runs, id) target_of(runs, COUNT(runs), -1, id)

static void median_is_the_middle_or_the_mean_of_two(void **state)
{
	struct stats stats = {.count = 0};

	(void)state;
	assert_true(stats_median(&stats) == 0);
	stats_add(&stats, 9);
	stats_add(&stats, 1);
	assert_true(stats_median(&stats) == 5);
	stats_add(&stats, 2);
	assert_true(stats_median(&stats) == 2);
	assert_true(stats_min(&stats) == 1 && stats_max(&stats) == 9);
}

static void the_best_setting_of_the_peer_is_the_limit(void **state)
{
	struct run runs[] = {moved("drover", 100, 830, 9),          moved("qemu-plain", 100, 2000, 8),
			     moved("qemu-multifd", 100, 1400, 200), moved("qemu-multifd-zstd", 100, 900, 1),
			     moved("qemu-ssh-300", 100, 3000, 90),  moved("qemu-multifd-ssh", 100, 2050, 90)};
	struct target target;

	(void)state;
	/* The shorter total is multifd's, the shorter downtime that of pre-copy; what is packed or goes over SSH does not
	 * count here. */
	target = TARGET_OF(runs, "100-total");
	assert_int_equal(target.verdict, VERDICT_MET);
	assert_string_equal(target.against, "qemu-multifd");
	assert_true(target.limit > 839 && target.limit < 841);
	target = TARGET_OF(runs, "100-downtime-qemu");
	assert_int_equal(target.verdict, VERDICT_MISSED);
	assert_string_equal(target.against, "qemu-plain");
	assert_int_equal(TARGET_OF(runs, "100-downtime").verdict, VERDICT_MET);
	target = TARGET_OF(runs, "100-total-ssh");
	assert_int_equal(target.verdict, VERDICT_MISSED);
	assert_string_equal(target.against, "qemu-multifd-ssh");
	assert_int_equal(TARGET_OF(runs, "memory-right").verdict, VERDICT_MET);
}

static void a_run_that_did_not_finish_misses(void **state)
{
	struct run runs[] = {moved("drover", 100, 1, 1), unfinished("drover", 100),
			     moved("qemu-plain", 100, 9, 9)};

	(void)state;
	assert_int_equal(TARGET_OF(runs, "100-total").verdict, VERDICT_MISSED);
	assert_int_equal(TARGET_OF(runs, "100-downtime").verdict, VERDICT_MISSED);
	assert_int_equal(TARGET_OF(runs, "always-completes").verdict, VERDICT_MISSED);
}

static void what_never_finished_cannot_be_lost_to(void **state)
{
	struct run runs[] = {moved("drover", 400, 5000, 4), unfinished("qemu-plain", 400)};
	struct target target = TARGET_OF(runs, "400-downtime-qemu");

	(void)state;
	assert_int_equal(target.verdict, VERDICT_MET);
	assert_true(target.limit < 0);
}

static void without_the_peer_nothing_is_judged(void **state)
{
	struct run runs[] = {moved("drover", 0, 1, 1), moved("qemu-plain", 400, 9, 9)};

	(void)state;
	assert_int_equal(TARGET_OF(runs, "idle-total").verdict, VERDICT_NOT_MEASURED);
	assert_int_equal(TARGET_OF(runs, "idle-bytes-ideal").verdict, VERDICT_NOT_MEASURED);
	assert_int_equal(target_of(runs, COUNT(runs), 0.9, "idle-bytes-ideal").verdict, VERDICT_MET);
	assert_int_equal(target_of(runs, COUNT(runs), 0.8, "idle-bytes-ideal").verdict, VERDICT_MISSED);
}

static void one_wrong_page_misses(void **state)
{
	struct run runs[] = {moved("drover", 0, 1, 1), moved("qemu-plain", 0, 9, 9)};

	(void)state;
	runs[0].memory_errors = 1;
	assert_int_equal(TARGET_OF(runs, "memory-right").verdict, VERDICT_MISSED);
}

/* Eight of ten forecasts have to be near, in total and in downtime. */
static void forecasts_are_near_or_not(void **state)
{
	struct run runs[10] = {{.mover = NULL}};

	(void)state;
	assert_int_equal(target_of(runs, 0, -1, "forecast").verdict, VERDICT_NOT_MEASURED);
	for (size_t i = 0; i < COUNT(runs); i++) {
		runs[i] = moved("drover", 100, 1000, 5);
		runs[i].planned_total_ms = 800;
		runs[i].planned_downtime_ms = 14;
	}
	runs[0].planned_total_ms = 1300;
	runs[1].planned_downtime_ms = 16;
	assert_int_equal(TARGET_OF(runs, "forecast").verdict, VERDICT_MET);
	runs[2].planned_total_ms = 740;
	assert_int_equal(TARGET_OF(runs, "forecast").verdict, VERDICT_MISSED);
}

/* A bound from below is judged as one. */
static void a_least_is_not_a_most(void **state)
{
	struct targets targets = {.count = 0};
	struct target *target = target_add(&targets, "id", "x", "text", "0.8 x");

	(void)state;
	target->least = true;
	target_judge(target, 0.9, 0.8);
	assert_int_equal(target->verdict, VERDICT_MET);
	target_judge(target, 0.7, 0.8);
	assert_int_equal(target->verdict, VERDICT_MISSED);
	target_judge(target, -1, -1);
	assert_int_equal(target->verdict, VERDICT_MISSED);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(median_is_the_middle_or_the_mean_of_two),
	    cmocka_unit_test(the_best_setting_of_the_peer_is_the_limit),
	    cmocka_unit_test(a_run_that_did_not_finish_misses),
	    cmocka_unit_test(what_never_finished_cannot_be_lost_to),
	    cmocka_unit_test(without_the_peer_nothing_is_judged),
	    cmocka_unit_test(one_wrong_page_misses),
	    cmocka_unit_test(forecasts_are_near_or_not),
	    cmocka_unit_test(a_least_is_not_a_most),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
