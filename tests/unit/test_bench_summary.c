/* test_bench_summary.c: the benchmark's medians and verdicts: what did not finish, or was not measured, must
 * never read as a target that was met. */
#include "tests/bench/summary.h"
#include "tests/lib/test.h"

#include <string.h>

static const struct mover *mover(const char *name)
{
	for (size_t i = 0; i < mover_count; i++)
		if (strcmp(mover_table[i].name, name) == 0)
			return &mover_table[i];
	fail_msg("no mover %s", name);
	return NULL;
}

static struct run moved(const char *name, uint32_t dirty_mb, double total_ms, double gap_ms)
{
	return (struct run){.mover = mover(name),
			    .dirty_mb = dirty_mb,
			    .end = RUN_MOVED,
			    .total_ms = total_ms,
			    .gap_ms = gap_ms,
			    .wire_mib = 1,
			    .cpu_s = 1};
}

static struct run unfinished(const char *name, uint32_t dirty_mb)
{
	return (struct run){.mover = mover(name), .dirty_mb = dirty_mb, .end = RUN_UNFINISHED};
}

/* Cells and targets of the runs; the verdict of the target whose text contains `what`. */
static enum verdict verdict_of(const struct run *runs, size_t count, const char *what, struct target *found)
{
	struct cell cells[SUMMARY_CELLS_MAX];
	struct target targets[SUMMARY_TARGETS_MAX];
	size_t ncells = summary_cells(runs, count, cells);
	size_t ntargets = summary_targets(cells, ncells, targets);

	for (size_t i = 0; i < ntargets; i++) {
		if (strstr(targets[i].text, what)) {
			*found = targets[i];
			return targets[i].verdict;
		}
	}
	fail_msg("no target with \"%s\"", what);
	return VERDICT_MISSED;
}
#define VERDICT_OF(runs, what, found) verdict_of(runs, sizeof(runs) / sizeof((runs)[0]), what, found)

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

static void drover_meets_the_best_that_plain_precopy_did(void **state)
{
	struct run runs[] = {moved("drover", 100, 1500, 20), moved("qemu-plain", 100, 2000, 25),
			     moved("qemu-plain-300", 100, 1400, 200), moved("qemu-ssh", 100, 900, 1)};
	struct target target;

	(void)state;
	/* The faster total is that of the 300 ms limit, the shorter gap that of 30 ms; SSH does not count here. */
	assert_int_equal(VERDICT_OF(runs, "total <= QEMU", &target), VERDICT_MISSED);
	assert_string_equal(target.against, "qemu-plain-300");
	assert_int_equal(VERDICT_OF(runs, "gap <= QEMU", &target), VERDICT_MET);
	assert_string_equal(target.against, "qemu-plain");
	assert_int_equal(VERDICT_OF(runs, "gap <= 30 ms", &target), VERDICT_MET);
	assert_int_equal(VERDICT_OF(runs, "errors", &target), VERDICT_MET);
}

static void a_run_that_did_not_finish_misses(void **state)
{
	struct run runs[] = {moved("drover", 100, 1, 1), unfinished("drover", 100),
			     moved("qemu-plain", 100, 9, 9)};
	struct target target;

	(void)state;
	assert_int_equal(VERDICT_OF(runs, "total <= QEMU", &target), VERDICT_MISSED);
	assert_int_equal(VERDICT_OF(runs, "gap <= 30 ms", &target), VERDICT_MISSED);
	assert_int_equal(VERDICT_OF(runs, "errors", &target), VERDICT_MISSED);
}

static void what_never_finished_cannot_be_lost_to(void **state)
{
	struct run runs[] = {moved("drover", 400, 5000, 40), unfinished("qemu-plain", 400)};
	struct target target;

	(void)state;
	assert_int_equal(VERDICT_OF(runs, "total <= QEMU", &target), VERDICT_MET);
	assert_true(target.limit < 0);
}

static void without_the_peer_nothing_is_judged(void **state)
{
	struct run runs[] = {moved("drover", 0, 1, 1), moved("qemu-plain", 400, 9, 9)};
	struct target target;

	(void)state;
	assert_int_equal(VERDICT_OF(runs, "total <= QEMU", &target), VERDICT_NOT_MEASURED);
}

static void one_wrong_page_misses(void **state)
{
	struct run runs[] = {moved("drover", 0, 1, 1), moved("qemu-plain", 0, 9, 9)};
	struct target target;

	(void)state;
	runs[0].memory_errors = 1;
	assert_int_equal(VERDICT_OF(runs, "errors", &target), VERDICT_MISSED);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(median_is_the_middle_or_the_mean_of_two),
	    cmocka_unit_test(drover_meets_the_best_that_plain_precopy_did),
	    cmocka_unit_test(a_run_that_did_not_finish_misses),
	    cmocka_unit_test(what_never_finished_cannot_be_lost_to),
	    cmocka_unit_test(without_the_peer_nothing_is_judged),
	    cmocka_unit_test(one_wrong_page_misses),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
