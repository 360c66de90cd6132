/* Restoring: disks go back and forth and lose nothing, also when it is cut short; a second VM beside the first; and what is
 * damaged, or must not be, is refused before anything is changed. */
#include "common/io.h"
#include "tests/lib/need.h"
#include "tests/lib/snaphost.h"
#include "tests/lib/test.h"

#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define GENTLE "fill=8M dirty=5 report=20"

static char folder[TEMP_MAX];
static struct host host;

static int setup(void **state)
{
	(void)state;
	return snap_open(&host, folder);
}

static int teardown(void **state)
{
	(void)state;
	return snap_close(&host, folder);
}

/* ---- a disk whose content the test knows --------------------------------------------------------------------------- */

static void fill_disk(uint8_t byte)
{
	const struct dvol_open_options options = {.writable = true};
	char path[HOST_PATH + 32];
	uint8_t data[DVOL_BLOCK];
	struct err err = {0};

	snap_disk(&host, path);
	struct dvol *vol = dvol_open(path, &options, &err);
	if (!vol)
		fail_msg("%s", err.text);
	for (uint64_t at = 0; at < SNAP_DISK; at += 5 * DVOL_BLOCK) {
		memset(data, byte, sizeof(data));
		assert_int_equal(dvol_write(vol, data, sizeof(data), at, &err), 0);
	}
	assert_int_equal(dvol_close(vol, &err), 0);
}

static void path_holds(const char *path, uint8_t byte)
{
	struct err err = {0};
	uint8_t data[DVOL_BLOCK], expected[DVOL_BLOCK];

	memset(expected, byte, sizeof(expected));
	struct dvol *vol = dvol_open(path, NULL, &err);
	if (!vol)
		fail_msg("%s", err.text);
	for (uint64_t at = 0; at < SNAP_DISK; at += 5 * DVOL_BLOCK) {
		assert_int_equal(dvol_read(vol, data, sizeof(data), at, &err), 0);
		assert_memory_equal(data, expected, sizeof(data));
	}
	dvol_close(vol, NULL);
}

static void disk_holds(uint8_t byte)
{
	char path[HOST_PATH + 32];

	snap_disk(&host, path);
	path_holds(path, byte);
}

/* restore: the snapshot, and the id of the one of what was there before ("" where none was made). */
static void restore(const char *id, char before[32])
{
	json_t *json = snap_json(&host, "restore", "g", "--epoch", id, NULL);
	const char *text = json_string_value(json_object_get(json, "before"));

	snprintf(before, 32, "%s", text ? text : "");
	json_decref(json);
}

static void test_disks_back_and_forth(void **state)
{
	char one[32], two[32], three[32], none[32];

	(void)state;
	snap_define(&host, "g", GENTLE);
	fill_disk(1);
	snap_take(&host, "g", one);
	fill_disk(2);
	snap_take(&host, "g", two);
	fill_disk(3);
	restore(one, three);
	assert_string_not_equal(three, "");
	disk_holds(1);
	snap_settled(&host, "g", 3);
	restore(two, none);
	/* The disk is as snapshot one, but not as its newest epoch: that counts as changed. */
	disk_holds(2);
	restore(three, none);
	disk_holds(3);
	fill_disk(4);
	host_must(&host, "restore", "g", "--epoch", two, "--discard-current", NULL);
	disk_holds(2);
	snap_refused(&host, "there is no snapshot 9.9 of VM 'g'", "restore", "g", "--epoch", "9.9", NULL);
	snap_forget(&host, "g");
}

static int killed_at(const char *point, const char *id)
{
	const char *const argv[] = {"drover", "restore", "g", "--epoch", id, NULL};
	struct command *command = calloc(1, sizeof(*command));
	char fault[64];

	snprintf(fault, sizeof(fault), "%s=kill", point);
	command_start(command, &host, fault, argv);
	int status = command_wait(command);
	if (!host_fault_fired(&host, point))
		fail_msg("%s: nothing passed that point: %s", fault, command->output);
	free(command);
	return status;
}

/* Once it is decided, whatever comes next finishes it: the VM's start, another snapshot, another restore. */
static void test_cut_short(void **state)
{
	static const char *const points[] = {"restore.marked", "restore.half", "restore.done"};
	char one[32], two[32], none[32];

	(void)state;
	snap_define(&host, "g", GENTLE);
	fill_disk(1);
	snap_take(&host, "g", one);
	for (size_t i = 0; i < 3; i++) {
		fill_disk(2);
		assert_int_equal(killed_at(points[i], one), 128 + SIGKILL);
		snap_refused(&host, "a restore of this snapshot was cut short", "snapshots", "g", "--delete",
			     one, NULL);
		if (i == 0) {
			host_must(&host, "start", "g", NULL);
			host_wait_report(&host, "g", 0);
			snap_end(&host, "g");
		} else if (i == 1) {
			snap_take(&host, "g", two);
		} else {
			restore(one, none);
			assert_string_equal(none, "");
		}
		disk_holds(1);
	}
	/* What was there before each of them is kept, and one was taken in between. */
	snap_settled(&host, "g", 5);
	snap_forget(&host, "g");
}

