/* The sockets of a VM's named ports, as its process has them: where they are and whose, who gets through when the guest has no
 * driver for them, and that they are gone with the VM; what a killed process left is replaced. */
#include "common/io.h"
#include "tests/lib/cli.h"
#include "tests/lib/need.h"
#include "tests/lib/temp.h"
#include "tests/lib/test.h"

#include <errno.h>
#include <jansson.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <unistd.h>

static struct cli cli;
static char folder[TEMP_MAX];

static int setup(void **state)
{
	char path[TEMP_MAX + 16], text[5000], kernel[4200];
	(void)state;
	if (!need_kvm())
		return -1;
	temp_make(folder);
	cli_open(folder);
	snprintf(kernel, sizeof(kernel), "%s", cli_program());
	strcpy(strrchr(kernel, '/'), "/guest/testguest.elf");
	snprintf(text, sizeof(text),
		 "memory: 32M\nkernel: %s\nconsole-ports: [org.qemu.guest_agent.0, log]\n", kernel);
	snprintf(path, sizeof(path), "%s/g.yaml", folder);
	assert_int_equal(io_replace_file(path, text, strlen(text)), 0);
	cli_run(&cli, "create", "g", "-f", path, NULL);
	assert_int_equal(cli.status, 0);
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	cli_run_words(&cli, "kill g --force");
	temp_remove(folder);
	return 0;
}

static struct sockaddr_un address(const char *port)
{
	struct sockaddr_un at = {.sun_family = AF_UNIX};
	assert_in_range(snprintf(at.sun_path, sizeof(at.sun_path), "%s/run/vms/g.ports%s%s", folder,
				 *port ? "/" : "", port),
			1, sizeof(at.sun_path) - 1);
	return at;
}

static bool there(const char *port)
{
	return !access(address(port).sun_path, F_OK);
}

static int client(const char *port)
{
	struct sockaddr_un at = address(port);
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (connect(fd, (struct sockaddr *)&at, sizeof(at)))
		fail_msg("%s: %s", at.sun_path, strerror(errno));
	return fd;
}

/* A socket of a VM process that ended, or gave its turn to nobody: its end is seen within five seconds. */
static void ends(int fd)
{
	struct pollfd end = {.fd = fd, .events = POLLIN};
	char some[16];
	assert_int_equal(poll(&end, 1, 5000), 1);
	assert_true(read(fd, some, sizeof(some)) <= 0);
	close(fd);
}

static void start(void)
{
	cli_run_words(&cli, "start g");
	if (cli.status)
		fail_msg("%s", cli.err);
}

static void test_life(void **state)
{
	struct stat st;
	(void)state;
	assert_false(there(""));
	start();
	assert_int_equal(stat(address("").sun_path, &st), 0);
	assert_int_equal(st.st_mode & 0777, 0700);
	assert_true(there("org.qemu.guest_agent.0"));
	/* One is served, one waits for its turn: neither is turned away, and what is said before the guest listens is kept. */
	int first = client("log"), second = client("log"), agent = client("org.qemu.guest_agent.0");
	assert_int_equal(write(first, "early", 5), 5);
	struct pollfd quiet[] = {{.fd = first, .events = POLLIN}, {.fd = second, .events = POLLIN}};
	assert_int_equal(poll(quiet, 2, 0), 0);
	cli_run_words(&cli, "kill g");
	assert_int_equal(cli.status, 0);
	ends(first);
	ends(second);
	ends(agent);
	assert_false(there("log"));
	assert_false(there(""));
}

static void test_killed(void **state)
{
	(void)state;
	start();
	cli_run_words(&cli, "status g --json");
	json_t *status = json_loads(cli.out, 0, NULL);
	pid_t pid = (pid_t)json_integer_value(json_object_get(status, "pid"));
	json_decref(status);
	int fd = client("log");
	struct pollfd process = {.fd = (int)syscall(SYS_pidfd_open, pid, 0), .events = POLLIN};
	assert_true(process.fd >= 0);
	assert_int_equal(kill(pid, SIGKILL), 0);
	assert_int_equal(poll(&process, 1, 10000), 1);
	close(process.fd);
	ends(fd);
	/* The next process has sockets of its own there. */
	start();
	fd = client("log");
	cli_run_words(&cli, "kill g");
	ends(fd);
	assert_false(there(""));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test_setup_teardown(test_life, setup, teardown),
	    cmocka_unit_test_setup_teardown(test_killed, setup, teardown),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
