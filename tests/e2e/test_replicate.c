/* test_replicate.c: recovery points of a VM on another host: they arrive, the next one costs what changed, the retention holds, and the
 * standby starts the VM from one of them when the primary is gone.  What the guest was told is on its disk at a point's boundary is in that
 * point. */
#include "common/io.h"
#include "tests/lib/diskhost.h"
#include "tests/lib/need.h"
#include "tests/lib/pair.h"
#include "tests/lib/test.h"
#include "vmm/ledger.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static char disk[TEMP_MAX + 16], output[HOST_OUTPUT];

static void must_say(const char *text)
{
	if (!strstr(output, text))
		fail_msg("'%s' is not in: %s", text, output);
}

/* Host b, by the name b, which lets VMs boot from the test guest's files. */
static void add_peer(void)
{
	char command[sizeof(world.serve) + HOST_PATH + 32];

	snprintf(command, sizeof(command), "%s --images %s/guest", world.serve, host_build());
	host_must(&world.a, "peer", "add", "b", world.url, "--identity", world.sshd.identity, "--known-hosts",
		  world.sshd.known_hosts, "--remote-command", command, NULL);
}

static json_t *run_json(const struct host *host, const char *const words[])
{
	static struct command command;
	json_t *json;
	char *line;

	command_start(&command, host, NULL, words);
	command_must_succeed(&command);
	line = strchr(command.output, '{');
	json = line ? json_loads(line, JSON_DISABLE_EOF_CHECK, NULL) : NULL;
	if (!json)
		fail_msg("no JSON: %s", command.output);
	return json;
}

/* A cycle; how many bytes it sent. */
static json_int_t cycle(void)
{
	const char *const words[] = {"drover", "job", "run-now", "g", "--json", NULL};
	json_t *json = run_json(&world.a, words);
	json_int_t bytes = json_integer_value(json_object_get(json, "bytes"));

	json_decref(json);
	return bytes;
}

static size_t points_on(const struct host *host, char newest[32])
{
	const char *const words[] = {"drover", "points", "g", "--json", NULL};
	json_t *json = run_json(host, words), *list = json_object_get(json, "points");
	size_t count = json_array_size(list);

	if (newest && count)
		snprintf(newest, 32, "%s",
			 json_string_value(json_object_get(json_array_get(list, count - 1), "point")));
	json_decref(json);
	return count;
}

static void await_points(const struct host *host, size_t least, size_t most)
{
	uint64_t until = clock_mono_ns() + 60 * 1000000000ull;
	size_t count;

	while ((count = points_on(host, NULL)) < least || count > most) {
		if (clock_mono_ns() > until) {
			(void)host_drover(host, output, "points", "g", NULL);
			fail_msg("host %s has %zu points, not %zu to %zu: %s", host->name, count, least, most,
				 output);
		}
		usleep(50000);
	}
}

/* Every record up to this one is in the point, and its volume is in order. */
static void point_has(const char *point, uint64_t flushed)
{
	char copy[DISKHOST_PATH], look[TEMP_MAX + 16];

	diskhost_copy(&world.b, "g", copy);
	snprintf(look, sizeof(look), "%s/look.dvol", world.folder);
	host_must(&world.b, "image", "convert", copy, look, "--epoch", point, NULL);
	diskhost_verify(&world.b, look, flushed);
	unlink(look);
}

static void begin(const char *keep)
{
	need_kvm();
	add_peer();
	diskhost_make(&world.a, disk, "64M", 24 << 20);
	diskhost_start(&world.a, "g", NULL, disk, "");
	diskhost_wait(&world.a, "g", 200);
	host_must(&world.a, "protect", "g", "b", "--rpo", "1m", "--keep", keep, NULL);
}

static void test_points_arrive(void **state)
{
	(void)state;
	char point[32];
	uint64_t flushed;
	json_int_t first, second;

	begin("all");
	flushed = diskhost_flushed(&world.a, "g");
	first = cycle();
	assert_int_equal(points_on(&world.b, point), 1);
	assert_true(first > 24 << 20);
	assert_int_equal(host_ledger(&world.b, "g").state, LEDGER_STANDBY);
	diskhost_wait(&world.a, "g", flushed + 200);
	flushed = diskhost_flushed(&world.a, "g");
	second = cycle();
	print_message("  the first one %lld KiB, the second one %lld KiB\n", (long long)first >> 10,
		      (long long)second >> 10);
	assert_true(second < first / 3); /* the guest goes on writing, on a busy machine for longer */
	assert_int_equal(points_on(&world.b, point), 2);
	/* The primary has what it needs for the next difference, and no more. */
	assert_int_equal(points_on(&world.a, NULL), 1);
	point_has(point, flushed);
}