/* ---- a second VM --------------------------------------------------------------------------------------------------- */

static void test_beside_the_first(void **state)
{
	char id[32], clone[HOST_PATH + 96], other[HOST_PATH + 96], image[HOST_PATH + 96];

	(void)state;
	snap_define(&host, "g", GENTLE);
	fill_disk(1);
	host_must(&host, "start", "g", NULL);
	host_wait_report(&host, "g", 2);
	uint64_t low = snap_last(&host, "g");
	snap_take(&host, "g", id);
	uint64_t high = snap_last(&host, "g") + 1;
	json_t *json = snap_json(&host, "restore", "g", "--as", "m", NULL);
	json_decref(json);
	assert_in_range(snap_reports(&host, "m", 5), low, high + 1);
	host_wait_report(&host, "g", snap_last(&host, "g") + 3);
	/* An identity of its own, and a definition from which it boots again; its card is connected to nothing. */
	json_t *g = snap_json(&host, "status", "g", NULL), *m = snap_json(&host, "status", "m", NULL);
	assert_string_not_equal(json_string_value(json_object_get(g, "uuid")),
				json_string_value(json_object_get(m, "uuid")));
	json_decref(g);
	json_decref(m);
	snap_refused(&host, "VM 'm' was made of snapshot", "snapshots", "g", "--delete", id, NULL);
	snap_refused(&host, "a definition of VM 'm' already", "restore", "g", "--as", "m", NULL);
	snap_end(&host, "m");
	snprintf(clone, sizeof(clone), "%s/state/vms/m/disks/slot-1.dvol", host.root);
	path_holds(clone, 1);
	host_must(&host, "start", "m", NULL);
	assert_int_equal(snap_reports(&host, "m", 3), 0);
	host_must(&host, "kill", "m", NULL);
	host_must(&host, "remove", "m", NULL);
	host_must(&host, "forget", "m", NULL);
	snap_refused(&host, "delete that first", "snapshots", "g", "--delete", id, NULL);
	path_holds(clone, 1); /* disks stay */
	/* They go with a VM that says so; not while a clone needs them. */
	host_must(&host, "restore", "g", "--as", "n", NULL);
	host_must(&host, "kill", "n", NULL);
	snprintf(other, sizeof(other), "%s/state/vms/n/disks/slot-1.dvol", host.root);
	snprintf(image, sizeof(image), "%s/clone.dvol", host.root);
	host_must(&host, "image", "close", other, NULL);
	host_must(&host, "image", "clone", other, image, NULL);
	snap_refused(&host, "is pinned by", "remove", "n", "--disks", NULL);
	assert_int_equal(access(other, F_OK), 0);
	assert_int_equal(unlink(image), 0);
	host_must(&host, "image", "delete", other, "1.1", "--forget-clones", NULL);
	host_must(&host, "remove", "n", "--disks", NULL);
	host_must(&host, "forget", "n", NULL);
	assert_int_not_equal(access(other, F_OK), 0);
	assert_int_equal(unlink(clone), 0);
	host_must(&host, "snapshots", "g", "--delete", id, NULL);
	snap_settled(&host, "g", 0);
	snap_forget(&host, "g");
}

static void test_its_nets(void **state)
{
	char id[32];

	(void)state;
	snap_start(&host, "g", GENTLE);
	snap_take(&host, "g", id);
	snap_refused(&host, "--net is given 2 times, and the VM has 1", "restore", "g", "--as", "m", "--net",
		     "t0", "--net", "t1", NULL);
	snap_refused(&host, "there is no network interface", "restore", "g", "--as", "m", "--net",
		     "drover-none", NULL);
	/* No half of a VM is left of it. */
	snap_refused(&host, "this host has no VM named 'm'", "status", "m", NULL);
	host_must(&host, "snapshots", "g", "--delete", id, NULL);
	snap_forget(&host, "g");
}

/* ---- what is refused ------------------------------------------------------------------------------------------------ */

static void flip(const char *path, off_t at)
{
	uint8_t byte;
	int fd = open(path, O_RDWR | O_CLOEXEC);

	assert_true(fd >= 0);
	assert_int_equal(pread(fd, &byte, 1, at), 1);
	byte ^= 0x55;
	assert_int_equal(pwrite(fd, &byte, 1, at), 1);
	close(fd);
}

