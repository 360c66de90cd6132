/* test_run.c: the test runner tells what failed.  Shell scripts that print what CMocka prints stand in for test
 * programs. */
#include "common/io.h"
#include "tests/lib/temp.h"
#include "tests/lib/test.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#define GOOD "echo '[ RUN      ] one'\necho '[       OK ] one'\n"

static char output[65536];

/* Let the runner run one program made of these shell commands; returns its exit status, its words in output[]. */
static int run(void **state, const char *commands)
{
	char path[TEMP_MAX + 64], text[4096], command[2 * TEMP_MAX + 256];
	const char *root = getenv("DROVER_SRC");
	size_t len;
	FILE *pipe;

	snprintf(path, sizeof(path), "%s/build/tests/unit", (const char *)*state);
	assert_int_equal(io_mkdirs(path, 0700), 0);
	snprintf(path, sizeof(path), "%s/build/tests/unit/sample", (const char *)*state);
	snprintf(text, sizeof(text), "#!/bin/sh\n%s", commands);
	assert_int_equal(io_replace_file(path, text, strlen(text)), 0);
	assert_int_equal(chmod(path, 0700), 0);
	snprintf(command, sizeof(command), "B='%s/build' DROVER_TEST_LIMIT=1 '%s/tests/run' '%s' 2>&1",
		 (const char *)*state, root && *root ? root : ".", path);
	pipe = popen(command, "r");
	assert_non_null(pipe);
	len = fread(output, 1, sizeof(output) - 1, pipe);
	output[len] = '\0';
	return WEXITSTATUS(pclose(pipe));
}

static void says(const char *words)
{
	if (!strstr(output, words))
		fail_msg("\"%s\" is not in the runner's output:\n%s", words, output);
}

static void a_good_program_passes_without_its_output(void **state)
{
	assert_int_equal(run(state, "echo chatter\n" GOOD), 0);
	says("unit/sample");
	says("1 programs: 1 tests passed, 0 failed, 0 skipped");
	assert_null(strstr(output, "chatter"));
}

static void a_failed_test_shows_the_whole_output(void **state)
{
	assert_int_equal(run(state, GOOD "echo '[ RUN      ] two'\necho the reason\necho '[  FAILED  ] two'\n"
					 "echo '[  FAILED  ] 1 test(s), listed below:'\n"
					 "echo '[  FAILED  ] two'\nexit 1"),
			 1);
	says("the reason");
	says("1 tests passed, 1 failed, 0 skipped");
	says("failed: unit/sample");
}

static void failures_count_even_when_the_status_is_zero(void **state)
{
	assert_int_equal(run(state, "echo '[ RUN      ] two'\necho '[  FAILED  ] two'\n"), 1);
	says("0 tests passed, 1 failed");
}

static void a_program_that_dies_has_failed(void **state)
{
	assert_int_equal(run(state, GOOD "echo '[ RUN      ] two'\nkill -SEGV $$"), 1);
	says("1 tests passed, 1 failed");
	assert_int_equal(run(state, GOOD "exit 7"), 1);
	says("ended with status 7");
	assert_int_equal(run(state, "echo '[ RUN      ] two'\nexit 0"), 1);
	says("0 tests passed, 1 failed");
}

static void skipped_tests_are_named_with_their_reason(void **state)
{
	assert_int_equal(run(state,
			     GOOD "echo '[ RUN      ] two'\necho 'skipped because: no moon tonight'\n"
				  "echo '[  SKIPPED ] two'\necho '[ RUN      ] three'\n"
				  "echo '[  SKIPPED ] three'\necho '[  SKIPPED ] 2 test(s), listed below:'\n"
				  "echo '[  SKIPPED ] two'\necho '[  SKIPPED ] three'"),
			 0);
	says("1 tests passed, 0 failed, 2 skipped");
	says("unit/sample: two: no moon tonight");
	says("unit/sample: three: no reason given");
}

static void a_file_left_behind_is_a_failure(void **state)
{
	assert_int_equal(run(state, GOOD "echo $TMPDIR >&2; mkdir $TMPDIR/dir; echo x >$TMPDIR/dir/file"), 1);
	says("left behind: ");
	says("/dir/file");
}

static void a_process_left_behind_is_a_failure_and_ended(void **state)
{
	const char *found;
	char path[64];
	void *data = NULL;
	size_t len;
	int pid = 0;

	/* In a session of its own, where no process group reaches it; the wait is for it to run under its name. */
	assert_int_equal(
	    run(state, GOOD "setsid sleep 1000 &\nuntil [ \"$(cat /proc/$!/comm)\" = sleep ]; do :; done"),
	    1);
	says("left behind: process ");
	found = strstr(output, "left behind: process ");
	assert_int_equal(sscanf(found, "left behind: process %d", &pid), 1);
	assert_non_null(strstr(found, "sleep 1000"));
	/* Gone, or dead and not yet collected by its new parent. */
	snprintf(path, sizeof(path), "/proc/%d/cmdline", pid);
	assert_true(io_read_file(path, 1000, &data, &len) < 0 || len == 0);
	free(data);
}

static void a_program_that_hangs_is_ended(void **state)
{
	assert_int_equal(run(state, GOOD "echo '[ RUN      ] two'\nsleep 1000"), 1);
	says("the limit of 1 s");
	says("1 tests passed, 1 failed");
}

static void programs_find_their_surroundings(void **state)
{
	assert_int_equal(run(state, "[ -f $DROVER_SRC/tests/run ] && [ -d $DROVER_BUILD/tests/unit ] &&\n"
				    "[ -z \"$(ls $TMPDIR)\" ] && [ ${#TMPDIR} -lt 100 ]\n"),
			 0);
	/* SIGINT is not ignored: what a shell starts in the background would have it so. */
	assert_int_equal(run(state, "grep '^SigIgn:.*0$' /proc/self/status"), 0);
}

#define RUN_TEST(test) cmocka_unit_test_setup_teardown(test, temp_setup, temp_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
	    RUN_TEST(a_good_program_passes_without_its_output),
	    RUN_TEST(a_failed_test_shows_the_whole_output),
	    RUN_TEST(failures_count_even_when_the_status_is_zero),
	    RUN_TEST(a_program_that_dies_has_failed),
	    RUN_TEST(skipped_tests_are_named_with_their_reason),
	    RUN_TEST(a_file_left_behind_is_a_failure),
	    RUN_TEST(a_process_left_behind_is_a_failure_and_ended),
	    RUN_TEST(a_program_that_hangs_is_ended),
	    RUN_TEST(programs_find_their_surroundings),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
