/* RAM and disks at one moment, while both are written to as fast as can be: what is copied is what was there at the boundary, and
 * nobody waits for a client that is gone.  The devices' side of a guest is played by threads of the test. */
#include "common/io.h"
#include "tests/lib/blk_driver.h"
#include "tests/lib/need.h"
#include "tests/lib/temp.h"
#include "tests/lib/test.h"
#include "vmm/machine_impl.h"
#include "vmm/pager.h"
#include "vmm/snapshot.h"
#include "vmm/snapshot_ram.h"
#include "vmm/uffd.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

enum { SECTORS = 4096, ACKED = 40, PAGE = 4096, FIRST = 8 << 20, HOLES = 24 << 20 };

static char folder[TEMP_MAX], disk[TEMP_MAX + 16], ram_volume[TEMP_MAX + 16];
static struct machine *machine;
static struct driver driver;
static struct snapshot snapshot;
static struct dvol *vol;
static int device;

static int setup(void **state)
{
	const struct dvol_create_options create = {.size_bytes = BLK_RAM};
	const struct dvol_open_options options = {.writable = true};
	struct err err = {0};

	(void)state;
	if (!need_kvm())
		return -1;
	device = uffd_device();
	temp_make(folder);
	snprintf(disk, sizeof(disk), "%s/disk", folder);
	snprintf(ram_volume, sizeof(ram_volume), "%s/ram", folder);
	blk_volume(disk, SECTORS * 512);
	struct vm_config config = blk_config(disk, DISK_DVOL, false, 1);
	machine = blk_machine(&config);
	config_free(&config);
	blk_ready(&driver, machine, BLK_ALL_FEATURES, 1);
	assert_int_equal(dvol_create(ram_volume, &create, &err), 0);
	vol = dvol_open(ram_volume, &options, &err);
	assert_non_null(vol);
	return snapshot_init(&snapshot, machine, "v", &err);
}

static int teardown(void **state)
{
	(void)state;
	snapshot_destroy(&snapshot);
	machine_destroy(machine);
	dvol_close(vol, NULL);
	close(device);
	temp_remove(folder);
	return 0;
}

static uint8_t *ram(void)
{
	uint64_t bytes;
	return machine_ram(machine, &bytes);
}

/* The pages from FIRST on hold their number and `round`; from HOLES on nothing was ever touched. */
static void write_pages(uint64_t from, uint64_t to, uint8_t round)
{
	for (uint64_t at = from; at < to; at += PAGE) {
		memset(ram() + at, round, PAGE);
		memcpy(ram() + at, &at, sizeof(at));
	}
}

static void make_holes(uint64_t from)
{
	assert_int_equal(fallocate(machine_ram_fd(machine), FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
				   (off_t)from, (off_t)(BLK_RAM - from)),
			 0);
}

static void *scribble(void *unused)
{
	(void)unused;
	/* From both ends, so that some are met before they are copied. */
	write_pages(HOLES, BLK_RAM, 9);
	for (uint64_t at = HOLES - PAGE; at >= FIRST; at -= PAGE)
		write_pages(at, at + PAGE, 9);
	return NULL;
}

static void ram_is(struct dvol *from, uint8_t round)
{
	uint8_t data[PAGE], expected[PAGE];
	for (uint64_t at = FIRST; at < BLK_RAM; at += PAGE) {
		memset(expected, at < HOLES ? round : 0, PAGE);
		if (at < HOLES)
			memcpy(expected, &at, sizeof(at));
		assert_int_equal(dvol_read(from, data, PAGE, at, NULL), 0);
		if (memcmp(data, expected, PAGE) != 0)
			fail_msg("byte %llu of RAM is of another moment", (unsigned long long)at);
	}
}

static struct snapshot_ram source(struct snapshot_boundary *boundary)
{
	return (struct snapshot_ram){.ram_fd = machine_ram_fd(machine),
				     .uffd = boundary->uffd,
				     .base = (uintptr_t)ram(),
				     .bytes = BLK_RAM,
				     .touched = boundary->touched.data,
				     .touched_len = boundary->touched.len};
}

static void release(struct snapshot_boundary *boundary)
{
	io_close(&boundary->uffd);
	buf_free(&boundary->state);
	buf_free(&boundary->touched);
}

static void begin(struct snapshot_boundary *boundary, uint64_t number)
{
	struct err err = {0};
	if (snapshot_begin(&snapshot, (struct dvol_id){1, number}, true, device, false, boundary, &err))
		fail_msg("%s", err.text);
	devices_resume(machine); /* no vCPU has anything to run */
	if (boundary->uffd < 0)
		fail_msg("%s", boundary->why_standing.text);
	assert_true(boundary->state.len > 0);
}

