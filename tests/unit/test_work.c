/* test_work.c: what a long operation on a volume says of itself, and that a signal ends it. */
#include "cli/work.h"
#include "tests/lib/test.h"

#include <signal.h>
#include <string.h>

enum { MIB = 1 << 20 };
#define SECOND 1000000000ULL

static void a_line_tells_how_far_it_is(void **state)
{
	char text[256];

	(void)state;
	assert_string_equal(
	    work_format("packing", 512ULL * MIB, 2048ULL * MIB, 2 * SECOND, text, sizeof(text)),
	    "packing:  25%, 512 MiB of 2 GiB, 268 MB/s, 6 s left");
	/* Nothing is foretold from the first moment, and nothing exceeds the whole. */
	assert_string_equal(work_format("packing", MIB, 2 * MIB, SECOND / 2, text, sizeof(text)),
			    "packing:  50%, 1 MiB of 2 MiB, 2 MB/s");
	assert_string_equal(work_format("packing", 3 * MIB, 2 * MIB, SECOND, text, sizeof(text)),
			    "packing: 100%, 2 MiB of 2 MiB, 3 MB/s, 0 s left");
	assert_string_equal(work_format("packing", 3 * MIB, 0, SECOND, text, sizeof(text)),
			    "packing: 3 MiB, 3 MB/s");
	assert_string_equal(work_format("packing", 0, 0, 0, text, sizeof(text)), "packing: 0 B, 0 MB/s");
	assert_int_equal(strlen(work_format("packing", MIB, 2 * MIB, SECOND, text, 12)), 11);
}

/* The last test: a signal that came stays noted. */
static void a_signal_ends_it_with_a_sentence(void **state)
{
	struct err err = {.kind = ERR_CANCELLED, .text = "v: cancelled"};
	struct work work;

	(void)state;
	work_begin(&work, NULL, "packing %d", 7);
	assert_true(work_tick(&work, 1, 2));
	assert_int_equal(work_end(&work, 0, "all stayed", &err), 0);
	raise(SIGTERM);
	assert_false(work_tick(&work, 1, 2));
	assert_int_equal(work_end(&work, -1, "all stayed", &err), -1);
	assert_int_equal(err.kind, ERR_CANCELLED);
	assert_string_equal(err.text, "packing 7: cancelled; all stayed");
	/* Another failure keeps its own words. */
	err = (struct err){.kind = ERR_SYSTEM, .text = "v: I/O error"};
	assert_int_equal(work_end(&work, -1, "all stayed", &err), -1);
	assert_string_equal(err.text, "v: I/O error");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(a_line_tells_how_far_it_is),
	    cmocka_unit_test(a_signal_ends_it_with_a_sentence),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
