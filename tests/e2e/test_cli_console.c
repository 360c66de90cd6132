/* test_cli_console.c: the console on a terminal: raw while it lasts, as it was afterwards, whatever ends it. */
#include "common/io.h"
#include "tests/lib/cli.h"
#include "tests/lib/need.h"
#include "tests/lib/temp.h"
#include "tests/lib/test.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pty.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/wait.h>
#include <termios.h>
#include <unistd.h>

#define PATIENCE_NS 30000000000ull

static struct cli cli;

/* A drover command on a terminal of its own. */
struct terminal {
	int user;  /* what the user sees and types */
	int inner; /* the command's end, kept open so that its settings can be looked at */
	pid_t pid;
	struct termios before;
	char seen[65536];
	size_t len;
};
static struct terminal term;

static void start(const char *const words[])
{
	term.len = 0;
	term.seen[0] = '\0';
	assert_int_equal(openpty(&term.user, &term.inner, NULL, NULL, NULL), 0);
	assert_int_equal(tcgetattr(term.inner, &term.before), 0);
	term.pid = fork();
	if (term.pid == 0) {
		close(term.user);
		setsid();
		ioctl(term.inner, TIOCSCTTY, 0);
		for (int fd = 0; fd < 3; fd++)
			dup2(term.inner, fd);
		close(term.inner);
		alarm(60);
		execv(cli_program(), (char *const *)words);
		_exit(125);
	}
	assert_true(term.pid > 0);
}

/* see(text): until the command has shown text. */
static void see(const char *text)
{
	uint64_t until = clock_mono_ns() + PATIENCE_NS;

	while (!strstr(term.seen, text)) {
		struct pollfd fd = {.fd = term.user, .events = POLLIN};
		ssize_t len = 0;

		if (clock_mono_ns() > until)
			fail_msg("'%s' did not come, but: %s", text, term.seen);
		if (poll(&fd, 1, 1000) > 0)
			len = read(term.user, term.seen + term.len, sizeof(term.seen) - 1 - term.len);
		if (len > 0)
			term.len += (size_t)len;
		term.seen[term.len] = '\0';
	}
}

static bool is_raw(void)
{
	struct termios now;

	assert_int_equal(tcgetattr(term.inner, &now), 0);
	return !(now.c_lflag & (ICANON | ECHO | ISIG));
}

static void type(const char *text)
{
	assert_int_equal(write(term.user, text, strlen(text)), strlen(text));
}

/* finish(): the wait status of the command; the terminal must be as it was. */
static int finish(void)
{
	struct termios now;
	int status;

	assert_int_equal(waitpid(term.pid, &status, 0), term.pid);
	assert_int_equal(tcgetattr(term.inner, &now), 0);
	assert_int_equal(now.c_iflag, term.before.c_iflag);
	assert_int_equal(now.c_oflag, term.before.c_oflag);
	assert_int_equal(now.c_cflag, term.before.c_cflag);
	assert_int_equal(now.c_lflag, term.before.c_lflag);
	assert_memory_equal(now.c_cc, term.before.c_cc, sizeof(now.c_cc));
	close(term.user);
	close(term.inner);
	return status;
}

static char *kernel(void)
{
	static char path[4200];

	snprintf(path, sizeof(path), "%s", cli_program());
	strcpy(strrchr(path, '/'), "/guest/testguest.elf");
	return path;
}

static const char parameters[] = "fill=8M report=100";
static const char *const console[] = {"drover", "console", "g", NULL};

static void boot_detached(void)
{
	cli_run(&cli, "run", "--name", "g", "--memory", "32M", "--kernel", kernel(), "--append", parameters,
		"--detach", NULL);
	if (cli.status)
		fail_msg("%s", cli.err);
	assert_memory_equal(cli.out, "VM 'g' runs (pid ", 17);
}

static void check_state(const char *state)
{
	char expected[64];

	snprintf(expected, sizeof(expected), "\"state\": \"%s\"", state);
	cli_run_words(&cli, "status g --json");
	if (!strstr(cli.out, expected))
		fail_msg("the VM is not %s: %s%s", state, cli.out, cli.err);
}

static void ctrl_bracket_leaves_and_the_guest_runs_on(void **state)
{
	(void)state;
	need_kvm();
	boot_detached();
	start(console);
	see("drover-guest: seq=");
	assert_true(is_raw());
	type("echo typed\r");
	see("drover-guest: echo typed");
	type("\x03"); /* Ctrl-C is the guest's */
	type("\x1d");
	see("VM 'g' runs on; 'drover console g' comes back to it");
	assert_int_equal(finish(), 0);
	check_state("running");
}