static void test_ram_while_it_is_written(void **state)
{
	struct snapshot_boundary boundary;
	struct err err = {0};
	pthread_t thread;

	(void)state;
	for (uint8_t round = 1; round <= 3; round++) {
		write_pages(FIRST, HOLES, round);
		begin(&boundary, round);
		struct snapshot_ram copy = source(&boundary);
		assert_int_equal(pthread_create(&thread, NULL, scribble, NULL), 0);
		if (snapshot_ram_copy(&copy, vol, &err))
			fail_msg("%s", err.text);
		release(&boundary); /* lets those go on that still wait */
		pthread_join(thread, NULL);
		assert_int_equal(snapshot_end(&snapshot, false, &err), 0);
		ram_is(vol, round);
		print_message("%llu faults, %llu of %llu bytes written\n", (unsigned long long)copy.faults,
			      (unsigned long long)copy.written_bytes, (unsigned long long)copy.copied_bytes);
		make_holes(HOLES); /* as it was at the boundary */
	}
}

/* The client dies with pages protected: who waits for one goes on. */
static void test_nobody_waits_for_the_dead(void **state)
{
	struct snapshot_boundary boundary;
	pthread_t thread;

	(void)state;
	write_pages(FIRST, HOLES, 1);
	begin(&boundary, 1);
	assert_int_equal(pthread_create(&thread, NULL, scribble, NULL), 0);
	release(&boundary);
	pthread_join(thread, NULL);
	assert_int_equal(snapshot_end(&snapshot, false, NULL), 0);
	assert_int_equal(ram()[HOLES - 1], 9);
}

static bool stop_at_once(void *context, uint64_t done, uint64_t total)
{
	(void)context, (void)done, (void)total;
	return false;
}

static void test_cancelled_and_made_up(void **state)
{
	struct snapshot_boundary boundary;
	struct err err = {0};
	uint8_t ranges[4][16] = {{0}};

	(void)state;
	write_pages(FIRST, HOLES, 1);
	begin(&boundary, 1);
	struct snapshot_ram copy = source(&boundary);
	copy.tick = stop_at_once;
	assert_int_equal(snapshot_ram_copy(&copy, vol, &err), -1);
	assert_int_equal(err.kind, ERR_CANCELLED);
	/* Lists that no VM process makes. */
	le64_put(ranges[0], 0), le64_put(ranges[0] + 8, BLK_RAM + PAGE);
	le64_put(ranges[1], 100), le64_put(ranges[1] + 8, PAGE);
	le64_put(ranges[2], UINT64_MAX & ~4095ull), le64_put(ranges[2] + 8, PAGE);
	le64_put(ranges[3], 0), le64_put(ranges[3] + 8, 0);
	for (size_t i = 0; i < 4; i++) {
		copy = source(&boundary);
		copy.touched = ranges[i];
		copy.touched_len = 16;
		assert_int_equal(snapshot_ram_copy(&copy, vol, &err), -1);
		assert_int_equal(err.kind, ERR_INPUT);
	}
	copy.touched_len = 15;
	assert_int_equal(snapshot_ram_copy(&copy, vol, &err), -1);
	release(&boundary);
	assert_int_equal(snapshot_end(&snapshot, false, &err), 0);
	assert_int_equal(snapshot_end(&snapshot, false, &err), -1);
}

static void test_without_userfaultfd(void **state)
{
	struct snapshot_boundary boundary;
	struct err err = {0};

	(void)state;
	write_pages(FIRST, HOLES, 4);
	begin(&boundary, 1);
	struct snapshot_ram copy = source(&boundary);
	copy.uffd = -1;
	assert_int_equal(snapshot_ram_copy(&copy, vol, &err), 0);
	ram_is(vol, 4);
	release(&boundary);
	assert_int_equal(snapshot_end(&snapshot, false, &err), 0);
}

/* Every write that was answered before the boundary is in the disk's epoch, and none that was sent after it. */
static void test_disk(void **state)
{
	struct snapshot_boundary boundary;
	struct err err = {0};
	uint8_t data[512], zeroes[512] = {0};

	(void)state;
	for (unsigned i = 0; i < 2 * ACKED; i++) {
		if (i == ACKED) {
			assert_int_equal(snapshot_begin(&snapshot, (struct dvol_id){1, 1}, false, -1, false,
							&boundary, &err),
					 0);
			devices_resume(machine);
		}
		memset(data, (int)i + 1, sizeof(data));
		assert_int_equal(blk_do(&driver, 0, BLK_OUT, i, data, sizeof(data)), BLK_OK);
	}
	release(&boundary);
	assert_int_equal(snapshot_end(&snapshot, false, &err), 0);
	const struct dvol_open_options options = {.epoch = {1, 1}};
	struct dvol *epoch = dvol_open(disk, &options, &err);
	assert_non_null(epoch);
	for (unsigned i = 0; i < 2 * ACKED; i++) {
		uint8_t expected[512];
		memset(expected, (int)i + 1, sizeof(expected));
		assert_int_equal(dvol_read(epoch, data, sizeof(data), (uint64_t)i * 512, &err), 0);
		assert_memory_equal(data, i < ACKED ? expected : zeroes, sizeof(data));
	}
	dvol_close(epoch, NULL);
	assert_int_equal(snapshot_delete(&snapshot, (struct dvol_id){1, 1}, &err), 0);
	assert_int_equal(snapshot_delete(&snapshot, (struct dvol_id){1, 1}, &err), -1);
	assert_int_equal(snapshot_delete_end(&snapshot, &err), 0);
	assert_null(dvol_open(disk, &options, &err));
}

