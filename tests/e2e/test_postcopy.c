/* test_postcopy.c: guests that go over before all of their memory has (docs/stream.md, Post-copy): whole in the end, whatever breaks on the
 * way; and where it cannot be mended, nobody goes on with a wrong page, and never are there two. */
#include "tests/lib/need.h"
#include "tests/lib/pair.h"
#include "tests/lib/random.h"
#include "tests/lib/test.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

/* Writes as fast as it can, all over what it has, and checks all of it. */
#define BUSY "fill=96M dirty=max report=50"

static struct command command;

/* `migrate` to B with more options, through a relay unless that is NULL. */
static const char *const *argv_with(const struct relay *relay, const char *vm, const char *fault,
				    const char *const more[])
{
	return host_migrate_argv_with(&world.sshd, &world.b, vm, fault, relay ? relay_port(relay) : 0, more);
}

static const char *const in_any_case[] = {"--postcopy", NULL};

static json_int_t number(const json_t *report, const char *key)
{
	return json_integer_value(json_object_get(report, key));
}

/* A process that was killed answers no more some time before it is gone. */
static void forget_on(const struct host *host, const char *vm)
{
	static char output[HOST_OUTPUT];

	for (int tries = 0; host_drover(host, output, "forget", "--force", vm, NULL); tries++) {
		if (tries == 1000)
			fail_msg("forget on %s: %s", host->name, output);
		usleep(10000);
	}
}

static void forget(const char *vm)
{
	forget_on(&world.a, vm);
	forget_on(&world.b, vm);
}

/* It runs on B, has all that it had, and A has let go of it. */
static void is_whole_on_b(const char *vm)
{
	char state[16];

	host_wait_report(&world.b, vm, pair_last_seq(vm) + 10);
	host_state(&world.a, vm, state);
	assert_string_equal(state, "none");
	host_must(&world.b, "kill", vm, NULL);
	forget(vm);
}

static void must_move(const char *vm)
{
	int status = command_wait(&command);

	if (status)
		fail_msg("migrate of %s: status %d: %s", vm, status, command.output);
}

static void a_guest_that_writes_as_fast_as_it_can(void **state)
{
	json_t *report, *postcopy, *faults;

	(void)state;
	need_kvm();
	host_run_guest(&world.a, "busy", "128M", NULL, BUSY);
	command_start(&command, &world.a, NULL, argv_with(NULL, "busy", NULL, in_any_case));
	must_move("busy");
	report = command_report(&command);
	postcopy = json_object_get(report, "postcopy");
	faults = json_object_get(postcopy, "faults");
	print_message(
	    "  downtime %.1f ms, %lld pages owed, %lld faults: p50 %lld us, p99 %lld us, max %lld us\n",
	    json_real_value(json_object_get(report, "downtime_ms")), number(postcopy, "pages"),
	    number(faults, "count"), number(faults, "p50_us"), number(faults, "p99_us"),
	    number(faults, "max_us"));
	assert_true(number(postcopy, "pages") > 1000);
	assert_true(number(faults, "count") > 0);
	assert_int_equal(number(report, "max_throttle"), 0);
	json_decref(report);
	is_whole_on_b("busy");
}

/* What is on its way when a link breaks, as in test_reconnect. */
enum { CUTS = 6, IN_FLIGHT_PAGES = 4096 };

/* All links at once, again and again, from the guest's start there on; nothing else can be done about it than to go on. */
static void links_that_break_after_the_start(void **state)
{
	static const char *const slowly[] = {"--bandwidth", "8M", "--postcopy", NULL};
	uint64_t random = random_begin();
	struct relay *relay;
	unsigned cuts = 0;
	json_t *report;

	(void)state;
	need_kvm();
	relay = pair_relay();
	host_run_guest(&world.a, "cut", "96M", NULL, "fill=64M dirty=max report=50");
	command_start(&command, &world.a, NULL, argv_with(relay, "cut", NULL, slowly));
	host_wait_state(&world.b, "cut", "running");
	while (cuts < CUTS && command_lives(&command)) {
		uint64_t at = relay_bytes_up(relay) + 65536 + random_below(&random, 1 << 20);

		pair_wait_for_bytes(relay, at, &command);
		relay_cut(relay);
		cuts++;
	}
	must_move("cut");
	report = command_report(&command);
	print_message("  %u cuts: connected again %lld times, %lld pages again of %lld\n", cuts,
		      number(report, "reconnects"), number(report, "pages_again"),
		      number(report, "pages_sent"));
	assert_true(number(report, "reconnects") >= 2);
	assert_true(number(report, "pages_again") <= cuts * IN_FLIGHT_PAGES);
	json_decref(report);
	relay_stop(relay);
	is_whole_on_b("cut");
}

/* Most of what is owed is never touched before it comes. */
static void pages_that_nobody_waits_for(void **state)
{
	json_t *report, *postcopy;

	(void)state;
	need_kvm();
	host_run_guest(&world.a, "cold", "128M", NULL, "fill=96M dirty=max pattern=hot verify=0 report=50");
	command_start(&command, &world.a, NULL, argv_with(NULL, "cold", NULL, in_any_case));
	must_move("cold");
	report = command_report(&command);
	postcopy = json_object_get(report, "postcopy");
	assert_true(number(json_object_get(postcopy, "faults"), "count") * 16 < number(postcopy, "pages"));
	json_decref(report);
	is_whole_on_b("cold");
}

