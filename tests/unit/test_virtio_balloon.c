/* test_virtio_balloon.c: memory that the guest gives back is a hole, reads as zeroes and counts as written; what is none of its
 * memory is refused; targets and statistics. */
#include "tests/lib/need.h"
#include "tests/lib/test.h"
#include "tests/lib/virtio_driver.h"

#include <string.h>
#include <unistd.h>

enum {
	SLOT = 6,
	MEMORY = 1 << 20,
	RAM = 16 << 20,
	PAGE = 4096,
	AREA = 4 << 20, /* pages to give back */
	INFLATE = 0,
	DEFLATE = 1,
	STATISTICS = 2,
	REPORT_PACKED = 3,
	REPORT = 4,
	QUEUES = 5,
};
#define ALL (VIRTIO_BIT(1) | VIRTIO_BIT(2) | VIRTIO_BIT(5))

static struct machine *machine;
static struct driver driver;

static struct vm_config describe(void)
{
	struct vm_config config = {.name = "balloon", .memory_bytes = RAM, .cpus = 1};
	config_new_uuid(config.uuid);
	config_add_device(&config, DEVICE_BALLOON)->slot = SLOT;
	return config;
}

static void begin(void)
{
	driver_begin(&driver, machine, SLOT, MEMORY);
	driver_negotiate(&driver, ALL);
	assert_int_equal(driver.features & ALL, ALL);
	driver_vectors(&driver, QUEUES);
	driver_ready(&driver, QUEUES);
}

static int setup(void **state)
{
	(void)state;
	if (!need_kvm())
		return -1;
	struct vm_config config = describe();
	machine = driver_machine(&config, -1);
	config_free(&config);
	begin();
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	machine_destroy(machine);
	machine = NULL;
	return 0;
}

/* ---- */

static uint8_t *page(unsigned number)
{
	return driver_at(&driver, AREA + (uint64_t)number * PAGE, PAGE);
}

static void fill(unsigned pages)
{
	for (unsigned i = 0; i < pages; i++)
		memset(page(i), 0xa5, PAGE);
}

static bool is_hole(unsigned number)
{
	off_t at = AREA + (off_t)number * PAGE;
	return lseek(machine_ram_fd(machine), at, SEEK_DATA) != at;
}

static bool is_full(unsigned number)
{
	const uint8_t *at = page(number);
	return at[0] == 0xa5 && memcmp(at, at + 1, PAGE - 1) == 0;
}

static bool is_zero(unsigned number)
{
	const uint8_t *at = page(number);
	return at[0] == 0 && memcmp(at, at + 1, PAGE - 1) == 0;
}

static struct driver_buffer numbers(const uint32_t *list, unsigned count)
{
	struct driver_buffer buffer = {driver_alloc(&driver, 4u * count), 4u * count, false};
	uint8_t *at = driver_at(&driver, buffer.gpa, buffer.len);
	for (unsigned i = 0; i < count; i++)
		le32_put(at + 4u * i, list[i]);
	return buffer;
}

static void give(unsigned queue, const struct driver_buffer *buffers, unsigned count)
{
	uint32_t len = 1;
	uint16_t head = driver_add(&driver, queue, buffers, count);
	driver_kick(&driver, queue);
	assert_int_equal(driver_wait(&driver, queue, &len), head);
	assert_int_equal(len, 0);
}

/* ---- */

/* While somebody copies or fills RAM what is given back waits, by the balloon or as free pages; all else goes on. */
static void test_waits_while_ram_is_kept(void **state)
{
	(void)state;
	const uint32_t first = AREA / PAGE;
	const struct driver_buffer list = numbers(&first, 1),
				   area = {AREA + PAGE, PAGE, .device_writes = true};
	uint32_t len;
	fill(2);
	machine_keep_ram(machine, true);
	uint16_t inflate = driver_add(&driver, INFLATE, &list, 1);
	driver_kick(&driver, INFLATE);
	uint16_t report = driver_add(&driver, REPORT, &area, 1);
	driver_kick(&driver, REPORT);
	/* Kicked later and looked at later than the first of these, and answered. */
	give(DEFLATE, &list, 1);
	give(DEFLATE, &list, 1);
	assert_true(driver_idle(&driver, INFLATE) && driver_idle(&driver, REPORT));
	assert_true(is_full(0) && is_full(1));
	machine_keep_ram(machine, false);
	assert_int_equal(driver_wait(&driver, INFLATE, &len), inflate);
	assert_int_equal(driver_wait(&driver, REPORT, &len), report);
	assert_true(is_hole(0) && is_hole(1));
}

