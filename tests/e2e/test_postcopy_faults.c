/* test_postcopy_faults.c: a failure at every named step of post-copy.  As in test_faults there is never more than one copy that runs, with its
 * memory as it wrote it; and only the death of serve or of a VM process, once memory is owed, takes the guest down. */
#include "common/fault.h"
#include "tests/lib/need.h"
#include "tests/lib/pair.h"
#include "tests/lib/test.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

static struct command command;

static int resolve(const char *vm)
{
	command_start(&command, &world.a, NULL, host_resolve_argv(&world.sshd, &world.b, vm));
	return command_wait(&command);
}

/* Whether the guest on B lacks memory: it may get that, or end. */
static bool lacks_memory(const char *vm)
{
	static char output[HOST_OUTPUT];
	json_t *status;
	bool lacks;

	if (host_drover(&world.b, output, "status", "--json", vm, NULL))
		return false;
	status = json_loads(output, 0, NULL);
	lacks = json_is_object(json_object_get(status, "postcopy"));
	json_decref(status);
	return lacks;
}

/* Until nothing changes any more: a hand-over that is pending, or lends, is gone on with. */
static void settle(const char *vm, char a[16], char b[16])
{
	host_wait_state(&world.a, vm, "running pending lending none");
	host_state(&world.a, vm, a);
	if (strcmp(a, "running") && strcmp(a, "none"))
		(void)resolve(vm);
	host_wait_state(&world.a, vm, "running none");
	host_state(&world.a, vm, a);
	host_wait_state(&world.b, vm, "running none");
	while (lacks_memory(vm))
		usleep(10000);
	host_state(&world.b, vm, b);
}

/* Only the death of serve or of a VM process may take the guest down, and then it runs nowhere. */
static void one_fault(const char *point, const char *action)
{
	bool source = pair_fault_is_of(point, "postcopy-source") || pair_fault_is_of(point, "source");
	bool remote = pair_fault_is_of(point, "postcopy-serve") || pair_fault_is_of(point, "postcopy-dest") ||
		      pair_fault_is_of(point, "serve") || pair_fault_is_of(point, "dest");
	static const char *const postcopy[] = {"--postcopy", NULL};
	char what[96], a[16], b[16];
	const char *vm = "g";
	const struct host *on;
	int status;

	snprintf(what, sizeof(what), "%s=%s", point, action);
	host_run_guest(&world.a, vm, "32M", source ? what : NULL, "fill=16M dirty=200 report=20");
	command_start(&command, &world.a, source || remote ? NULL : what,
		      host_migrate_argv_with(&world.sshd, &world.b, vm, remote ? what : NULL, 0, postcopy));
	status = command_wait(&command);
	settle(vm, a, b);
	print_message("  %-32s migrate exits %3d, A %s, B %s\n", what, status, a, b);
	if (!host_fault_fired(remote ? &world.b : &world.a, point))
		fail_msg("%s: nothing passed that point: %s", what, command.output);
	on = !strcmp(a, "running") ? &world.a : !strcmp(b, "running") ? &world.b : NULL;
	if (!strcmp(a, "running") && !strcmp(b, "running"))
		fail_msg("%s: two copies run; %s", what, command.output);
	if (!on && !source && !remote)
		fail_msg("%s: no copy is left; %s", what, command.output);
	if (!on && status == 0)
		fail_msg("%s: migrate says that it moved a guest that is down", what);
	if (on) {
		host_wait_report(on, vm, pair_last_seq(vm) + 5);
		host_must(on, "kill", vm, NULL);
	}
	host_wait_state(&world.a, vm, "none");
	host_wait_state(&world.b, vm, "none");
	host_must(&world.a, "forget", "--force", vm, NULL);
	host_drover(&world.b, command.output, "forget", "--force", vm, NULL);
}

#define FAULT_NAME(id, name) name,
static const char *const points[] = {FAULT_POINTS(FAULT_NAME)};
enum { POINTS = sizeof(points) / sizeof(points[0]) };

static void kill_at_every_step(void **state)
{
	(void)state;
	need_kvm();
	for (int i = 0; i < POINTS; i++)
		if (!strncmp(points[i], "postcopy-", 9))
			one_fault(points[i], "kill");
}

static void cut_the_link_at_every_step(void **state)
{
	(void)state;
	need_kvm();
	for (int i = 0; i < POINTS; i++)
		if (pair_fault_is_of(points[i], "postcopy-mover") ||
		    pair_fault_is_of(points[i], "postcopy-serve"))
			one_fault(points[i], "cut");
	/* A step that the system refuses is the end of serve. */
	one_fault("postcopy-serve.middle", "error");
}

/* The steps of any hand-over, from the commit on. */
static void the_commit_and_its_answer(void **state)
{
	static const char *const steps[] = {"mover.commit-sent", "mover.started", "serve.started",
					    "dest.running", "source.released"};

	(void)state;
	need_kvm();
	for (size_t i = 0; i < sizeof(steps) / sizeof(steps[0]); i++)
		one_fault(steps[i], "kill");
	one_fault("mover.commit-sent", "cut");
	one_fault("serve.commit", "cut");
	one_fault("serve.started", "cut");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(kill_at_every_step),
	    cmocka_unit_test(cut_the_link_at_every_step),
	    cmocka_unit_test(the_commit_and_its_answer),
	};

	return cmocka_run_group_tests_name("postcopy faults", tests, pair_open, pair_close);
}