static void file_of(const char *id, const char *suffix, char path[HOST_PATH + 96])
{
	char file[64];

	snprintf(file, sizeof(file), "%s.%s", id, suffix);
	snap_store(&host, "g", file, path);
}

static void test_damage(void **state)
{
	char id[32], path[HOST_PATH + 96];

	(void)state;
	snap_start(&host, "g", GENTLE);
	snap_take(&host, "g", id);
	snap_refused(&host, "VM 'g' lives on this host (running)", "restore", "g", NULL);
	snap_end(&host, "g");
	file_of(id, "state", path);
	flip(path, 100);
	snap_refused(&host, "the snapshot's machine state is damaged", "restore", "g", NULL);
	flip(path, 100);
	file_of(id, "json", path);
	flip(path, 1);
	snap_refused(&host, "the record of the snapshot is damaged", "restore", "g", NULL);
	json_t *json = snap_json(&host, "snapshots", "g", NULL);
	assert_non_null(json_object_get(json_array_get(json_object_get(json, "snapshots"), 0), "damaged"));
	json_decref(json);
	flip(path, 1);
	snap_store(&host, "g", "ram.dvol", path);
	flip(path, 0);
	flip(path, DVOL_BLOCK);
	snap_refused(&host, "ram.dvol", "restore", "g", NULL);
	flip(path, 0);
	flip(path, DVOL_BLOCK);
	/* None of this has changed anything. */
	snap_settled(&host, "g", 1);
	host_must(&host, "restore", "g", NULL);
	snap_reports(&host, "g", 3);
	snap_forget(&host, "g");
}

/* data_at: where in the file a page of RAM's is. */
static off_t data_at(const char *path, const char *id)
{
	struct dvol_open_options options = {0};
	struct dvol_map_extent *list;
	struct err err = {0};
	size_t count;
	off_t at = 0;

	assert_int_equal(dvol_id_parse(id, &options.epoch, &err), 0);
	struct dvol *vol = dvol_open(path, &options, &err);
	if (!vol)
		fail_msg("%s", err.text);
	assert_int_equal(dvol_map(vol, 0, dvol_size(vol), 1000, &list, &count, &err), 0);
	for (size_t i = 0; i < count; i++)
		if (list[i].kind == DVOL_MAP_DATA)
			at = (off_t)(list[i].file_offset + list[i].len - DVOL_BLOCK);
	assert_true(at > 0);
	free(list);
	dvol_close(vol, NULL);
	return at;
}

/* A page that is not what it was ends the guest; it is not given to it. */
static void test_damaged_page(void **state)
{
	char id[32], path[HOST_PATH + 96], log_path[HOST_PATH + 96];
	void *log;
	size_t len;

	(void)state;
	snap_start(&host, "g", GENTLE);
	snap_take(&host, "g", id);
	snap_end(&host, "g");
	snap_store(&host, "g", "ram.dvol", path);
	off_t at = data_at(path, id);
	flip(path, at + 1000);
	host_drover(&host, NULL, "restore", "g", NULL); /* fails, or the guest ends a moment later */
	host_wait_state(&host, "g", "none");
	snprintf(log_path, sizeof(log_path), "%s/state/vms/g/vm.log", host.root);
	assert_int_equal(io_read_file(log_path, 1 << 20, &log, &len), 0);
	if (!strstr(log, "the guest's memory cannot be restored") || !strstr(log, "is damaged"))
		fail_msg("vm.log: %s", (const char *)log);
	free(log);
	snprintf(log_path, sizeof(log_path), "%s/state/vms/g/console.log", host.root);
	assert_int_equal(unlink(log_path), 0); /* it may end within a line */
	json_t *view = snap_json(&host, "status", "g", NULL);
	assert_string_equal(json_string_value(json_object_get(view, "state")), "stopped");
	json_decref(view);
	flip(path, at + 1000);
	snap_settled(&host, "g", 1);
	host_must(&host, "restore", "g", NULL);
	host_wait_report(&host, "g", 0);
	snap_forget(&host, "g");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test_setup_teardown(test_disks_back_and_forth, setup, teardown),
	    cmocka_unit_test_setup_teardown(test_cut_short, setup, teardown),
	    cmocka_unit_test_setup_teardown(test_beside_the_first, setup, teardown),
	    cmocka_unit_test_setup_teardown(test_its_nets, setup, teardown),
	    cmocka_unit_test_setup_teardown(test_damage, setup, teardown),
	    cmocka_unit_test_setup_teardown(test_damaged_page, setup, teardown),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