static void test_retention_holds(void **state)
{
	(void)state;
	char first[32], last[32];

	begin("3x1s");
	cycle();
	points_on(&world.b, first);
	for (int i = 0; i < 4; i++) {
		diskhost_wait(&world.a, "g", diskhost_flushed(&world.a, "g") + 100);
		sleep(1); /* the points' times are what the rules go by */
		cycle();
	}
	/* The session that brought the last one deletes what is not kept when its sender has gone. */
	await_points(&world.b, 3, 3);
	points_on(&world.b, last);
	assert_string_not_equal(first, last);
}

/* The primary is gone; the standby goes on from the newest point, under a new term, and the old primary is told off. */
static void test_failover(void **state)
{
	(void)state;
	char copy[DISKHOST_PATH];
	uint64_t flushed;
	struct ledger_record before, after;

	begin("all");
	cycle();
	diskhost_wait(&world.a, "g", diskhost_flushed(&world.a, "g") + 200);
	flushed = diskhost_flushed(&world.a, "g");
	cycle();
	before = host_ledger(&world.b, "g");
	assert_int_equal(host_drover(&world.b, output, "run", "--name", "g", "--kernel", "/nowhere", NULL),
			 2);
	assert_int_equal(host_drover(&world.b, output, "forget", "g", NULL), 1);
	must_say("keeps its recovery points");
	assert_int_equal(host_drover(&world.b, output, "start", "g", NULL), 1);
	assert_int_equal(host_drover(&world.b, output, "failover", "nobody", NULL), 1);
	must_say("nobody");
	assert_int_equal(host_drover(&world.b, output, "failover", "g", "--point", "9.9", NULL), 1);
	assert_int_equal(host_ledger(&world.b, "g").state, LEDGER_STANDBY);
	if (host_drover(&world.b, output, "failover", "g", NULL))
		fail_msg("failover: %s", output);
	must_say("term 2)");
	host_wait_state(&world.b, "g", "running");
	after = host_ledger(&world.b, "g");
	assert_int_equal(after.state, LEDGER_RUNNING);
	assert_true(after.term > before.term);
	diskhost_wait(&world.b, "g", 1);
	/* A partition, and no loss: the old primary runs on, and what it sends is not taken. */
	assert_int_equal(host_drover(&world.a, output, "job", "run-now", "g", NULL), 1);
	must_say("lives on that host");
	host_must(&world.b, "kill", "g", NULL);
	host_wait_state(&world.b, "g", "none");
	assert_int_equal(host_drover(&world.a, output, "job", "run-now", "g", NULL), 1);
	must_say("term 2");
	host_must(&world.a, "kill", "g", NULL);
	diskhost_copy(&world.b, "g", copy);
	host_must(&world.b, "image", "check", copy, NULL);
	(void)flushed;
}

static void test_a_stopped_vm_and_what_is_wrong(void **state)
{
	(void)state;
	need_kvm();
	add_peer();
	assert_int_equal(host_drover(&world.a, output, "protect", "g", "b", "--rpo", "1m", NULL), 1);
	must_say("no VM named 'g'");
	assert_int_equal(host_drover(&world.a, output, "protect", "g", "nobody", "--rpo", "1m", NULL), 1);
	must_say("there is no peer 'nobody'");
	assert_int_equal(host_drover(&world.a, output, "job", "run-now", "g", NULL), 1);
	must_say("there is no job 'g'");
	diskhost_make(&world.a, disk, "16M", 0);
	diskhost_start(&world.a, "g", NULL, disk, "");
	/* Nobody listens there. */
	host_must(&world.a, "protect", "g", "ssh://root@127.0.0.1:1", "--job", "away", "--rpo", "1m", NULL);
	assert_int_equal(host_drover(&world.a, output, "job", "run-now", "away", NULL), 1);
	must_say("job 'away': ");
	assert_int_equal(host_drover(&world.a, output, "job", "show", "away", NULL), 0);
	must_say("cycles: 0, failed: 1");
	must_say("the last one failed: ");
	host_must(&world.a, "unprotect", "away", NULL);
	assert_int_equal(host_drover(&world.a, output, "protect", "g", "b", "--rpo", "1ms", NULL), 2);
	must_say("--rpo");
	assert_int_equal(
	    host_drover(&world.a, output, "protect", "g", "b", "--rpo", "1m", "--keep", "5", NULL), 2);
	must_say("--keep");
	host_must(&world.a, "protect", "g", "b", "--rpo", "1m", NULL);
	assert_int_equal(host_drover(&world.a, output, "jobs", NULL), 0);
	must_say("never");
	cycle();
	assert_int_equal(host_drover(&world.a, output, "job", "show", "g", NULL), 0);
	must_say("cycles: 1, failed: 0");
	host_must(&world.a, "unprotect", "g", NULL);
	assert_int_equal(points_on(&world.a, NULL), 0);
	assert_int_equal(points_on(&world.b, NULL), 1);
	assert_int_equal(host_drover(&world.a, output, "jobs", NULL), 0);
	must_say("no jobs");
	host_must(&world.a, "kill", "g", NULL);
}

