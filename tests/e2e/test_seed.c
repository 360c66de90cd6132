/* test_seed.c: a VM moves to a host that has its disk already, more or less, but not as a volume that drover knows: only what differs goes
 * over, and what is there then is the sender's disk, bit for bit, in its lineage. */
#include "common/io.h"
#include "tests/lib/diskhost.h"
#include "tests/lib/need.h"
#include "tests/lib/pair.h"
#include "tests/lib/random.h"
#include "tests/lib/test.h"

#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum {
	SIZE = 256 << 20,
	LOG = 8 << 20, /* what the guest's log takes, at the beginning */
	FILLED = 96 << 20,
	BLOCK = 4096,
	IN_FLIGHT = 20 << 20,
};

static struct pair world;
static struct command command;
static char disk[TEMP_MAX + 16], seed[DISKHOST_PATH], copy[DISKHOST_PATH];

static uint64_t block_seed(uint64_t block)
{
	return block * 0x9e3779b97f4a7c15u + 1;
}

/* Content that does not compress, and that another image can have again. */
static void make_block(uint64_t block, uint8_t data[BLOCK])
{
	uint64_t random = block_seed(block);

	random_fill(&random, data, BLOCK);
}

static void make_disk(void)
{
	const struct dvol_open_options options = {.writable = true};
	static uint8_t data[256 * BLOCK];
	struct err err = {0};
	struct dvol *vol;

	host_must(&world.a, "image", "create", disk, "256M", NULL);
	vol = dvol_open(disk, &options, &err);
	for (uint64_t at = 0; vol && at < FILLED; at += sizeof(data)) {
		for (size_t i = 0; i < sizeof(data) / BLOCK; i++)
			make_block(at / BLOCK + i, data + i * BLOCK);
		if (dvol_write(vol, data, sizeof(data), LOG + at, &err))
			break;
	}
	if (!vol || err.kind != ERR_NONE || dvol_close(vol, &err))
		fail_msg("%s", err.text);
}

/* A raw image beside the place for the copy: the same content, but that every so many blocks one differs; and shifted by so many
 * bytes. */
