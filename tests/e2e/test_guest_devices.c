/* test_guest_devices.c: the test guest's own drivers on drover's devices, from the command line: it reads back what it
 * wrote to a disk, what it said was flushed outlives it, and frames pass between two guests. */
#include "common/io.h"
#include "tests/lib/host.h"
#include "tests/lib/need.h"
#include "tests/lib/netns.h"
#include "tests/lib/temp.h"
#include "tests/lib/test.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

enum { PATIENCE_S = 60 };

static char folder[TEMP_MAX], disk[TEMP_MAX + 16];
static struct host host;

static int setup(void **state)
{
	(void)state;
	if (!need_kvm())
		return -1;
	temp_make(folder);
	host_open(&host, folder, "a");
	snprintf(disk, sizeof(disk), "%s/disk.dvol", folder);
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	host_close(&host);
	temp_remove(folder);
	return 0;
}

/* start: a guest with this device and these words. */
static void start(const char *vm, const char *option, const char *device, const char *words)
{
	char kernel[512];
	snprintf(kernel, sizeof(kernel), "%s/guest/testguest.elf", host_build());
	host_must(&host, "run", "--name", vm, "--memory", "64M", "--kernel", kernel, "--append", words,
		  option, device, "--detach", NULL);
}

static void console_path(const char *vm, char path[HOST_PATH + 64])
{
	snprintf(path, HOST_PATH + 64, "%s/state/vms/%s/console.log", host.root, vm);
}

/* console: what the guest has said so far; the caller frees. */
static char *console(const char *vm)
{
	char path[HOST_PATH + 64];
	void *text = NULL;
	size_t len;
	console_path(vm, path);
	if (io_read_file(path, 1 << 20, &text, &len))
		return strdup("");
	return text;
}

/* wait_line: the last complete line of the guest's with this in it, once there is one; key's number in it.  A line about an error
 * fails the test. */
static uint64_t wait_line(const char *vm, const char *what, const char *key)
{
	uint64_t until = clock_mono_ns() + PATIENCE_S * 1000000000ull;
	const struct timespec moment = {.tv_nsec = 2000000};
	for (;;) {
		char *text = console(vm), *found = NULL;
		if (strstr(text, "ERROR") || strstr(text, "EXCEPTION") || strstr(text, "\nguest: "))
			fail_msg("%s", text);
		for (char *at = text; (at = strstr(at, what)) && strchr(at, '\n'); at++)
			found = at;
		char *number = found ? strstr(found, key) : NULL;
		uint64_t value = number ? strtoull(number + strlen(key), NULL, 10) : 0;
		if (found && !number)
			fail_msg("no %s: %s", key, found);
		if (!found && clock_mono_ns() > until)
			fail_msg("'%s' never came: %s", what, text);
		free(text);
		if (found)
			return value;
		nanosleep(&moment, NULL);
	}
}

/* wait_flushed: until the guest has flushed so many records; the number that it says. */
static uint64_t wait_flushed(const char *vm, uint64_t least)
{
	uint64_t flushed;
	do
		flushed = wait_line(vm, "log flushed=", "flushed=");
	while (flushed < least);
	return flushed;
}

/* Numbered records, each read back, round and round on a small part of a volume that was just made.  The VM is killed at any
 * moment; every record that it said was flushed is there for the next one, which goes on behind them. */
static void test_disk_log(void **state)
{
	(void)state;
	static const char log[] = "io=disk-log qd=8 span=4M report=20";
	char words[128];
	uint64_t flushed = 0;
	host_must(&host, "image", "create", disk, "64M", NULL);
	for (unsigned i = 0; i < 4; i++) {
		char path[HOST_PATH + 64];
		start("log", "--disk", disk, log);
		uint64_t found = wait_line("log", "log found=", "found=");
		if (found < flushed)
			fail_msg("record %llu was flushed, and %llu is the last one there",
				 (unsigned long long)flushed, (unsigned long long)found);
		flushed = wait_flushed("log", flushed + 300);
		host_must(&host, "kill", "log", NULL);
		host_wait_state(&host, "log", "none");
		/* What it said last before it died. */
		flushed = wait_flushed("log", flushed);
		console_path("log", path);
		assert_int_equal(unlink(path), 0);
	}
	snprintf(words, sizeof(words), "io=disk-verify qd=8 span=4M flushed=%llu",
		 (unsigned long long)flushed);
	start("verify", "--disk", disk, words);
	assert_int_equal(wait_line("verify", "log verified=", "errors="), 0);
	host_wait_state(&host, "verify", "none");
	host_must(&host, "image", "check", "--verify", disk, NULL);
}

/* A log that misses what it said it had is told apart. */
static void test_disk_log_tells(void **state)
{
	(void)state;
	host_must(&host, "image", "create", disk, "64M", NULL);
	start("log", "--disk", disk, "io=disk-log qd=8 span=4M report=20");
	wait_flushed("log", 100);
	host_must(&host, "kill", "log", NULL);
	host_wait_state(&host, "log", "none");
	start("verify", "--disk", disk, "io=disk-verify qd=8 span=4M flushed=1000000000");
	host_wait_state(&host, "verify", "none");
	char *text = console("verify");
	assert_non_null(strstr(text, "drover-guest: ERROR log lost record="));
	free(text);
}

/* The measured loads: every request goes well. */
static void test_disk_loads(void **state)
{
	(void)state;
	static const char *const loads[] = {
	    "io=randwrite qd=32 seconds=1 span=16M", "io=randread qd=32 seconds=1",
	    "io=write bs=64K qd=8 seconds=1 span=16M", "io=read bs=512 qd=1 seconds=1"};
	host_must(&host, "image", "create", disk, "64M", NULL);
	for (unsigned i = 0; i < sizeof(loads) / sizeof(loads[0]); i++) {
		char vm[8];
		snprintf(vm, sizeof(vm), "load%u", i);
		start(vm, "--disk", disk, loads[i]);
		assert_int_not_equal(wait_line(vm, "io ops=", "ops="), 0);
		assert_int_equal(wait_line(vm, "io ops=", "errors="), 0);
		host_wait_state(&host, vm, "none");
	}
}

static void test_frames_pass(void **state)
{
	(void)state;
	need_root("taps");
	netns_enter();
	netns_bridge("br");
	netns_tap("tap0");
	netns_tap("tap1");
	netns_join("br", "tap0");
	netns_join("br", "tap1");
	start("receive", "--net", "tap0", "net=receive");
	start("send", "--net", "tap1", "net=send qd=16 frame=600 seconds=1");
	assert_int_not_equal(wait_line("send", "net sent acked=", "acked="), 0);
	assert_int_equal(wait_line("send", "net sent acked=", "errors="), 0);
	/* All came whole, once, and in their order. */
	assert_int_equal(wait_line("receive", "net received frames=", "errors="), 0);
	assert_int_not_equal(wait_line("receive", "net received frames=", "frames="), 0);
	host_wait_state(&host, "send", "none");
	host_wait_state(&host, "receive", "none");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test_setup_teardown(test_disk_log, setup, teardown),
	    cmocka_unit_test_setup_teardown(test_disk_log_tells, setup, teardown),
	    cmocka_unit_test_setup_teardown(test_disk_loads, setup, teardown),
	    cmocka_unit_test_setup_teardown(test_frames_pass, setup, teardown),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
