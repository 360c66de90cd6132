/* A failure at every named step of a move, on both sides.  After each one there must be exactly one copy of the
 * guest that runs (a pending one is resolved first), its memory must be what it wrote, and the other host must have
 * nothing left that could ever start.  Only the death of the VM process that owns the guest may take the guest
 * down, and then it runs nowhere. */
#include "common/fault.h"
#include "tests/lib/need.h"

#include "tests/lib/pair.h"
#include "tests/lib/test.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define GUEST "fill=8M dirty=20 report=20"

/* Of the others (snapshots) there are tests of their own. */
static bool of_move(const char *point)
{
	return pair_fault_is_of(point, "mover") || pair_fault_is_of(point, "source") ||
	       pair_fault_is_of(point, "serve") || pair_fault_is_of(point, "dest");
}

/* Where the guest can be after the fault. */
struct aftermath {
	char a[16], b[16];
};

/* Until both sides have noticed, and the question of a pending hand-over is answered. */
static struct aftermath settle(const char *vm)
{
	struct aftermath after = {"", ""};

	host_wait_state(&world.a, vm, "running pending none");
	host_state(&world.a, vm, after.a);
	if (!strcmp(after.a, "pending")) {
		struct command *command = calloc(1, sizeof(*command));
		int status;

		command_start(command, &world.a, NULL, host_resolve_argv(&world.sshd, &world.b, vm));
		status = command_wait(command);
		if (status)
			fail_msg("resolve: status %d: %s", status, command->output);
		free(command);
		host_wait_state(&world.a, vm, "running none");
		host_state(&world.a, vm, after.a);
	}
	host_wait_state(&world.b, vm, "running none");
	host_state(&world.b, vm, after.b);
	return after;
}

static void check_runs(const struct host *host, const char *vm, const char *what)
{
	struct guest_report report = host_wait_report(host, vm, pair_last_seq(vm) + 2);

	if (report.errors)
		fail_msg("%s: the guest on %s reports errors", what, host->name);
}

/* A link that breaks while the guest is still A's is no reason to give the move up. */
static bool must_arrive(const char *point, const char *action)
{
	static const char *const early[] = {"mover.round-middle", "mover.round-acked",  "mover.paused",
					    "mover.final-pages",  "serve.round-middle", "serve.round-ack"};

	for (size_t i = 0; i < sizeof(early) / sizeof(early[0]); i++)
		if (!strcmp(early[i], point))
			return !strcmp(action, "cut");
	return false;
}

/* Both sides wait for a link that is to come back as long as it may take on a busy machine; for one that is not to, the test would. */
static const char *const *argv_for(const char *vm, const char *remote_fault, bool patient)
{
	static const char *const more[] = {"--reconnect", "30s", NULL};

	return host_migrate_argv_with(&world.sshd, &world.b, vm, remote_fault, 0, patient ? more : more + 2);
}

static void one_fault(const char *point, const char *action)
{
	bool remote = pair_fault_is_of(point, "serve") || pair_fault_is_of(point, "dest"),
	     source = pair_fault_is_of(point, "source");
	char what[96], vm[32] = "g";
	struct command *command = calloc(1, sizeof(*command));
	struct aftermath after;
	bool on_a, on_b;
	int status;

	snprintf(what, sizeof(what), "%s=%s", point, action);
	host_run_guest(&world.a, vm, "32M", source ? what : NULL, GUEST);
	command_start(command, &world.a, pair_fault_is_of(point, "mover") ? what : NULL,
		      argv_for(vm, remote ? what : NULL, must_arrive(point, action)));
	status = command_wait(command);
	after = settle(vm);
	on_a = !strcmp(after.a, "running");
	on_b = !strcmp(after.b, "running");
	print_message("  %-28s migrate exits %3d, A %s, B %s\n", what, status, after.a, after.b);
	if (!host_fault_fired(remote ? &world.b : &world.a, point))
		fail_msg("%s: nothing passed that point: %s", what, command->output);
	if (on_a && on_b)
		fail_msg("%s: two copies run; %s", what, command->output);
	if (!on_a && !on_b && !source)
		fail_msg("%s: no copy is left; %s", what, command->output);
	if (on_a || on_b)
		check_runs(on_a ? &world.a : &world.b, vm, what);
	if (must_arrive(point, action) && (!on_b || status))
		fail_msg("%s: the guest is not on B: %s", what, command->output);
	if (on_a && status == 0)
		fail_msg("%s: migrate says that it moved the guest, which runs on A", what);
	if (on_a)
		host_must(&world.a, "kill", vm, NULL);
	if (on_b)
		host_must(&world.b, "kill", vm, NULL);
	host_wait_state(&world.a, vm, "none");
	host_wait_state(&world.b, vm, "none");
	host_must(&world.a, "forget", "--force", vm, NULL);
	host_drover(&world.b, command->output, "forget", "--force", vm, NULL);
	free(command);
}

#define FAULT_NAME(id, name) name,
static const char *const points[] = {FAULT_POINTS(FAULT_NAME)};
enum { POINTS = sizeof(points) / sizeof(points[0]) };

static void kill_at_every_step(void **state)
{
	(void)state;
	need_kvm();
	for (int i = 0; i < POINTS; i++)
		if (of_move(points[i]))
			one_fault(points[i], "kill");
}

static void cut_the_link_at_every_step(void **state)
{
	(void)state;
	need_kvm();
	for (int i = 0; i < POINTS; i++)
		if (pair_fault_is_of(points[i], "mover") || pair_fault_is_of(points[i], "serve"))
			one_fault(points[i], "cut");
}

static void a_step_that_the_system_refuses(void **state)
{
	(void)state;
	need_kvm();
	for (int i = 0; i < POINTS; i++)
		if (pair_fault_is_of(points[i], "mover") || pair_fault_is_of(points[i], "serve"))
			one_fault(points[i], "error");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(kill_at_every_step),
	    cmocka_unit_test(cut_the_link_at_every_step),
	    cmocka_unit_test(a_step_that_the_system_refuses),
	};

	return cmocka_run_group_tests_name("faults", tests, pair_open, pair_close);
}
