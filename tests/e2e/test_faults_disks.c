/* A failure at every step of a move of a VM that writes to a disk, on both sides.  After each one there is exactly one copy of the
 * guest that runs (a pending one is resolved first) or, where its own process died, none; its log goes on; and every record that it ever said
 * was flushed is on the disk of the host where it ran last.  Where the receiver failed it moves once more, from what the first attempt left. */
#include "common/fault.h"
#include "tests/lib/aftermath.h"
#include "tests/lib/need.h"
#include "tests/lib/pair.h"
#include "tests/lib/test.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static char disk[TEMP_MAX + 16];

static void one_fault(enum fault_point_id id, const char *action)
{
	enum aftermath_process in = aftermath_process(id);
	bool remote = in == AT_SERVE || in == AT_DEST, on_a, on_b;
	char what[96];
	struct command *command = calloc(1, sizeof(*command));
	const struct aftermath after = {
	    .vm = "g",
	    .disk = disk,
	    .what = what,
	    .said = command->output,
	    .may_be_down = in == AT_SOURCE,
	    /* What is left of the copy there is the more various the later the receiver failed. */
	    .again = remote || id >= FAULT_DISKS_SEEDED};
	int status;

	assert_non_null(command);
	snprintf(what, sizeof(what), "%s=%s", fault_name(id), action);
	host_must(&world.a, "image", "create", disk, "16M", NULL);
	diskhost_start(&world.a, "g", in == AT_SOURCE ? what : NULL, disk, "");
	command_start(command, &world.a, in == AT_MOVER ? what : NULL,
		      host_migrate_argv(&world.sshd, &world.b, "g", remote ? what : NULL));
	status = command_wait(command);
	aftermath_settle(&after, &on_a, &on_b);
	print_message("  %-28s migrate exits %3d, A %s, B %s\n", what, status, on_a ? "runs" : "-",
		      on_b ? "runs" : "-");
	if (!host_fault_fired(remote ? &world.b : &world.a, fault_name(id)))
		fail_msg("%s: nothing passed that point: %s", what, command->output);
	aftermath_check(&after, on_a, on_b);
	aftermath_tidy(&after);
	free(command);
}

static void kill_at_every_step(void **state)
{
	(void)state;
	need_kvm();
	for (int i = 0; i < FAULT_COUNT; i++)
		if (aftermath_process((enum fault_point_id)i) != AT_OTHER &&
		    !aftermath_in_postcopy((enum fault_point_id)i))
			one_fault((enum fault_point_id)i, "kill");
}

/* At those that are about disks also what is no death. */
static void other_failures_of_disks(void **state)
{
	(void)state;
	need_kvm();
	/* A pause that is taken back: the disks' epoch that was to be the last one is one like any other. */
	one_fault(FAULT_MOVER_PAUSED, "cut");
	one_fault(FAULT_MOVER_FINAL_PAGES, "cut");
	for (int i = FAULT_DISKS_SEEDED; i <= FAULT_DISKS_ATTACHED; i++) {
		one_fault((enum fault_point_id)i, "error");
		if (aftermath_process((enum fault_point_id)i) == AT_MOVER ||
		    aftermath_process((enum fault_point_id)i) == AT_SERVE)
			one_fault((enum fault_point_id)i, "cut");
	}
}

static int open_world(void **state)
{
	if (pair_open(state))
		return -1;
	snprintf(disk, sizeof(disk), "%s/disk.dvol", world.folder);
	return 0;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(kill_at_every_step),
	    cmocka_unit_test(other_failures_of_disks),
	};

	return cmocka_run_group_tests_name("faults_disks", tests, open_world, pair_close);
}