static void only_where_the_guest_is_too_busy(void **state)
{
	static const char *const if_busy[] = {"--if-busy", "postcopy", "--bandwidth", "32M",
					      "--streams", "1",        NULL};
	json_t *report;

	(void)state;
	need_kvm();
	host_run_guest(&world.a, "calm", "64M", NULL, "fill=16M dirty=0 report=50");
	command_start(&command, &world.a, NULL, argv_with(NULL, "calm", NULL, if_busy));
	must_move("calm");
	report = command_report(&command);
	assert_true(json_is_null(json_object_get(report, "postcopy")));
	json_decref(report);
	is_whole_on_b("calm");
}

/* It writes nothing, so that there is nothing to owe, and stays paused. */
static void a_paused_guest(void **state)
{
	(void)state;
	need_kvm();
	host_run_guest(&world.a, "paused", "128M", NULL, BUSY);
	host_must(&world.a, "pause", "paused", NULL);
	command_start(&command, &world.a, NULL, argv_with(NULL, "paused", NULL, in_any_case));
	must_move("paused");
	host_wait_state(&world.b, "paused", "paused");
	host_must(&world.b, "resume", "paused", NULL);
	is_whole_on_b("paused");
}

/* Until the mover has ended of the fault, with the guest on B and some of its memory on A. */
static void strand(const char *vm)
{
	host_run_guest(&world.a, vm, "128M", NULL, BUSY);
	command_start(&command, &world.a, "postcopy-mover.middle=kill",
		      argv_with(NULL, vm, NULL, in_any_case));
	assert_int_equal(command_wait(&command), 128 + SIGKILL);
	host_wait_state(&world.a, vm, "lending");
	host_wait_state(&world.b, vm, "running");
	assert_int_equal(host_ledger(&world.a, vm).state, LEDGER_HANDED_OVER);
}

static int resolve(const char *vm)
{
	command_start(&command, &world.a, NULL, host_resolve_argv(&world.sshd, &world.b, vm));
	return command_wait(&command);
}

static json_t *status_of(const struct host *host, const char *vm)
{
	static char output[HOST_OUTPUT];

	assert_int_equal(host_drover(host, output, "status", "--json", vm, NULL), 0);
	return json_loads(output, 0, NULL);
}

static void expect_refusal(const char *sentence, const char *cmd, const char *vm)
{
	static char output[HOST_OUTPUT];

	assert_int_equal(host_drover(&world.a, output, cmd, vm, NULL), 1);
	if (!strstr(output, sentence))
		fail_msg("%s says: %s", cmd, output);
}

static void another_mover_goes_on(void **state)
{
	json_t *status;

	(void)state;
	need_kvm();
	strand("left");
	status = status_of(&world.b, "left");
	assert_true(number(json_object_get(status, "postcopy"), "pages_left") > 0);
	json_decref(status);
	expect_refusal("too late: VM 'left' runs on", "cancel", "left");
	expect_refusal("some of its memory is only here", "kill", "left");
	expect_refusal("runs on", "resume", "left");
	if (resolve("left"))
		fail_msg("resolve: %s", command.output);
	status = status_of(&world.b, "left");
	assert_true(json_is_null(json_object_get(status, "postcopy")));
	json_decref(status);
	is_whole_on_b("left");
}

static void kill_vm_process(const struct host *host, const char *vm)
{
	json_t *status = status_of(host, vm);
	pid_t pid = (pid_t)number(status, "pid");

	assert_true(pid > 1);
	assert_int_equal(kill(pid, SIGKILL), 0);
	json_decref(status);
	host_wait_state(host, vm, "none");
}

static void the_vm_process_there_is_killed(void **state)
{
	(void)state;
	need_kvm();
	strand("there");
	kill_vm_process(&world.b, "there");
	assert_int_equal(resolve("there"), 1);
	if (!strstr(command.output, "VM 'there' is down"))
		fail_msg("resolve says: %s", command.output);
	host_wait_state(&world.a, "there", "none");
	forget("there");
}

/* Its pages are gone, and nobody can tell B: the guest waits, and is ended by hand. */
static void the_vm_process_here_is_killed(void **state)
{
	char output[HOST_OUTPUT];

	(void)state;
	need_kvm();
	strand("here");
	kill_vm_process(&world.a, "here");
	host_must(&world.b, "kill", "here", NULL);
	host_wait_state(&world.b, "here", "none");
	/* Nor does A start it again. */
	assert_int_equal(host_drover(&world.a, output, "resume", "here", NULL), 1);
	assert_int_equal(host_ledger(&world.a, "here").state, LEDGER_HANDED_OVER);
	forget("here");
}

static void memory_that_is_dropped_by_force(void **state)
{
	static char output[HOST_OUTPUT];

	(void)state;
	need_kvm();
	strand("force");
	host_must(&world.a, "kill", "--force", "force", NULL);
	host_wait_state(&world.a, "force", "none");
	assert_int_equal(host_drover(&world.b, output, "kill", "force", NULL), 0);
	forget("force");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(a_guest_that_writes_as_fast_as_it_can),
	    cmocka_unit_test(links_that_break_after_the_start),
	    cmocka_unit_test(pages_that_nobody_waits_for),
	    cmocka_unit_test(only_where_the_guest_is_too_busy),
	    cmocka_unit_test(a_paused_guest),
	    cmocka_unit_test(another_mover_goes_on),
	    cmocka_unit_test(the_vm_process_there_is_killed),
	    cmocka_unit_test(the_vm_process_here_is_killed),
	    cmocka_unit_test(memory_that_is_dropped_by_force),
	};

	return cmocka_run_group_tests_name("postcopy", tests, pair_open, pair_close);
}
