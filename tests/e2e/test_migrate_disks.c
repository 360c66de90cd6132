/* test_migrate_disks.c: VMs move with their disks.  Whatever the guest was told is on its disk is there on the new host; both hosts'
 * copies hold the same bytes in the epoch that they have in common; the way back costs what changed. */
#include "common/io.h"
#include "tests/lib/diskhost.h"
#include "tests/lib/need.h"
#include "tests/lib/pair.h"
#include "tests/lib/random.h"
#include "tests/lib/test.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

static struct pair world;
static char disk[TEMP_MAX + 16];

static struct command command;

/* The bytes that the move took. */
static uint64_t migrate(const struct host *from, const struct host *to, const char *vm)
{
	command_start(&command, from, NULL, host_migrate_argv(&world.sshd, to, vm, NULL));
	if (command_wait(&command))
		fail_msg("migrate: %s", command.output);
	return (uint64_t)command_number(&command, "bytes_sent");
}

/* It fails, with this sentence; the guest runs on where it was, and its log goes on. */
static void is_refused(const char *vm, const char *const *argv, const char *sentence)
{
	command_start(&command, &world.a, NULL, argv);
	if (command_wait(&command) != 1 || !strstr(command.output, sentence))
		fail_msg("migrate: %s; not: %s", command.output, sentence);
	host_wait_state(&world.a, vm, "running");
	host_wait_state(&world.b, vm, "none");
	diskhost_wait(&world.a, vm, diskhost_flushed(&world.a, vm) + 20);
}

/* host_migrate_argv with something behind `drover serve`. */
static const char *const *argv_with(const char *vm, const char *serve_options)
{
	static const char *argv[32];
	static char remote[2048];
	const char *const *plain = host_migrate_argv(&world.sshd, &world.b, vm, NULL);

	for (size_t n = 0; n == 0 || plain[n - 1]; n++)
		argv[n] = plain[n];
	for (size_t n = 0; argv[n]; n++)
		if (!strcmp(argv[n], "--remote-command")) {
			snprintf(remote, sizeof(remote), "%s %s", argv[n + 1], serve_options);
			argv[n + 1] = remote;
		}
	return argv;
}

/* A disk on host A with so much in it that does not compress, behind what the guest's log takes. */
static void make_disk(const char *size, uint64_t filled)
{
	const struct dvol_open_options options = {.writable = true};
	static uint8_t data[1 << 20];
	uint64_t random = random_begin();
	struct dvol *vol;
	struct err err = {0};

	host_must(&world.a, "image", "create", disk, size, NULL);
	vol = dvol_open(disk, &options, &err);
	for (uint64_t at = 0; vol && at < filled; at += sizeof(data)) {
		random_fill(&random, data, sizeof(data));
		if (dvol_write(vol, data, sizeof(data), (8 << 20) + at, &err))
			break;
	}
	if (!vol || err.kind != ERR_NONE || dvol_close(vol, &err))
		fail_msg("%s", err.text);
}

/* Its content becomes what compresses well, and is compressed. */
static void pack_disk(void)
{
	const struct dvol_open_options options = {.writable = true};
	static uint8_t data[1 << 20];
	struct err err = {0};
	struct dvol *vol = dvol_open(disk, &options, &err);

	memset(data, 1, sizeof(data));
	for (uint64_t at = 8 << 20; vol && at < 48 << 20; at += sizeof(data))
		if (dvol_write(vol, data, sizeof(data), at, &err))
			break;
	if (!vol || err.kind != ERR_NONE || dvol_close(vol, &err))
		fail_msg("%s", err.text);
	host_must(&world.a, "image", "pack", disk, NULL);
}

static void end(const struct host *host, const char *vm)
{
	host_must(host, "kill", vm, NULL);
	host_wait_state(host, vm, "none");
}

/* There under load, and back: what the guest was told is flushed is there, both copies are the same where they should be, and the way
 * back costs what changed.  A third move finds the first one's copy. */