static void a_signal_leaves_the_terminal_as_it_was(void **state)
{
	static const int signals[] = {SIGTERM, SIGHUP, SIGINT, SIGQUIT};

	(void)state;
	need_kvm();
	boot_detached();
	for (size_t i = 0; i < sizeof(signals) / sizeof(signals[0]); i++) {
		int status;

		start(console);
		see("drover-guest: seq=");
		assert_true(is_raw());
		kill(term.pid, signals[i]);
		status = finish();
		assert_true(WIFSIGNALED(status));
		assert_int_equal(WTERMSIG(status), signals[i]);
	}
	check_state("running");
}

static void the_end_of_the_guest_is_the_end_of_run(void **state)
{
	const char *const run[] = {"drover",   "run",    "--name",   "g",        "--memory", "32M",
				   "--kernel", kernel(), "--append", parameters, NULL};

	(void)state;
	need_kvm();
	start(run);
	/* From its first line on: the console misses nothing of what came before it was attached. */
	see("drover-guest: start ");
	see("drover-guest: seq=");
	type("quit\r");
	see("the guest of VM 'g' ended by a reset or power-off");
	assert_int_equal(finish(), 0);
	check_state("stopped");
}

static void stop_ends_an_attached_console(void **state)
{
	(void)state;
	need_kvm();
	boot_detached();
	start(console);
	see("drover-guest: seq=");
	cli_run_words(&cli, "kill g");
	assert_string_equal(cli.out, "VM 'g' is stopped\n");
	see("VM 'g' was stopped");
	assert_int_equal(finish(), 0);
	/* When stop returns the name is free. */
	boot_detached();
}

static void a_killed_vm_process_is_status_1(void **state)
{
	const char *pid;

	(void)state;
	need_kvm();
	boot_detached();
	pid = strstr(cli.out, "(pid ");
	start(console);
	see("drover-guest: seq=");
	assert_int_equal(kill(atoi(pid + 5), SIGKILL), 0);
	see("the process of VM 'g' ended without a word");
	assert_int_equal(finish(), 1 << 8);
	check_state("down");
}

static bool two_commands(void)
{
	int typed[2];

	return !pipe(typed) && write(typed[1], "echo piped\nquit\n", 16) == 16 && !close(typed[1]) &&
	       dup2(typed[0], STDIN_FILENO) == STDIN_FILENO;
}

static void a_pipe_is_typed_and_its_end_ends_only_the_typing(void **state)
{
	(void)state;
	need_kvm();
	boot_detached();
	cli_run_in(&cli, two_commands, "console g");
	assert_int_equal(cli.status, 0);
	assert_non_null(strstr(cli.out, "drover-guest: echo piped"));
	assert_non_null(strstr(cli.out, "drover-guest: quit errors=0"));
	cli_expect(&cli, 0, "the guest of VM 'g' ended by a reset or power-off");
}

/* So fast that it may be over before the console is attached; nothing on stdin, as under a service manager. */
static void a_guest_that_ends_at_once_is_shown_too(void **state)
{
	char words[4400];

	(void)state;
	need_kvm();
	snprintf(words, sizeof(words), "run --name g --memory 32M --kernel %s --append nonsense=1", kernel());
	for (int i = 0; i < 10; i++) {
		cli_run_words(&cli, words);
		assert_string_equal(cli.out, "guest: bad parameter 'nonsense=1'\n");
		cli_expect(&cli, 0, "ended by a reset or power-off");
	}
}

static int open_host(void **state)
{
	if (temp_setup(state))
		return -1;
	cli_open(*state);
	return 0;
}

static int close_host(void **state)
{
	cli_run_words(&cli, "kill g");
	return temp_teardown(state);
}

#define HOST_TEST(f) cmocka_unit_test_setup_teardown(f, open_host, close_host)

int main(void)
{
	const struct CMUnitTest tests[] = {
	    HOST_TEST(ctrl_bracket_leaves_and_the_guest_runs_on),
	    HOST_TEST(a_signal_leaves_the_terminal_as_it_was),
	    HOST_TEST(the_end_of_the_guest_is_the_end_of_run),
	    HOST_TEST(stop_ends_an_attached_console),
	    HOST_TEST(a_killed_vm_process_is_status_1),
	    HOST_TEST(a_pipe_is_typed_and_its_end_ends_only_the_typing),
	    HOST_TEST(a_guest_that_ends_at_once_is_shown_too),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