/* Host a, by the name a, for host b. */
static void add_peer_back(void)
{
	char command[4 * HOST_PATH + 128];

	snprintf(command, sizeof(command),
		 "env DROVER_STATE=%s/state DROVER_RUN=%s/run %s/drover serve --images %s/guest",
		 world.a.root, world.a.root, host_build(), host_build());
	host_must(&world.b, "peer", "add", "a", world.url, "--identity", world.sshd.identity, "--known-hosts",
		  world.sshd.known_hosts, "--remote-command", command, NULL);
}

static json_int_t migrate(const struct host *from, const struct host *to)
{
	static struct command command;

	command_start(&command, from, NULL, host_migrate_argv(&world.sshd, to, "g", NULL));
	if (command_wait(&command))
		fail_msg("migrate: %s", command.output);
	return command_number(&command, "disk_bytes");
}

/* Planned: it moves to where its points are, running, for what they lack; its protection turns round, and it comes back the same way. */
static void test_moves_to_its_standby_and_back(void **state)
{
	(void)state;
	static const char *const words[] = {"drover", "job", "run-now", "g", "--json", NULL};
	json_int_t first;
	json_t *json;

	begin("all");
	first = cycle();
	assert_true(migrate(&world.a, &world.b) < first / 3);
	diskhost_wait(&world.b, "g", diskhost_flushed(&world.a, "g") + 100);
	assert_int_equal(host_drover(&world.a, output, "job", "run-now", "g", NULL), 1);
	must_say("not this host's any more");
	host_must(&world.a, "unprotect", "g", NULL);
	add_peer_back();
	host_must(&world.b, "protect", "g", "a", "--rpo", "1m", NULL);
	json = run_json(&world.b, words);
	assert_true(json_integer_value(json_object_get(json, "bytes")) < first / 3);
	json_decref(json);
	assert_int_equal(points_on(&world.a, NULL), 1);
	assert_int_equal(host_ledger(&world.a, "g").state, LEDGER_STANDBY);
	assert_true(migrate(&world.b, &world.a) < first / 3);
	diskhost_wait(&world.a, "g", diskhost_flushed(&world.b, "g") + 100);
	host_must(&world.a, "kill", "g", NULL);
	host_wait_state(&world.a, "g", "none");
	diskhost_verify(&world.a, disk, diskhost_flushed(&world.a, "g"));
}

static void define(void)
{
	char yaml[TEMP_MAX + 16], text[TEMP_MAX + 512];

	snprintf(text, sizeof(text),
		 "memory: 32M\nkernel: %s/guest/testguest.elf\ncmdline: io=disk-log qd=8 span=4M report=20\n"
		 "disks: [{path: %s}]\n",
		 host_build(), disk);
	snprintf(yaml, sizeof(yaml), "%s/vm.yaml", world.folder);
	assert_int_equal(io_replace_file(yaml, text, strlen(text)), 0);
	host_must(&world.a, "create", "g", "-f", yaml, NULL);
}

/* The primary's VM dies with writes that no point has; the standby takes over; the primary that comes back does not start its copy, and keeps what
 * only it has; then it is the standby, and the VM comes home. */