static void test_there_and_back(void **state)
{
	(void)state;
	char copy[DISKHOST_PATH];
	uint64_t first, second;

	need_kvm();
	make_disk("64M", 48 << 20);
	diskhost_start(&world.a, "g", NULL, disk, "");
	diskhost_wait(&world.a, "g", 500);
	first = migrate(&world.a, &world.b, "g");
	diskhost_wait(&world.b, "g", diskhost_flushed(&world.a, "g") + 500);
	diskhost_copy(&world.b, "g", copy);
	second = migrate(&world.b, &world.a, "g");
	print_message("  there %llu KiB, back %llu KiB\n", (unsigned long long)first >> 10,
		      (unsigned long long)second >> 10);
	assert_true(first > 48 << 20);
	/* What there is beside the disk, RAM and what the guest writes meanwhile, is more on a busy machine. */
	assert_true(second < first / 4);
	diskhost_wait(&world.a, "g", diskhost_flushed(&world.b, "g") + 500);
	assert_true(migrate(&world.a, &world.b, "g") < first / 4);
	diskhost_wait(&world.b, "g", diskhost_flushed(&world.a, "g") + 100);
	end(&world.b, "g");
	diskhost_same(disk, copy);
	diskhost_verify(&world.b, copy, diskhost_flushed(&world.b, "g"));
	/* One for each move at most, of the last three. */
	assert_true(diskhost_epochs(disk) <= 3);
	assert_true(diskhost_epochs(copy) <= 3);
}

/* More than one disk, one of them a clone whose backing stays where it is. */
static void test_two_disks(void **state)
{
	(void)state;
	char clone[TEMP_MAX + 16], other[TEMP_MAX + 16], kernel[HOST_PATH + 32], copy[DISKHOST_PATH],
	    second[DISKHOST_PATH];

	need_kvm();
	make_disk("32M", 4 << 20);
	snprintf(clone, sizeof(clone), "%s/clone.dvol", world.folder);
	snprintf(kernel, sizeof(kernel), "%s/guest/testguest.elf", host_build());
	host_must(&world.a, "image", "close", disk, NULL);
	host_must(&world.a, "image", "clone", disk, clone, NULL);
	snprintf(other, sizeof(other), "%s/other.dvol", world.folder);
	host_must(&world.a, "image", "create", other, "5000K", NULL);
	host_must(&world.a, "run", "--name", "g", "--memory", "32M", "--kernel", kernel, "--append",
		  "io=disk-log qd=8 span=4M report=20", "--disk", clone, "--disk", other, "--detach", NULL);
	diskhost_wait(&world.a, "g", 200);
	migrate(&world.a, &world.b, "g");
	diskhost_wait(&world.b, "g", diskhost_flushed(&world.a, "g") + 100);
	end(&world.b, "g");
	diskhost_copy(&world.b, "g", copy);
	snprintf(second, sizeof(second), "%s/state/vms/g/disks/slot-2.dvol", world.b.root);
	diskhost_same(clone, copy);
	diskhost_same(other, second);
	diskhost_verify(&world.b, copy, diskhost_flushed(&world.b, "g"));
}

/* With post-copy the disk is there when the guest starts, though its memory is not. */
static void test_postcopy(void **state)
{
	(void)state;
	const char *argv[32];
	char copy[DISKHOST_PATH];
	size_t n = 0;

	need_kvm();
	make_disk("32M", 8 << 20);
	diskhost_start(&world.a, "g", NULL, disk, "");
	diskhost_wait(&world.a, "g", 300);
	for (const char *const *plain = host_migrate_argv(&world.sshd, &world.b, "g", NULL); plain[n]; n++)
		argv[n] = plain[n];
	argv[n++] = "--postcopy";
	argv[n] = NULL;
	command_start(&command, &world.a, NULL, argv);
	if (command_wait(&command))
		fail_msg("migrate: %s", command.output);
	diskhost_wait(&world.b, "g", diskhost_flushed(&world.a, "g") + 300);
	end(&world.b, "g");
	diskhost_copy(&world.b, "g", copy);
	diskhost_same(disk, copy);
	diskhost_verify(&world.b, copy, diskhost_flushed(&world.b, "g"));
}

