/* test_replicate_faults.c: a cycle that is cut short at any of its steps, on either side, leaves the points that there were, whole; and the next
 * cycle brings one that has all that the guest was told is on its disk. */
#include "common/fault.h"
#include "common/io.h"
#include "tests/lib/diskhost.h"
#include "tests/lib/need.h"
#include "tests/lib/pair.h"
#include "tests/lib/test.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static char disk[TEMP_MAX + 16], output[HOST_OUTPUT];

/* What `drover serve` there is to run into; NULL: nothing. */
static void add_peer(const char *fault)
{
	char command[sizeof(world.serve) + HOST_PATH + 96], trace[HOST_PATH + 16];

	snprintf(trace, sizeof(trace), "%s/fault-trace", world.b.root);
	snprintf(command, sizeof(command), "env DROVER_FAULT=%s DROVER_FAULT_TRACE=%s %s", fault ? fault : "",
		 trace, world.serve);
	host_must(&world.a, "peer", "add", "b", world.url, "--identity", world.sshd.identity, "--known-hosts",
		  world.sshd.known_hosts, "--remote-command", command, NULL);
}

static size_t points_on(const struct host *host, char newest[32])
{
	static struct command command;
	const char *const words[] = {"drover", "points", "g", "--json", NULL};
	json_t *json, *list;
	size_t count;

	command_start(&command, host, NULL, words);
	command_must_succeed(&command);
	json = json_loads(command.output, JSON_DISABLE_EOF_CHECK, NULL);
	list = json_object_get(json, "points");
	count = json_array_size(list);
	if (count)
		snprintf(newest, 32, "%s",
			 json_string_value(json_object_get(json_array_get(list, count - 1), "point")));
	json_decref(json);
	return count;
}

/* When the session that wrote to it is over. */
static void check_idle(const char *copy)
{
	uint64_t until = clock_mono_ns() + 20 * 1000000000ull;

	while (host_drover(&world.b, output, "image", "check", copy, NULL)) {
		if (!strstr(output, "is in use") || clock_mono_ns() > until)
			fail_msg("%s", output);
		usleep(20000);
	}
}

static void newest_has(uint64_t flushed)
{
	char copy[DISKHOST_PATH], look[TEMP_MAX + 16], point[32] = "";

	points_on(&world.b, point);
	diskhost_copy(&world.b, "g", copy);
	snprintf(look, sizeof(look), "%s/look.dvol", world.folder);
	host_must(&world.b, "image", "convert", copy, look, "--epoch", point, NULL);
	diskhost_verify(&world.b, look, flushed);
	unlink(look);
	check_idle(copy);
}

static void one_case(enum fault_point_id id, const char *action)
{
	static struct command command;
	static const char *const words[] = {"drover", "job", "run-now", "g", NULL};
	bool remote = id >= FAULT_POINT_BEGUN;
	char fault[64], point[32], what[96];
	size_t before = points_on(&world.b, point), after;
	uint64_t flushed;
	int status;

	snprintf(fault, sizeof(fault), "%s=%s", fault_name(id), action);
	add_peer(remote ? fault : NULL);
	diskhost_wait(&world.a, "g", diskhost_flushed(&world.a, "g") + 30);
	command_start(&command, &world.a, remote ? NULL : fault, words);
	status = command_wait(&command);
	snprintf(what, sizeof(what), "%s: exits %d", fault, status);
	if (!host_fault_fired(remote ? &world.b : &world.a, fault_name(id)))
		fail_msg("%s: nothing passed that point: %s", what, command.output);
	after = points_on(&world.b, point);
	print_message("  %-28s exits %3d, %zu points more\n", fault, status, after - before);
	if (after < before || after > before + 2 || (status == 0 && after == before))
		fail_msg("%s: %zu points, and %zu before: %s", what, after, before, command.output);
	add_peer(NULL);
	flushed = diskhost_flushed(&world.a, "g");
	if (host_drover(&world.a, output, "job", "run-now", "g", NULL))
		fail_msg("%s: the cycle after that: %s", what, output);
	newest_has(flushed);
	assert_int_equal(points_on(&world.a, point), 1);
}

static void cut_short_at_every_step(void **state)
{
	static const char *const actions[] = {"kill", "cut", "error"};

	(void)state;
	need_kvm();
	add_peer(NULL);
	diskhost_make(&world.a, disk, "32M", 4 << 20);
	diskhost_start(&world.a, "g", NULL, disk, "");
	host_must(&world.a, "protect", "g", "b", "--rpo", "1m", "--keep", "all", NULL);
	host_must(&world.a, "job", "run-now", "g", NULL);
	for (int id = FAULT_POINT_CUT; id <= FAULT_POINT_RECORDED; id++)
		for (size_t k = 0; k < sizeof(actions) / sizeof(actions[0]); k++)
			one_case((enum fault_point_id)id, actions[k]);
	host_must(&world.a, "kill", "g", NULL);
}

/* Of the very first point nothing is there yet. */
static void the_first_one_cut_short(void **state)
{
	static struct command command;
	static const char *const words[] = {"drover", "job", "run-now", "g", NULL};
	static const char *const faults[] = {"point.ready=kill", "point.sent=kill"};

	(void)state;
	need_kvm();
	add_peer(NULL);
	diskhost_make(&world.a, disk, "32M", 4 << 20);
	diskhost_start(&world.a, "g", NULL, disk, "");
	host_must(&world.a, "protect", "g", "b", "--rpo", "1m", "--keep", "all", NULL);
	for (size_t i = 0; i < 2; i++) {
		command_start(&command, &world.a, faults[i], words);
		assert_int_equal(command_wait(&command), 137);
	}
	if (host_drover(&world.a, output, "job", "run-now", "g", NULL))
		fail_msg("the cycle after that: %s", output);
	newest_has(1);
	host_must(&world.a, "kill", "g", NULL);
}

static int setup(void **state)
{
	if (pair_open(state))
		return -1;
	snprintf(disk, sizeof(disk), "%s/disk.dvol", world.folder);
	return 0;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test_setup_teardown(cut_short_at_every_step, setup, pair_close),
	    cmocka_unit_test_setup_teardown(the_first_one_cut_short, setup, pair_close),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