static void test_inflate(void **state)
{
	(void)state;
	const uint32_t first = AREA / PAGE;
	/* Upwards, downwards and single, in two buffers. */
	const uint32_t up[] = {first, first + 1, first + 2, first + 8, first + 7, first + 6},
		       one[] = {first + 4};
	fill(10);
	const struct driver_buffer buffers[] = {numbers(up, 6), numbers(one, 1)};
	give(INFLATE, buffers, 2);
	static const bool gone[10] = {true, true, true, false, true, false, true, true, true, false};
	for (unsigned i = 0; i < 10; i++) {
		assert_int_equal(is_hole(i), gone[i]);
		assert_true(gone[i] ? is_zero(i) : is_full(i));
	}
	/* And back: it is simply used. */
	give(DEFLATE, buffers, 2);
	fill(10);
	assert_true(is_full(0) && !is_hole(0));
}

static void test_counts_as_written(void **state)
{
	(void)state;
	struct err err = {0};
	struct pageset set;
	const uint32_t first = AREA / PAGE;
	const uint32_t list[] = {first + 1, first + 2};
	fill(8);
	assert_int_equal(pageset_create(&set, RAM / PAGE, &err), 0);
	assert_int_equal(machine_dirty_start(machine, &set, &err), 0);
	const struct driver_buffer inflated = numbers(list, 2);
	give(INFLATE, &inflated, 1);
	const struct driver_buffer reported = {AREA + 5 * PAGE, PAGE, true};
	give(REPORT, &reported, 1);
	assert_int_equal(machine_dirty_harvest(machine, &err), 0);
	static const bool dirty[8] = {false, true, true, false, false, true, false, false};
	for (unsigned i = 0; i < 8; i++)
		assert_int_equal(pageset_has(&set, first + i), dirty[i]);
	machine_dirty_stop(machine);
	pageset_close(&set);
}

static void test_report(void **state)
{
	(void)state;
	static const unsigned queues[] = {REPORT_PACKED, REPORT};
	for (unsigned i = 0; i < 2; i++) {
		fill(10);
		/* Only whole pages: 1 and 2 of the first buffer, none of the second, 6 and 7 of the third. */
		const struct driver_buffer buffers[] = {{AREA + 100, 3 * PAGE, true},
							{AREA + 4 * PAGE + 1, 2 * PAGE - 2, true},
							{AREA + 6 * PAGE, 2 * PAGE, true}};
		give(queues[i], buffers, 3);
		static const bool gone[10] = {false, true, true, false, false,
					      false, true, true, false, false};
		for (unsigned k = 0; k < 10; k++) {
			assert_int_equal(is_hole(k), gone[k]);
			assert_true(gone[k] || is_full(k));
		}
	}
}

/* A driver without statistics counts on from there. */
static void test_report_without_statistics(void **state)
{
	(void)state;
	driver_begin(&driver, machine, SLOT, MEMORY);
	driver_negotiate(&driver, VIRTIO_BIT(5));
	driver_ready(&driver, 3);
	fill(1);
	const struct driver_buffer buffer = {AREA, PAGE, true};
	give(STATISTICS, &buffer, 1);
	assert_true(is_hole(0));
}

static void test_refused(void **state)
{
	(void)state;
	static const uint32_t bad[] = {RAM / PAGE, 0xfee00, 0xffffffff};
	fill(1);
	for (unsigned i = 0; i < 3; i++) {
		begin();
		const struct driver_buffer buffer = numbers(&bad[i], 1);
		driver_add(&driver, INFLATE, &buffer, 1);
		driver_kick(&driver, INFLATE);
		driver_wait_broken(&driver);
		assert_true(driver_idle(&driver, INFLATE));
	}
	/* More than anybody has to tell at once. */
	begin();
	const struct driver_buffer huge = {0, 1 << 20, false};
	driver_add(&driver, INFLATE, &huge, 1);
	driver_kick(&driver, INFLATE);
	driver_wait_broken(&driver);
	/* Part of a number is none. */
	begin();
	const uint32_t first = AREA / PAGE;
	struct driver_buffer cut = numbers(&first, 1);
	cut.len = 3;
	give(INFLATE, &cut, 1);
	assert_true(is_full(0));
}

