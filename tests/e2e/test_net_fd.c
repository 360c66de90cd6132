/* A VM's tap as an open descriptor: drover gets it from whoever starts it, and the VM process from drover; what is no such tap is
 * refused. */
#include "tests/lib/cli.h"
#include "tests/lib/need.h"
#include "tests/lib/netns.h"
#include "tests/lib/temp.h"
#include "tests/lib/test.h"

#include <fcntl.h>
#include <jansson.h>
#include <linux/if_tun.h>
#include <net/if.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

enum { NUMBER = 7 };
static struct cli cli;
static char folder[TEMP_MAX], words[6000];
static int given = -1; /* what the command gets as NUMBER */

static int setup(void **state)
{
	char kernel[4200];
	(void)state;
	need_root("make network interfaces");
	need_kvm();
	temp_make(folder);
	cli_open(folder);
	netns_enter();
	netns_tap("dt0");
	snprintf(kernel, sizeof(kernel), "%s", cli_program());
	strcpy(strrchr(kernel, '/'), "/guest/testguest.elf");
	snprintf(words, sizeof(words), "run --name g --memory 32M --detach --kernel %s --net ", kernel);
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	cli_run_words(&cli, "kill g --force");
	netns_delete("dt0");
	temp_remove(folder);
	return 0;
}

static bool give(void)
{
	return dup2(given, NUMBER) == NUMBER;
}

static int open_tap(short flags)
{
	struct ifreq request = {.ifr_name = "dt0", .ifr_flags = flags};
	int fd = open("/dev/net/tun", O_RDWR | O_CLOEXEC);
	assert_true(fd >= 0);
	assert_int_equal(ioctl(fd, TUNSETIFF, &request), 0);
	return fd;
}

static void run(const char *net)
{
	char all[sizeof(words) + 100];
	snprintf(all, sizeof(all), "%s%s", words, net);
	cli_run_in(&cli, given >= 0 ? give : NULL, all);
}

static void test_runs(void **state)
{
	(void)state;
	given = open_tap(IFF_TAP | IFF_NO_PI | IFF_VNET_HDR);
	run("fd=7,mac=52:54:00:00:00:07");
	if (cli.status)
		fail_msg("%s", cli.err);
	close(given);
	given = -1;
	/* It is the VM process that holds it now. */
	netns_running("dt0");
	cli_run_words(&cli, "status g --json");
	assert_int_equal(cli.status, 0);
	json_t *status = json_loads(cli.out, 0, NULL);
	json_t *device = json_array_get(json_object_get(status, "devices"), 0);
	assert_string_equal(json_string_value(json_object_get(device, "tap")), "dt0");
	assert_string_equal(json_string_value(json_object_get(device, "mac")), "52:54:00:00:00:07");
	json_decref(status);
	cli_run_words(&cli, "kill g");
	assert_int_equal(cli.status, 0);
	/* And nobody does when it is over: by its name it can be had again. */
	run("dt0");
	assert_int_equal(cli.status, 0);
}

static void test_refused(void **state)
{
	int pair[2];
	(void)state;
	run("fd=99");
	cli_expect(&cli, 1, "--net fd=99: descriptor 99 is not open");
	run("fd=2");
	cli_expect(&cli, 2, "'fd=2' is not the number of a descriptor");
	run("fd=");
	cli_expect(&cli, 2, "'fd=' is not the number of a descriptor");
	run("fd=7x,mac=52:54:00:00:00:07");
	cli_expect(&cli, 2, "is not the number of a descriptor");
	assert_int_equal(pipe2(pair, O_CLOEXEC), 0);
	given = pair[0];
	run("fd=7");
	cli_expect(&cli, 1, "descriptor 7 is no tap");
	close(pair[0]);
	close(pair[1]);
	given = open_tap(IFF_TAP | IFF_NO_PI);
	run("fd=7");
	cli_expect(&cli, 1, "descriptor 7: tap dt0 was opened without IFF_VNET_HDR");
	close(given);
	given = -1;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test_setup_teardown(test_runs, setup, teardown),
	    cmocka_unit_test_setup_teardown(test_refused, setup, teardown),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