/* An epoch that cannot be closed is told at the end, and the guest has run on. */
static void test_epoch_is_taken(void **state)
{
	struct snapshot_boundary boundary;
	struct err err = {0};

	(void)state;
	begin(&boundary, 7);
	release(&boundary);
	assert_int_equal(snapshot_end(&snapshot, false, &err), 0);
	begin(&boundary, 7);
	release(&boundary);
	assert_int_equal(snapshot_end(&snapshot, false, &err), -1);
	assert_non_null(strstr(err.text, "does not come after the newest one"));
}

/* ---- coming back ---------------------------------------------------------------------------------------------------- */

static void fill_volume(struct dvol_id *id)
{
	uint8_t root[DVOL_ROOT], data[PAGE];
	for (uint64_t at = FIRST; at < HOLES; at += PAGE) {
		memset(data, 5, PAGE);
		memcpy(data, &at, sizeof(at));
		assert_int_equal(dvol_write(vol, data, PAGE, at, NULL), 0);
	}
	assert_int_equal(dvol_epoch_close(vol, NULL, id, NULL), 0);
	assert_int_equal(dvol_digest(vol, *id, root, NULL), 0);
}

static void test_pager(void **state)
{
	struct pager pager;
	struct dvol_id id;
	struct err err = {0};
	uint64_t bytes;
	eventfd_t times;

	(void)state;
	fill_volume(&id);
	machine_pause(machine);
	make_holes(0);
	if (pager_open(&pager, ram_volume, id, machine_ram(machine, &bytes), BLK_RAM, device, &err) ||
	    pager_run(&pager, &err))
		fail_msg("%s", err.text);
	assert_non_null(pager.volume);
	/* Whatever is touched is there, in any order, by reading and writing. */
	for (uint64_t at = HOLES - PAGE; at >= FIRST; at -= 3 * PAGE) {
		assert_memory_equal(ram() + at, &at, sizeof(at));
		assert_int_equal(ram()[at + 100], 5);
	}
	ram()[BLK_RAM - 1] = 7; /* a page of zeroes */
	assert_int_equal(ram()[BLK_RAM - 2], 0);
	while (eventfd_read(pager.done_fd, &times))
		assert_int_equal(errno, EAGAIN);
	assert_false(pager_has_failed(&pager));
	pager_stop(&pager);
	for (uint64_t at = FIRST; at < HOLES; at += PAGE)
		assert_memory_equal(ram() + at, &at, sizeof(at));
	assert_int_equal(ram()[HOLES], 0);
	assert_int_equal(ram()[BLK_RAM - 1], 7);
}

static void test_pager_is_refused(void **state)
{
	struct pager pager;
	struct dvol_id id;
	struct err err = {0};
	uint64_t bytes;

	(void)state;
	fill_volume(&id);
	void *base = machine_ram(machine, &bytes);
	assert_int_equal(pager_open(&pager, "/none", id, base, bytes, device, &err), -1);
	assert_int_equal(pager_open(&pager, ram_volume, (struct dvol_id){9, 9}, base, bytes, device, &err),
			 -1);
	assert_int_equal(pager_open(&pager, ram_volume, id, base, bytes + PAGE, device, &err), -1);
	assert_non_null(strstr(err.text, "bytes of RAM"));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test_setup_teardown(test_ram_while_it_is_written, setup, teardown),
	    cmocka_unit_test_setup_teardown(test_nobody_waits_for_the_dead, setup, teardown),
	    cmocka_unit_test_setup_teardown(test_cancelled_and_made_up, setup, teardown),
	    cmocka_unit_test_setup_teardown(test_without_userfaultfd, setup, teardown),
	    cmocka_unit_test_setup_teardown(test_disk, setup, teardown),
	    cmocka_unit_test_setup_teardown(test_epoch_is_taken, setup, teardown),
	    cmocka_unit_test_setup_teardown(test_pager, setup, teardown),
	    cmocka_unit_test_setup_teardown(test_pager_is_refused, setup, teardown),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
