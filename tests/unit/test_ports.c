/* test_ports.c: the sockets of a VM's ports: where they are, that they replace what a killed process left, that they go. */
#include "common/paths.h"
#include "tests/lib/temp.h"
#include "tests/lib/test.h"
#include "vmm/config.h"
#include "vmm/leftovers.h"
#include "vmm/ports.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

static char *run_before;

static int setup(void **state)
{
	const char *run = getenv("DROVER_RUN");
	run_before = run ? strdup(run) : NULL;
	if (temp_setup(state))
		return -1;
	return setenv("DROVER_RUN", *state, 1);
}

static int teardown(void **state)
{
	if (run_before)
		setenv("DROVER_RUN", run_before, 1);
	else
		unsetenv("DROVER_RUN");
	free(run_before);
	return temp_teardown(state);
}

static void test_listen(void **state)
{
	static const char port[] = "org.qemu.guest_agent.0";
	struct sockaddr_un at = {.sun_family = AF_UNIX};
	struct err err = {0};
	struct stat folder;
	char path[PATHS_MAX];

	int before = ports_listen("vm", port, &err);
	assert_true(before >= 0);
	close(before); /* and the socket is still in the folder */
	int fd = ports_listen("vm", port, &err);
	assert_true(fd >= 0);
	assert_in_range(
	    snprintf(at.sun_path, sizeof(at.sun_path), "%s/vms/vm.ports/%s", (char *)*state, port), 1,
	    sizeof(at.sun_path) - 1);
	int client = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	assert_int_equal(connect(client, (struct sockaddr *)&at, sizeof(at)), 0);
	assert_int_equal(paths_vm_ports("vm", NULL, path, &err), 0);
	assert_int_equal(stat(path, &folder), 0);
	assert_int_equal(folder.st_mode & 0777, 0700);
	close(client);
	close(fd);
	leftovers_sockets("vm");
	assert_int_not_equal(stat(path, &folder), 0);
}

static void test_too_long(void **state)
{
	struct err err = {0};
	char port[CONFIG_PORT_MAX + 1];
	(void)state;
	memset(port, 'x', CONFIG_PORT_MAX);
	port[CONFIG_PORT_MAX] = 0;
	assert_int_equal(ports_listen("a-name-of-some-length-that-nobody-would-like-to-type", port, &err),
			 -1);
	assert_int_equal(err.kind, ERR_USAGE);
	assert_non_null(strstr(err.text, "set DROVER_RUN to a shorter path"));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test_setup_teardown(test_listen, setup, teardown),
	    cmocka_unit_test_setup_teardown(test_too_long, setup, teardown),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