/* Links that are cut while the disk's first epoch goes out: it goes on, and only what was on its way is sent again. */
static void test_cut_in_the_seed(void **state)
{
	(void)state;
	enum { CUTS = 5, IN_FLIGHT_PAGES = 4096, DISK = 96 << 20 };
	static const char *const patient[] = {"--reconnect", "20s", NULL};
	char copy[DISKHOST_PATH];
	struct relay *relay;

	need_kvm();
	relay = sshd_relay(&world.sshd);
	assert_non_null(relay);
	make_disk("128M", DISK);
	diskhost_start(&world.a, "g", NULL, disk, "");
	command_start(&command, &world.a, NULL,
		      host_migrate_argv_with(&world.sshd, &world.b, "g", NULL, relay_port(relay), patient));
	for (unsigned cuts = 0; cuts < CUTS; cuts++) {
		pair_wait_for_bytes(relay, (uint64_t)DISK / (CUTS + 2) * (cuts + 1), &command);
		relay_cut(relay);
	}
	if (command_wait(&command))
		fail_msg("migrate: %s", command.output);
	print_message("  %u cuts: connected again %llu times, %llu pages again, %llu KiB over the wire\n",
		      CUTS, (unsigned long long)command_number(&command, "reconnects"),
		      (unsigned long long)command_number(&command, "pages_again"),
		      (unsigned long long)relay_bytes_up(relay) >> 10);
	assert_true((uint64_t)command_number(&command, "reconnects") > 0);
	assert_true((uint64_t)command_number(&command, "pages_again") <= CUTS * IN_FLIGHT_PAGES);
	relay_stop(relay);
	diskhost_wait(&world.b, "g", diskhost_flushed(&world.a, "g") + 100);
	end(&world.b, "g");
	diskhost_copy(&world.b, "g", copy);
	diskhost_same(disk, copy);
	diskhost_verify(&world.b, copy, diskhost_flushed(&world.b, "g"));
}

/* The other host's disk runs full: before anything is sent where that can be seen, else in the middle.  Nothing is left there. */
static void test_full(void **state)
{
	(void)state;
	char folder[TEMP_MAX + 16], options[TEMP_MAX + 64], copy[TEMP_MAX + 64];

	need_kvm();
	need_root("mount");
	snprintf(folder, sizeof(folder), "%s/small", world.folder);
	snprintf(options, sizeof(options), "--disks %s", folder);
	snprintf(copy, sizeof(copy), "%s/g", folder);
	assert_int_equal(mkdir(folder, 0700), 0);
	assert_int_equal(mount("small", folder, "tmpfs", 0, "size=24m"), 0);
	make_disk("64M", 40 << 20);
	diskhost_start(&world.a, "g", NULL, disk, "");
	is_refused("g", argv_with("g", options), "the disk in slot 1 takes 4");
	assert_int_not_equal(access(copy, F_OK), 0);
	end(&world.a, "g");
	/* What is compressed here takes more there. */
	assert_int_equal(unlink(disk), 0);
	make_disk("64M", 40 << 20);
	pack_disk();
	diskhost_start(&world.a, "g", NULL, disk, "");
	is_refused("g", argv_with("g", options), "No space left on device");
	assert_int_not_equal(access(copy, F_OK), 0);
	/* With room it moves, and its disk is there. */
	assert_int_equal(mount("small", folder, "tmpfs", MS_REMOUNT, "size=128m"), 0);
	command_start(&command, &world.a, NULL, argv_with("g", options));
	if (command_wait(&command))
		fail_msg("migrate: %s", command.output);
	diskhost_wait(&world.b, "g", diskhost_flushed(&world.a, "g") + 50);
	end(&world.b, "g");
	strcat(copy, "/slot-1.dvol");
	diskhost_same(disk, copy);
	assert_int_equal(umount(folder), 0);
}

/* A file that is not an older copy of this very disk is never written to. */
static void test_strange_files(void **state)
{
	(void)state;
	char copy[DISKHOST_PATH], folder[DISKHOST_PATH];

	need_kvm();
	make_disk("16M", 0);
	diskhost_start(&world.a, "g", NULL, disk, "");
	diskhost_copy(&world.b, "g", copy);
	snprintf(folder, sizeof(folder), "%s/state/vms/g/disks", world.b.root);
	assert_int_equal(io_mkdirs(folder, 0700), 0);
	host_must(&world.b, "image", "create", copy, "16M", NULL);
	host_must(&world.b, "image", "close", copy, NULL);
	is_refused("g", host_migrate_argv(&world.sshd, &world.b, "g", NULL),
		   "is there on that host, and is another volume than the VM's disk in slot 1");
	assert_int_equal(diskhost_epochs(copy), 1);
	assert_int_equal(unlink(copy), 0);
	assert_int_equal(io_replace_file(copy, "no volume", 9), 0);
	is_refused("g", host_migrate_argv(&world.sshd, &world.b, "g", NULL), copy);
	assert_int_equal(unlink(copy), 0);
	is_refused("g", argv_with("g", "--disks relative/folder"), "is not an absolute path");
	migrate(&world.a, &world.b, "g");
	end(&world.b, "g");
}

static void define(const char *vm)
{
	char yaml[TEMP_MAX + 16], text[TEMP_MAX + 512];

	snprintf(text, sizeof(text),
		 "memory: 32M\nkernel: %s/guest/testguest.elf\ncmdline: io=disk-log qd=8 span=4M report=20\n"
		 "disks: [{path: %s}]\n",
		 host_build(), disk);
	snprintf(yaml, sizeof(yaml), "%s/vm.yaml", world.folder);
	assert_int_equal(io_replace_file(yaml, text, strlen(text)), 0);
	host_must(&world.a, "create", vm, "-f", yaml, NULL);
}

