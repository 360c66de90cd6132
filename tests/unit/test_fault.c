/* test_fault.c: a fault happens at its point, once, and a misspelt one is never silently no fault at all.  Each
 * case runs in a child of its own, since faults are read once a process. */
#include "common/fault.h"
#include "common/io.h"
#include "tests/lib/test.h"

#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

enum { FINE = 42 };

/* Run check() in a child that has DROVER_FAULT=value; returns its wait status. */
static int status_with(const char *value, bool (*check)(void))
{
	pid_t pid;
	int status;

	if (value)
		setenv("DROVER_FAULT", value, 1);
	else
		unsetenv("DROVER_FAULT");
	pid = fork();
	assert_true(pid >= 0);
	if (pid == 0) {
		/* What a refusal says belongs into this test's output only when the test fails. */
		close(STDERR_FILENO);
		fault_open();
		_exit(check() ? FINE : 1);
	}
	unsetenv("DROVER_FAULT");
	assert_int_equal(waitpid(pid, &status, 0), pid);
	return status;
}

static void fine_with(const char *value, bool (*check)(void))
{
	int status = status_with(value, check);

	if (!WIFEXITED(status) || WEXITSTATUS(status) != FINE)
		fail_msg("DROVER_FAULT=%s: wait status 0x%x", value ? value : "(unset)",
			 (unsigned int)status);
}

static bool nothing_happens(void)
{
	for (int id = 0; id < FAULT_COUNT; id++) {
		if (fault_point((enum fault_point_id)id))
			return false;
	}
	return !fault_is_cut();
}

static bool error_at_two_points_once(void)
{
	return !fault_point(FAULT_MOVER_CONNECTED) && fault_point(FAULT_SERVE_HELLO) && !fault_is_cut() &&
	       !fault_point(FAULT_SERVE_HELLO) && fault_point(FAULT_DEST_RUNNING) && nothing_happens();
}

static bool cut_then_error(void)
{
	return !fault_is_cut() && fault_point(FAULT_SERVE_HELLO) && fault_is_cut() &&
	       !fault_point(FAULT_SERVE_HELLO) && fault_is_cut() && fault_point(FAULT_DEST_RUNNING) &&
	       !fault_is_cut();
}

static bool reached_point(void)
{
	fault_point(FAULT_DEST_PROMISED);
	return true;
}

static void no_variable_no_fault(void **state)
{
	(void)state;
	fine_with(NULL, nothing_happens);
	fine_with("", nothing_happens);
}

static void error_makes_its_point_true_once(void **state)
{
	(void)state;
	fine_with("serve.hello=error,dest.running=error", error_at_two_points_once);
}

static void cut_is_told_apart_from_error(void **state)
{
	(void)state;
	fine_with("serve.hello=cut,dest.running=error", cut_then_error);
}

static void kill_ends_the_process_at_its_point(void **state)
{
	int status = status_with("dest.promised=kill", reached_point);

	(void)state;
	assert_true(WIFSIGNALED(status));
	assert_int_equal(WTERMSIG(status), SIGKILL);
	fine_with("dest.machine=kill", reached_point);
}

static void stop_stops_the_process_which_can_go_on(void **state)
{
	pid_t pid;
	int status;

	(void)state;
	setenv("DROVER_FAULT", "dest.promised=stop", 1);
	pid = fork();
	assert_true(pid >= 0);
	if (pid == 0) {
		fault_open();
		_exit(fault_point(FAULT_DEST_PROMISED) || fault_is_cut() ? 1 : FINE);
	}
	unsetenv("DROVER_FAULT");
	assert_int_equal(waitpid(pid, &status, WUNTRACED), pid);
	assert_true(WIFSTOPPED(status));
	kill(pid, SIGCONT);
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(WIFEXITED(status));
	assert_int_equal(WEXITSTATUS(status), FINE);
}

static void what_is_not_understood_ends_the_process(void **state)
{
	static const char *const bad[] = {
	    "serve.hello",
	    "serve.hello=",
	    "serve.hello=explode",
	    "nowhere=error",
	    "=error",
	    ",",
	    "serve.hello=error,",
	    ",serve.hello=error",
	    "serve.hello =error",
	    "serve.hello=error ",
	    "serve.hell=error",
	    "serve.hello=erro",
	    "serve.hello,=error",
	    "SERVE.HELLO=error",
	    "serve.hello=error=x",
	    "dest.running=cut,serve.hello",
	    "serve.hello=cut,serve.hello=cut",
	};

	(void)state;
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		int status = status_with(bad[i], nothing_happens);

		if (!WIFEXITED(status) || WEXITSTATUS(status) != 2)
			fail_msg("DROVER_FAULT=%s: wait status 0x%x", bad[i], (unsigned int)status);
	}
}

static void the_refusal_shows_what_was_wrong(void **state)
{
	char text[256] = "";
	int pipe_fds[2];
	pid_t pid;

	(void)state;
	assert_int_equal(pipe(pipe_fds), 0);
	setenv("DROVER_FAULT", "serve.hello=cut,serve.hallo=cut", 1);
	pid = fork();
	assert_true(pid >= 0);
	if (pid == 0) {
		dup2(pipe_fds[1], STDERR_FILENO);
		fault_open();
		_exit(FINE);
	}
	unsetenv("DROVER_FAULT");
	close(pipe_fds[1]);
	assert_true(io_read_full(pipe_fds[0], text, sizeof(text) - 1) > 0);
	assert_int_equal(waitpid(pid, NULL, 0), pid);
	close(pipe_fds[0]);
	assert_non_null(strstr(text, "DROVER_FAULT: \"serve.hallo=cut\" names no fault point"));
}

static enum fault_point_id wanted_point;
static bool only_wanted_point(void)
{
	for (int id = 0; id < FAULT_COUNT; id++) {
		if (fault_point((enum fault_point_id)id) != (id == (int)wanted_point))
			return false;
	}
	return true;
}

static void every_point_has_a_name_of_its_own(void **state)
{
	(void)state;
	for (int id = 0; id < FAULT_COUNT; id++) {
		char value[128] = "";

		wanted_point = (enum fault_point_id)id;
		strncat(value, fault_name(wanted_point), sizeof(value) - sizeof("=error"));
		strcat(value, "=error");
		fine_with(value, only_wanted_point);
	}
	assert_string_equal(fault_name(FAULT_COUNT), "?");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(no_variable_no_fault),
	    cmocka_unit_test(error_makes_its_point_true_once),
	    cmocka_unit_test(cut_is_told_apart_from_error),
	    cmocka_unit_test(kill_ends_the_process_at_its_point),
	    cmocka_unit_test(stop_stops_the_process_which_can_go_on),
	    cmocka_unit_test(what_is_not_understood_ends_the_process),
	    cmocka_unit_test(the_refusal_shows_what_was_wrong),
	    cmocka_unit_test(every_point_has_a_name_of_its_own),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