static void test_failback(void **state)
{
	(void)state;
	static const char *const words[] = {"drover", "job", "run-now", "g", "--json", NULL};
	json_int_t first;
	json_t *json;

	need_kvm();
	add_peer();
	diskhost_make(&world.a, disk, "64M", 24 << 20);
	define();
	host_must(&world.a, "start", "g", NULL);
	diskhost_wait(&world.a, "g", 100);
	host_must(&world.a, "protect", "g", "b", "--rpo", "1m", NULL);
	first = cycle();
	diskhost_wait(&world.a, "g", diskhost_flushed(&world.a, "g") + 100);
	host_must(&world.a, "kill", "g", NULL);
	host_wait_state(&world.a, "g", "none");
	host_must(&world.b, "failover", "g", NULL);
	diskhost_wait(&world.b, "g", 50);
	/* The lost host is there again. */
	assert_int_equal(host_drover(&world.a, output, "start", "g", NULL), 1);
	must_say("has taken VM 'g' over (term 2)");
	assert_int_equal(host_ledger(&world.a, "g").state, LEDGER_STANDBY);
	assert_int_equal(host_drover(&world.a, output, "snapshots", "g", NULL), 0);
	must_say("what it wrote here before b had taken it over");
	assert_int_equal(host_drover(&world.a, output, "start", "g", NULL), 1);
	must_say("drover failover g");
	host_must(&world.a, "unprotect", "g", NULL);
	/* Only what differs from the last common epoch goes back. */
	add_peer_back();
	host_must(&world.b, "protect", "g", "a", "--rpo", "1m", NULL);
	json = run_json(&world.b, words);
	assert_true(json_integer_value(json_object_get(json, "bytes")) < first / 3);
	json_decref(json);
	assert_true(migrate(&world.b, &world.a) < first / 3);
	diskhost_wait(&world.a, "g", diskhost_flushed(&world.b, "g") + 50);
	assert_int_equal(host_drover(&world.a, output, "snapshots", "g", NULL), 0);
	must_say("what it wrote here before b had taken it over");
	host_must(&world.a, "kill", "g", NULL);
	host_wait_state(&world.a, "g", "none");
	host_must(&world.a, "image", "check", disk, NULL);
}

static json_int_t cycles_of_job(void)
{
	const char *const words[] = {"drover", "job", "show", "g", "--json", NULL};
	json_t *json = run_json(&world.a, words);
	json_int_t cycles = json_integer_value(json_object_get(json_object_get(json, "state"), "cycles"));

	json_decref(json);
	return cycles;
}

static void await_cycles(json_int_t least)
{
	uint64_t until = clock_mono_ns() + 60 * 1000000000ull;

	while (cycles_of_job() < least) {
		if (clock_mono_ns() > until)
			fail_msg("%lld cycles, not %lld", (long long)cycles_of_job(), (long long)least);
		usleep(50000);
	}
}

/* The daemon sends points by itself; killed, it leaves the job as it was, and another one goes on; a second one beside it is refused. */
static void test_daemon(void **state)
{
	static struct command daemon, second;
	static const char *const words[] = {"drover", "daemon", NULL};
	json_int_t cycles;

	(void)state;
	begin("all");
	host_must(&world.a, "protect", "g", "b", "--rpo", "2s", "--keep", "all", NULL);
	command_start(&daemon, &world.a, NULL, words);
	await_cycles(3);
	command_start(&second, &world.a, NULL, words);
	assert_int_equal(command_wait(&second), 1);
	if (!strstr(second.output, "a daemon runs already"))
		fail_msg("%s", second.output);
	assert_int_equal(kill(daemon.pid, SIGKILL), 0);
	assert_int_equal(command_wait(&daemon), 128 + SIGKILL);
	command_start(&daemon, &world.a, NULL, words);
	await_cycles(cycles_of_job() + 2);
	/* One that rests makes no points, but by hand. */
	host_must(&world.a, "job", "pause", "g", NULL);
	while (!host_drover(&world.a, output, "job", "show", "g", NULL) && strstr(output, ", running"))
		usleep(50000);
	cycles = cycles_of_job();
	cycle();
	assert_int_equal(cycles_of_job(), cycles + 1);
	assert_int_equal(kill(daemon.pid, SIGTERM), 0);
	assert_int_equal(command_wait(&daemon), 0);
	await_points(&world.b, (size_t)cycles_of_job(), (size_t)cycles_of_job());
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
	    cmocka_unit_test_setup_teardown(test_points_arrive, setup, pair_close),
	    cmocka_unit_test_setup_teardown(test_retention_holds, setup, pair_close),
	    cmocka_unit_test_setup_teardown(test_failover, setup, pair_close),
	    cmocka_unit_test_setup_teardown(test_moves_to_its_standby_and_back, setup, pair_close),
	    cmocka_unit_test_setup_teardown(test_failback, setup, pair_close),
	    cmocka_unit_test_setup_teardown(test_daemon, setup, pair_close),
	    cmocka_unit_test_setup_teardown(test_a_stopped_vm_and_what_is_wrong, setup, pair_close),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