static void test_target(void **state)
{
	(void)state;
	struct err err = {0};
	struct machine_balloon balloon;
	assert_false(driver_pending(&driver, 0));
	assert_int_equal(machine_balloon_set(machine, RAM - 100 * PAGE, &err), 0);
	assert_true(driver_pending(&driver, 0));
	assert_int_equal(driver_get(&driver, driver.device, 4), 100);
	driver_put(&driver, driver.device + 4, 60, 4);
	driver_put(&driver, driver.device, 7, 4); /* not the driver's to write */
	assert_true(machine_balloon_get(machine, &balloon));
	assert_int_equal(balloon.target_bytes, RAM - 100 * PAGE);
	assert_int_equal(balloon.kept_bytes, RAM - 60 * PAGE);
	assert_int_equal(balloon.known, 0);
	/* A guest that claims more than there is. */
	driver_put(&driver, driver.device + 4, 0xffffffff, 4);
	assert_true(machine_balloon_get(machine, &balloon));
	assert_int_equal(balloon.kept_bytes, 0);
	assert_int_equal(machine_balloon_set(machine, RAM + PAGE, &err), -1);
	assert_int_equal(err.kind, ERR_USAGE);

	struct vm_config bare = {.name = "none", .memory_bytes = RAM, .cpus = 1};
	config_new_uuid(bare.uuid);
	struct machine *other = machine_create(&bare, -1, NULL, &err);
	assert_non_null(other);
	assert_int_equal(machine_balloon_set(other, RAM, &err), -1);
	assert_int_equal(err.kind, ERR_STATE);
	assert_false(machine_balloon_get(other, &balloon));
	machine_destroy(other);
}

static void test_statistics(void **state)
{
	(void)state;
	struct machine_balloon balloon;
	/* Two that are known, one that is not, and a piece of one. */
	const struct driver_buffer buffer = {driver_alloc(&driver, 35), 35, false};
	uint8_t *at = driver_at(&driver, buffer.gpa, buffer.len);
	le16_put(at, 4);
	le64_put(at + 2, 1234567);
	le16_put(at + 10, 500);
	le64_put(at + 12, 1);
	le16_put(at + 20, 5);
	le64_put(at + 22, UINT64_MAX);
	for (unsigned i = 0; i < 2; i++) {
		driver_add(&driver, STATISTICS, &buffer, 1);
		driver_kick(&driver, STATISTICS);
		/* It comes back when somebody asks. */
		assert_true(machine_balloon_get(machine, &balloon));
		driver_wait(&driver, STATISTICS, NULL);
	}
	assert_true(machine_balloon_get(machine, &balloon));
	assert_int_equal(balloon.known, 1 << 4 | 1 << 5);
	assert_int_equal(balloon.statistic[4], 1234567);
	assert_true(balloon.statistic[5] == UINT64_MAX);
}

static void test_save_and_load(void **state)
{
	(void)state;
	struct err err = {0};
	struct buf saved = {0};
	struct machine_balloon balloon;
	assert_int_equal(machine_balloon_set(machine, RAM / 2, &err), 0);
	driver_put(&driver, driver.device + 4, 77, 4);
	/* A statistics buffer that the device has is the queue's again. */
	const struct driver_buffer buffer = {driver_alloc(&driver, 10), 10, false};
	driver_add(&driver, STATISTICS, &buffer, 1);
	driver_kick(&driver, STATISTICS);
	machine_pause(machine);
	virtio_save(machine->virtio[SLOT], &saved);
	int fd = dup(machine_ram_fd(machine));
	struct vm_config config = describe();
	struct machine *other = machine_create(&config, fd, NULL, &err);
	config_free(&config);
	assert_non_null(other);
	if (virtio_load(other->virtio[SLOT], saved.data, saved.len, &err))
		fail_msg("%s", err.text);
	machine_destroy(machine);
	machine = driver.machine = other;
	devices_resume(machine);
	assert_true(machine_balloon_get(machine, &balloon));
	assert_int_equal(balloon.target_bytes, RAM / 2);
	assert_int_equal(balloon.kept_bytes, RAM - 77 * PAGE);
	driver_wait(&driver, STATISTICS, NULL);
	machine_pause(machine);
	for (size_t cut = 0; cut < saved.len; cut++)
		assert_int_not_equal(virtio_load(machine->virtio[SLOT], saved.data, cut, &err), 0);
	buf_free(&saved);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test_setup_teardown(test_inflate, setup, teardown),
	    cmocka_unit_test_setup_teardown(test_waits_while_ram_is_kept, setup, teardown),
	    cmocka_unit_test_setup_teardown(test_counts_as_written, setup, teardown),
	    cmocka_unit_test_setup_teardown(test_report, setup, teardown),
	    cmocka_unit_test_setup_teardown(test_report_without_statistics, setup, teardown),
	    cmocka_unit_test_setup_teardown(test_refused, setup, teardown),
	    cmocka_unit_test_setup_teardown(test_target, setup, teardown),
	    cmocka_unit_test_setup_teardown(test_statistics, setup, teardown),
	    cmocka_unit_test_setup_teardown(test_save_and_load, setup, teardown),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
