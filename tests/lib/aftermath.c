#include "tests/lib/aftermath.h"

#include "tests/lib/processes.h"
#include "tests/lib/test.h"

#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define POSTCOPY "postcopy-"

bool aftermath_in_postcopy(enum fault_point_id id)
{
	return !strncmp(fault_name(id), POSTCOPY, strlen(POSTCOPY));
}

enum aftermath_process aftermath_process(enum fault_point_id id)
{
	static const char *const sides[] = {"mover", "source", "serve", "dest"};

	switch (id) {
	case FAULT_DISKS_SEEDED:
		return AT_MOVER;
	case FAULT_DISKS_CUT:
		return AT_SOURCE;
	case FAULT_DISKS_CLOSED:
	case FAULT_DISKS_HANDED:
		return AT_SERVE;
	case FAULT_DISKS_ATTACHED:
		return AT_DEST;
	default:
		break;
	}
	for (int i = 0; i < AT_OTHER; i++)
		if (pair_fault_is_of(fault_name(id) + (aftermath_in_postcopy(id) ? strlen(POSTCOPY) : 0),
				     sides[i]))
			return (enum aftermath_process)i;
	return AT_OTHER;
}

static void resolve(const struct aftermath *after)
{
	struct command *command = calloc(1, sizeof(*command));

	assert_non_null(command);
	command_start(command, &world.a, NULL, host_resolve_argv(&world.sshd, &world.b, after->vm));
	if (command_wait(command) && !after->may_be_down)
		fail_msg("%s: resolve: %s", after->what, command->output);
	free(command);
}

/* Its memory is still on its way: that it gets, or it ends. */
static bool lacks_memory(const struct aftermath *after)
{
	static char output[HOST_OUTPUT];
	json_t *status;
	bool lacks;

	if (host_drover(&world.b, output, "status", "--json", after->vm, NULL))
		return false;
	status = json_loads(output, 0, NULL);
	lacks = json_is_object(json_object_get(status, "postcopy"));
	json_decref(status);
	return lacks;
}

void aftermath_settle(const struct aftermath *after, bool *on_a, bool *on_b)
{
	const struct host *a = &world.a, *b = &world.b;
	char state[16];

	host_wait_state(a, after->vm, "running pending lending none");
	host_state(a, after->vm, state);
	if (strcmp(state, "running") && strcmp(state, "none"))
		resolve(after);
	host_wait_state(a, after->vm, "running none");
	host_state(a, after->vm, state);
	*on_a = !strcmp(state, "running");
	host_wait_state(b, after->vm, "running none");
	while (lacks_memory(after))
		usleep(10000);
	host_state(b, after->vm, state);
	*on_b = !strcmp(state, "running");
}

static uint64_t flushed_anywhere(const struct aftermath *after)
{
	uint64_t a = diskhost_flushed(&world.a, after->vm);
	uint64_t b = diskhost_flushed(&world.b, after->vm);

	return a > b ? a : b;
}

/* It moves after all, or back to where it was begun. */
static void move_again(const struct aftermath *after, bool on_a)
{
	struct command *command = calloc(1, sizeof(*command));
	const struct host *from = on_a ? &world.a : &world.b, *to = on_a ? &world.b : &world.a;

	assert_non_null(command);
	command_start(command, from, NULL, host_migrate_argv(&world.sshd, to, after->vm, NULL));
	if (command_wait(command)) {
		processes_show();
		fail_msg("%s: the move after that: %s", after->what, command->output);
	}
	free(command);
	diskhost_wait(to, after->vm, flushed_anywhere(after) + 50);
}

void aftermath_check(const struct aftermath *after, bool on_a, bool on_b)
{
	const struct host *a = &world.a, *b = &world.b;
	char copy[DISKHOST_PATH];
	struct stat there;

	if (on_a && on_b)
		fail_msg("%s: two copies run; %s", after->what, after->said);
	if (!on_a && !on_b && !after->may_be_down)
		fail_msg("%s: no copy is left; %s", after->what, after->said);
	diskhost_copy(b, after->vm, copy);
	if (!on_a && !on_b) {
		/* As after a crash of its host: what was flushed is on the disk, on the host where it ran last. */
		if (diskhost_flushed(b, after->vm))
			diskhost_verify(b, copy, flushed_anywhere(after));
		else
			diskhost_verify(a, after->disk, flushed_anywhere(after));
		if (!stat(copy, &there))
			host_must(b, "image", "check", copy, NULL);
		return;
	}
	diskhost_wait(on_a ? a : b, after->vm, flushed_anywhere(after) + 50);
	if (after->again) {
		move_again(after, on_a);
		on_a = !on_a;
	}
	host_must(on_a ? a : b, "kill", after->vm, NULL);
	host_wait_state(on_a ? a : b, after->vm, "none");
	if (on_b || after->again)
		diskhost_same(after->disk, copy);
	diskhost_verify(on_a ? a : b, on_a ? after->disk : copy, flushed_anywhere(after));
}

void aftermath_tidy(const struct aftermath *after)
{
	static char output[HOST_OUTPUT];
	char copy[DISKHOST_PATH];

	host_drover(&world.a, output, "forget", "--force", after->vm, NULL);
	host_drover(&world.b, output, "forget", "--force", after->vm, NULL);
	diskhost_copy(&world.b, after->vm, copy);
	(void)unlink(copy);
	(void)unlink(after->disk);
}
