/* A failure at every step of a move of a VM that writes to a disk, on both sides.  After each one there is exactly one copy of the
 * guest that runs (a pending one is resolved first) or, where its own process died, none; its log goes on; and every record that it ever said
 * was flushed is on the disk of the host where it ran last.  Where the receiver failed it moves once more, from what the first attempt left. */
#include "common/fault.h"
#include "tests/lib/diskhost.h"
#include "tests/lib/need.h"
#include "tests/lib/pair.h"
#include "tests/lib/test.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static struct pair world;
static char disk[TEMP_MAX + 16];

enum process { MOVER, SOURCE, SERVE, DEST, OTHER };

/* In which process a point is. */
static enum process process_of(enum fault_point_id id)
{
	static const char *const sides[] = {"mover", "source", "serve", "dest"};

	switch (id) {
	case FAULT_DISKS_SEEDED:
		return MOVER;
	case FAULT_DISKS_CUT:
		return SOURCE;
	case FAULT_DISKS_CLOSED:
	case FAULT_DISKS_HANDED:
		return SERVE;
	case FAULT_DISKS_ATTACHED:
		return DEST;
	default:
		break;
	}
	for (int i = 0; i < OTHER; i++)
		if (pair_fault_is_of(fault_name(id), sides[i]))
			return (enum process)i;
	return OTHER;
}

static void resolve(const char *vm)
{
	struct command *command = calloc(1, sizeof(*command));

	assert_non_null(command);
	command_start(command, &world.a, NULL, host_resolve_argv(&world.sshd, &world.b, vm));
	if (command_wait(command))
		fail_msg("resolve: %s", command->output);
	free(command);
}

/* Until both sides have noticed: on which hosts it runs. */
static void settle(const char *vm, bool *on_a, bool *on_b)
{
	char state[16];

	host_wait_state(&world.a, vm, "running pending none");
	host_state(&world.a, vm, state);
	if (!strcmp(state, "pending"))
		resolve(vm);
	host_wait_state(&world.a, vm, "running none");
	host_state(&world.a, vm, state);
	*on_a = !strcmp(state, "running");
	host_wait_state(&world.b, vm, "running none");
	host_state(&world.b, vm, state);
	*on_b = !strcmp(state, "running");
}

static uint64_t flushed_anywhere(const char *vm)
{
	uint64_t a = diskhost_flushed(&world.a, vm), b = diskhost_flushed(&world.b, vm);

	return a > b ? a : b;
}

static void end(const struct host *host, const char *vm)
{
	host_must(host, "kill", vm, NULL);
	host_wait_state(host, vm, "none");
}

/* It moves after all, and back to where it was begun. */
static void move_again(const char *vm, const char *what, bool on_a)
{
	struct command *command = calloc(1, sizeof(*command));
	const struct host *from = on_a ? &world.a : &world.b, *to = on_a ? &world.b : &world.a;

	assert_non_null(command);
	command_start(command, from, NULL, host_migrate_argv(&world.sshd, to, vm, NULL));
	if (command_wait(command))
		fail_msg("%s: the move after that: %s", what, command->output);
	free(command);
	diskhost_wait(to, vm, flushed_anywhere(vm) + 50);
}

static void tidy(const char *vm)
{
	static char output[HOST_OUTPUT];
	char copy[DISKHOST_PATH];

	host_drover(&world.a, output, "forget", "--force", vm, NULL);
	host_drover(&world.b, output, "forget", "--force", vm, NULL);
	diskhost_copy(&world.b, vm, copy);
	(void)unlink(copy);
	(void)unlink(disk);
}

static void one_fault(enum fault_point_id id, const char *action)
{
	enum process in = process_of(id);
	bool remote = in == SERVE || in == DEST, on_a, on_b;
	char what[96], copy[DISKHOST_PATH];
	static const char vm[] = "g";
	struct command *command = calloc(1, sizeof(*command));
	struct stat there;
	int status;

	assert_non_null(command);
	snprintf(what, sizeof(what), "%s=%s", fault_name(id), action);
	host_must(&world.a, "image", "create", disk, "16M", NULL);
	diskhost_start(&world.a, vm, in == SOURCE ? what : NULL, disk, "");
	command_start(command, &world.a, in == MOVER ? what : NULL,
		      host_migrate_argv(&world.sshd, &world.b, vm, remote ? what : NULL));
	status = command_wait(command);
	settle(vm, &on_a, &on_b);
	print_message("  %-28s migrate exits %3d, A %s, B %s\n", what, status, on_a ? "runs" : "-",
		      on_b ? "runs" : "-");
	if (!host_fault_fired(remote ? &world.b : &world.a, fault_name(id)))
		fail_msg("%s: nothing passed that point: %s", what, command->output);
	if (on_a && on_b)
		fail_msg("%s: two copies run; %s", what, command->output);
	if (!on_a && !on_b && in != SOURCE)
		fail_msg("%s: no copy is left; %s", what, command->output);
	diskhost_copy(&world.b, vm, copy);
	if (on_a || on_b) {
		diskhost_wait(on_a ? &world.a : &world.b, vm, flushed_anywhere(vm) + 50);
		/* What is left of the copy there is the more various the later the receiver failed. */
		if (remote || id >= FAULT_DISKS_SEEDED) {
			move_again(vm, what, on_a);
			on_a = !on_a;
		}
		end(on_a ? &world.a : &world.b, vm);
		if (on_b || remote || id >= FAULT_DISKS_SEEDED)
			diskhost_same(disk, copy);
		diskhost_verify(on_a ? &world.a : &world.b, on_a ? disk : copy, flushed_anywhere(vm));
	} else {
		/* As after a crash of its host: what was flushed is on the disk. */
		diskhost_verify(&world.a, disk, flushed_anywhere(vm));
		if (!stat(copy, &there))
			host_must(&world.b, "image", "check", copy, NULL);
	}
	tidy(vm);
	free(command);
}

static void kill_at_every_step(void **state)
{
	(void)state;
	need_kvm();
	for (int i = 0; i < FAULT_COUNT; i++)
		if (process_of((enum fault_point_id)i) != OTHER)
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
		if (process_of((enum fault_point_id)i) == MOVER ||
		    process_of((enum fault_point_id)i) == SERVE)
			one_fault((enum fault_point_id)i, "cut");
	}
}

static int open_world(void **state)
{
	(void)state;
	if (pair_open(&world))
		return -1;
	snprintf(disk, sizeof(disk), "%s/disk.dvol", world.folder);
	return 0;
}

static int close_world(void **state)
{
	(void)state;
	return pair_close(&world);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(kill_at_every_step),
	    cmocka_unit_test(other_failures_of_disks),
	};

	return cmocka_run_group_tests_name("faults_disks", tests, open_world, close_world);
}