/* Host A knows nothing of the move any more, as if it had been set up anew from a backup: the VM is what it was, its disk too. */
static void forget_the_move(const char *vm)
{
	char path[DISKHOST_PATH];
	void *definition;
	size_t len;

	snprintf(path, sizeof(path), "%s/state/vms/%s/definition.json", world.a.root, vm);
	assert_int_equal(io_read_file(path, 1 << 20, &definition, &len), 0);
	host_must(&world.a, "forget", "--force", vm, NULL);
	*strrchr(path, '/') = 0;
	assert_int_equal(io_mkdirs(path, 0700), 0);
	strcat(path, "/definition.json");
	assert_int_equal(io_replace_file(path, definition, len), 0);
	free(definition);
}

/* What the VM wrote on the host where it ended is nowhere else: an older copy does not replace it. */
static void test_newer_there(void **state)
{
	(void)state;
	char copy[DISKHOST_PATH];
	uint64_t flushed;

	need_kvm();
	make_disk("16M", 0);
	define("g");
	host_must(&world.a, "start", "g", NULL);
	diskhost_wait(&world.a, "g", 10);
	migrate(&world.a, &world.b, "g");
	diskhost_wait(&world.b, "g", diskhost_flushed(&world.a, "g") + 200);
	end(&world.b, "g");
	flushed = diskhost_flushed(&world.b, "g");
	forget_the_move("g");
	host_must(&world.a, "start", "g", NULL);
	diskhost_wait(&world.a, "g", 10);
	is_refused("g", host_migrate_argv(&world.sshd, &world.b, "g", NULL), "what no other host has");
	diskhost_copy(&world.b, "g", copy);
	diskhost_verify(&world.b, copy, flushed);
	end(&world.a, "g");
}

/* Disks that are only read do not move: the other host must have them, and is told to let them be read there. */
static void test_read_only(void **state)
{
	(void)state;
	char kernel[HOST_PATH + 32], image[TEMP_MAX + 16], device[TEMP_MAX + 64];
	const char *argv[] = {
	    "drover", "run",      "--name", "g",        "--memory",
	    "32M",    "--kernel", kernel,   "--append", "io=disk-log qd=8 span=4M report=20",
	    "--disk", disk,       "--disk", device,     "--detach",
	    NULL};

	need_kvm();
	make_disk("16M", 0);
	snprintf(kernel, sizeof(kernel), "%s/guest/testguest.elf", host_build());
	snprintf(image, sizeof(image), "%s/it's a cd.raw", world.folder);
	snprintf(device, sizeof(device), "%s,read-only", image);
	assert_int_equal(io_replace_file(image, "read me", 8), 0);
	assert_int_equal(truncate(image, 1 << 20), 0);
	command_start(&command, &world.a, NULL, argv);
	if (command_wait(&command))
		fail_msg("run: %s", command.output);
	diskhost_wait(&world.a, "g", 10);
	/* This host's VM has it open; the other one, which sees the same files here, does not. */
	assert_int_equal(unlink(image), 0);
	is_refused("g", host_migrate_argv(&world.sshd, &world.b, "g", NULL),
		   "cd.raw, which the VM only reads");
	assert_int_equal(io_replace_file(image, "read me", 8), 0);
	migrate(&world.a, &world.b, "g");
	end(&world.b, "g");
}

static int setup(void **state)
{
	(void)state;
	if (pair_open(&world))
		return -1;
	snprintf(disk, sizeof(disk), "%s/disk.dvol", world.folder);
	return 0;
}

/* A file system that a failed test left there. */
static void leave_small(void)
{
	char folder[TEMP_MAX + 16];

	snprintf(folder, sizeof(folder), "%s/small", world.folder);
	(void)umount2(folder, MNT_DETACH); /* what failed may still have files there */
}

static int teardown(void **state)
{
	(void)state;
	leave_small();
	return pair_close(&world);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
	    TEST(test_there_and_back),  TEST(test_two_disks), TEST(test_postcopy),
	    TEST(test_cut_in_the_seed), TEST(test_full),      TEST(test_strange_files),
	    TEST(test_newer_there),     TEST(test_read_only),
	};

	return cmocka_run_group_tests_name("migrate_disks", tests, NULL, NULL);
}
