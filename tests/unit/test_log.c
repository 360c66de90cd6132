/* test_log.c: what reaches stderr.  A socket that keeps messages apart stands in for stderr, so that the test
 * sees how many writes a line takes. */
#include "common/log.h"
#include "tests/lib/test.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

static int real_stderr;
static int other_end;

static int catch_stderr(void **state)
{
	int pair[2];

	(void)state;
	if (socketpair(AF_UNIX, SOCK_SEQPACKET, 0, pair) < 0)
		return -1;
	real_stderr = dup(STDERR_FILENO);
	dup2(pair[0], STDERR_FILENO);
	close(pair[0]);
	other_end = pair[1];
	return 0;
}

static int give_stderr_back(void **state)
{
	(void)state;
	dup2(real_stderr, STDERR_FILENO);
	close(real_stderr);
	close(other_end);
	unsetenv("DROVER_LOG");
	return 0;
}

/* The next write to stderr as a string; "" when there was none. */
static const char *next_write(void)
{
	static char text[8192];
	ssize_t len = recv(other_end, text, sizeof(text) - 1, MSG_DONTWAIT);

	text[len > 0 ? len : 0] = '\0';
	return text;
}

static void a_line_is_one_write(void **state)
{
	(void)state;
	log_open("drover-vm");
	log_error("slot %d of %s", 3, "ledger");
	assert_string_equal(next_write(), "drover-vm: slot 3 of ledger\n");
	assert_string_equal(next_write(), "");
}

static void the_level_decides(void **state)
{
	static const char *const levels[] = {"error", "warning", "info", "debug"};

	(void)state;
	for (int wanted = LOG_ERROR; wanted <= LOG_DEBUG; wanted++) {
		setenv("DROVER_LOG", levels[wanted], 1);
		log_open("p");
		for (int level = LOG_ERROR; level <= LOG_DEBUG; level++) {
			log_at((enum log_level)level, "x");
			assert_string_equal(next_write(), level <= wanted ? "p: x\n" : "");
		}
	}
	unsetenv("DROVER_LOG");
	log_open("p");
	log_info("not by default");
	assert_string_equal(next_write(), "");
	log_warning("by default");
	assert_string_equal(next_write(), "p: by default\n");
}

static void an_unknown_level_is_said_and_taken_as_warning(void **state)
{
	(void)state;
	setenv("DROVER_LOG", "loud", 1);
	log_open("p");
	assert_non_null(strstr(next_write(), "DROVER_LOG=loud"));
	log_info("quiet");
	assert_string_equal(next_write(), "");
}

static void a_hostile_text_stays_one_line(void **state)
{
	(void)state;
	log_open("p");
	log_error("guest says %s", "\x1b[2J\nfake: line\r");
	assert_string_equal(next_write(), "p: guest says ?[2J?fake: line?\n");
}

static void a_long_line_is_cut(void **state)
{
	char text[5000];
	const char *line;

	(void)state;
	memset(text, 'x', sizeof(text));
	text[sizeof(text) - 1] = '\0';
	log_open("p");
	log_error("%s", text);
	line = next_write();
	assert_true(strlen(line) <= 2048);
	assert_string_equal(line + strlen(line) - 5, "x...\n");
	assert_string_equal(next_write(), "");
}

static void errno_stays(void **state)
{
	(void)state;
	log_open("p");
	errno = ENOTTY;
	log_error("%s", "x");
	assert_int_equal(errno, ENOTTY);
	next_write();
}

#define LOG_TEST(test) cmocka_unit_test_setup_teardown(test, catch_stderr, give_stderr_back)

int main(void)
{
	const struct CMUnitTest tests[] = {
	    LOG_TEST(a_line_is_one_write),
	    LOG_TEST(the_level_decides),
	    LOG_TEST(an_unknown_level_is_said_and_taken_as_warning),
	    LOG_TEST(a_hostile_text_stays_one_line),
	    LOG_TEST(a_long_line_is_cut),
	    LOG_TEST(errno_stays),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