static void make_seed(uint64_t every, uint64_t shift)
{
	static uint8_t data[BLOCK];
	char folder[DISKHOST_PATH];
	int fd;

	snprintf(folder, sizeof(folder), "%s/state/vms/g/disks", world.b.root);
	assert_int_equal(io_mkdirs(folder, 0700), 0);
	fd = open(seed, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
	assert_true(fd >= 0);
	assert_int_equal(ftruncate(fd, SIZE), 0);
	for (uint64_t block = 0; block < FILLED / BLOCK; block++) {
		make_block(block, data);
		if (every && block % every == 0)
			data[7] ^= 1;
		assert_int_equal(pwrite(fd, data, BLOCK, (off_t)(LOG + shift + block * BLOCK)), BLOCK);
	}
	/* And something where the disk has nothing. */
	assert_int_equal(pwrite(fd, data, BLOCK, SIZE - 3 * BLOCK), BLOCK);
	close(fd);
}

static const char *const *argv(struct relay *relay, const char *flag)
{
	const char *const more[] = {"--reconnect", "20s", "--compress", "none", flag, NULL};

	return host_migrate_argv_with(&world.sshd, &world.b, "g", NULL, relay ? relay_port(relay) : 0, more);
}

static void must_succeed(void)
{
	size_t len;

	if (!command_wait(&command))
		return;
	len = strlen(command.output);
	fail_msg("%s", command.output + (len > 900 ? len - 900 : 0));
}

static uint64_t disk_bytes(void)
{
	json_t *report = command_report(&command);
	json_int_t bytes = json_integer_value(json_object_get(json_object_get(report, "disks"), "bytes"));

	json_decref(report);
	return (uint64_t)bytes;
}

static void the_disk_is_whole(void)
{
	diskhost_wait(&world.b, "g", diskhost_flushed(&world.a, "g") + 100);
	host_must(&world.b, "kill", "g", NULL);
	host_wait_state(&world.b, "g", "none");
	diskhost_same(disk, copy);
	diskhost_verify(&world.b, copy, diskhost_flushed(&world.b, "g"));
}

/* Bytes of the disk's first epoch. */
static uint64_t move_with_seed(uint64_t every, uint64_t shift)
{
	uint64_t bytes;

	make_disk();
	make_seed(every, shift);
	diskhost_start(&world.a, "g", NULL, disk, "");
	command_start(&command, &world.a, NULL, argv(NULL, NULL));
	must_succeed();
	assert_non_null(strstr(command.output, "the other host has something of the disk in slot 1"));
	bytes = disk_bytes();
	print_message("  %llu KiB of %d\n", (unsigned long long)bytes >> 10, FILLED >> 10);
	the_disk_is_whole();
	return bytes;
}

static void a_copy_with_one_percent_changed(void **state)
{
	(void)state;
	need_kvm();
	assert_true(move_with_seed(100, 0) < FILLED / 100 * 4 + LOG);
}

static void content_that_is_elsewhere_goes_over(void **state)
{
	(void)state;
	need_kvm();
	assert_true(move_with_seed(0, 512) > FILLED);
}

static void a_seed_that_is_a_volume(void **state)
{
	char raw[DISKHOST_PATH + 8];

	(void)state;
	need_kvm();
	make_disk();
	make_seed(100, 0);
	snprintf(raw, sizeof(raw), "%s.raw", seed);
	assert_int_equal(rename(seed, raw), 0);
	host_must(&world.b, "image", "convert", raw, seed, "--to", "dvol", NULL);
	assert_int_equal(unlink(raw), 0);
	diskhost_start(&world.a, "g", NULL, disk, "");
	command_start(&command, &world.a, NULL, argv(NULL, NULL));
	must_succeed();
	assert_true(disk_bytes() < FILLED / 100 * 4 + LOG);
	the_disk_is_whole();
}

/* The mover dies while it compares, and then both it and the receiver; what was found and sent stays. */
static void a_comparing_that_is_killed(void **state)
{
	(void)state;
	need_kvm();
	make_disk();
	make_seed(100, 0);
	diskhost_start(&world.a, "g", NULL, disk, "");
	command_start(&command, &world.a, "compare.middle=kill", argv(NULL, NULL));
	assert_int_equal(command_wait(&command), 128 + SIGKILL);
	host_wait_state(&world.a, "g", "running");
	command_start(&command, &world.a, NULL, argv(NULL, "--resume"));
	must_succeed();
	assert_null(strstr(command.output, "begins anew"));
	assert_true(disk_bytes() < FILLED / 100 * 4 + LOG);
	the_disk_is_whole();
}

static void a_session_that_dies_in_the_first_epoch(void **state)
{
	struct relay *relay;

	(void)state;
	need_kvm();
	relay = sshd_relay(&world.sshd);
	assert_non_null(relay);
	make_disk();
	diskhost_start(&world.a, "g", NULL, disk, "");
	command_start(&command, &world.a, NULL, argv(relay, NULL));
	pair_wait_for_bytes(relay, FILLED / 2, &command);
	assert_int_equal(kill(command.pid, SIGKILL), 0);
	assert_int_equal(command_wait(&command), 128 + SIGKILL);
	/* Without --resume: a new session, which the old one gives way to. */
	command_start(&command, &world.a, NULL, argv(relay, NULL));
	must_succeed();
	print_message("  %llu KiB of %d over the wire in all\n",
		      (unsigned long long)relay_bytes_up(relay) >> 10, FILLED >> 10);
	assert_true(relay_bytes_up(relay) < FILLED + IN_FLIGHT + (32 << 20));
	relay_stop(relay);
	the_disk_is_whole();
}

static void a_move_that_is_cancelled_leaves_nothing(void **state)
{
	struct relay *relay;

	(void)state;
	need_kvm();
	relay = sshd_relay(&world.sshd);
	assert_non_null(relay);
	make_disk();
	diskhost_start(&world.a, "g", NULL, disk, "");
	command_start(&command, &world.a, NULL, argv(relay, NULL));
	pair_wait_for_bytes(relay, FILLED / 4, &command);
	host_must(&world.a, "cancel", "g", NULL);
	assert_int_equal(command_wait(&command), 1);
	host_wait_state(&world.b, "g", "none");
	while (!access(copy, F_OK)) /* serve is on its way out; the harness ends a test that hangs */
		usleep(10000);
	relay_stop(relay);
	host_must(&world.a, "kill", "g", NULL);
}

static int setup(void **state)
{
	(void)state;
	if (pair_open(&world))
		return -1;
	snprintf(disk, sizeof(disk), "%s/disk.dvol", world.folder);
	snprintf(seed, sizeof(seed), "%s/state/vms/g/disks/slot-1.seed", world.b.root);
	diskhost_copy(&world.b, "g", copy);
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	return pair_close(&world);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
	    TEST(a_copy_with_one_percent_changed),
	    TEST(content_that_is_elsewhere_goes_over),
	    TEST(a_seed_that_is_a_volume),
	    TEST(a_comparing_that_is_killed),
	    TEST(a_session_that_dies_in_the_first_epoch),
	    TEST(a_move_that_is_cancelled_leaves_nothing),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
