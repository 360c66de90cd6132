/* The entropy device, by a driver in this process; and with it, as the simplest of all, what every virtio device does:
 * negotiation, queues, interrupts, descriptors that make no sense, pause, save and load. */
#include "tests/lib/need.h"
#include "tests/lib/test.h"
#include "tests/lib/virtio_driver.h"

#include <string.h>

enum { SLOT = 5, MEMORY = 1 << 20 };

static struct machine *machine;
static struct driver driver;

static struct machine *make(void)
{
	struct vm_config config = {.name = "rng", .memory_bytes = 16 << 20, .cpus = 1};
	config_new_uuid(config.uuid);
	config_add_device(&config, DEVICE_RNG)->slot = SLOT;
	struct machine *made = driver_machine(&config, -1);
	config_free(&config);
	return made;
}

static int setup(void **state)
{
	(void)state;
	if (!need_kvm())
		return -1;
	machine = make();
	driver_begin(&driver, machine, SLOT, MEMORY);
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	machine_destroy(machine);
	machine = NULL;
	return 0;
}

static bool all_same(const uint8_t *data, size_t len)
{
	return memcmp(data, data + 1, len - 1) == 0;
}

/* ask: 256 bytes, in two buffers. */
static void ask(void)
{
	uint32_t len;
	const struct driver_buffer buffers[2] = {{driver_alloc(&driver, 100), 100, true},
						 {driver_alloc(&driver, 156), 156, true}};
	uint16_t head = driver_add(&driver, 0, buffers, 2);
	driver_kick(&driver, 0);
	assert_int_equal(driver_wait(&driver, 0, &len), head);
	assert_int_equal(len, 256);
	assert_false(all_same(driver_at(&driver, buffers[0].gpa, 100), 100));
	assert_false(all_same(driver_at(&driver, buffers[1].gpa, 156), 156));
}

static void test_identity(void **state)
{
	(void)state;
	assert_int_equal(driver_config_get(&driver, 2, 2), 0x1044);
	assert_int_equal(driver_config_get(&driver, PCI_REVISION, 1), 1);
	/* The size of BAR 0 is what stays of all ones. */
	uint32_t base = driver_config_get(&driver, PCI_BAR0, 4);
	driver_config_put(&driver, PCI_BAR0, 0xffffffff, 4);
	assert_int_equal(driver_config_get(&driver, PCI_BAR0, 4), 0xffffc000);
	driver_config_put(&driver, PCI_BAR0, base, 4);
	assert_int_equal(driver_get(&driver, driver.common + 18, 2), 1);
	/* Nothing is in the slot beside it, and nobody answers there. */
	driver.slot = SLOT + 1;
	assert_int_equal(driver_config_get(&driver, 0, 4), 0xffffffff);
}

static void test_fills(void **state)
{
	(void)state;
	driver_negotiate(&driver, 0);
	driver_ready(&driver, 1);
	for (int i = 0; i < 200; i++)
		ask();
	/* The line interrupt: the register says so, once. */
	assert_int_equal(driver_get(&driver, driver.isr, 1), 1);
	assert_int_equal(driver_get(&driver, driver.isr, 1), 0);
}

static void test_vectors(void **state)
{
	(void)state;
	driver_negotiate(&driver, VIRTIO_BIT(VIRTIO_F_EVENT_IDX) | VIRTIO_BIT(VIRTIO_F_INDIRECT_DESC));
	driver_vectors(&driver, 1);
	driver_ready(&driver, 1);
	assert_false(driver_pending(&driver, 1));
	ask();
	/* used_event is 0 in a ring that nobody touched: the first entry passes it, the next ones don't. */
	assert_true(driver_pending(&driver, 1));
	ask();
	assert_false(driver_pending(&driver, 1));
	assert_int_equal(driver_get(&driver, driver.isr, 1), 0);
}

static void test_pause_and_load(void **state)
{
	(void)state;
	struct err err = {0};
	struct buf saved = {0};
	driver_negotiate(&driver, VIRTIO_BIT(VIRTIO_F_EVENT_IDX));
	driver_vectors(&driver, 1);
	driver_ready(&driver, 1);
	ask();
	/* What is offered and kicked while the machine stands still waits. */
	machine_pause(machine);
	const struct driver_buffer buffer = {driver_alloc(&driver, 64), 64, true};
	driver_add(&driver, 0, &buffer, 1);
	driver_kick(&driver, 0);
	virtio_save(machine->virtio[SLOT], &saved);
	assert_true(driver_idle(&driver, 0));

	/* The same RAM under another machine: the request is found there without a kick. */
	int fd = dup(machine_ram_fd(machine));
	struct vm_config config = {.name = "rng", .memory_bytes = 16 << 20, .cpus = 1};
	config_new_uuid(config.uuid);
	config_add_device(&config, DEVICE_RNG)->slot = SLOT;
	struct machine *other = machine_create(&config, fd, NULL, &err);
	config_free(&config);
	assert_non_null(other);
	if (virtio_load(other->virtio[SLOT], saved.data, saved.len, &err))
		fail_msg("%s", err.text);
	machine_destroy(machine);
	machine = driver.machine = other;
	devices_resume(machine);
	uint32_t len;
	driver_wait(&driver, 0, &len);
	assert_int_equal(len, 64);
	ask();
	/* A state that is cut off anywhere is refused. */
	machine_pause(machine);
	for (size_t cut = 0; cut < saved.len; cut++)
		assert_int_not_equal(virtio_load(machine->virtio[SLOT], saved.data, cut, &err), 0);
	buf_free(&saved);
}

/* Each case: what is put into the descriptor table; the head is 0. */
static void break_loop(void)
{
	uint64_t gpa = driver_alloc(&driver, 64);
	driver_put_desc(&driver, 0, 0, gpa, 8, 1 | 2, 1);
	driver_put_desc(&driver, 0, 1, gpa, 8, 1 | 2, 0);
}

static void break_address(void)
{
	driver_put_desc(&driver, 0, 0, 0xfee00000, 8, 2, 0);
}

static void break_length(void)
{
	driver_put_desc(&driver, 0, 0, (16 << 20) - 16, 17, 2, 0);
}

static void break_wrap(void)
{
	driver_put_desc(&driver, 0, 0, UINT64_MAX - 7, 16, 2, 0);
}

static void break_next(void)
{
	driver_put_desc(&driver, 0, 0, driver_alloc(&driver, 8), 8, 1 | 2, DRIVER_QUEUE_SIZE);
}

static void break_order(void)
{
	uint64_t gpa = driver_alloc(&driver, 64);
	driver_put_desc(&driver, 0, 0, gpa, 8, 1 | 2, 1);
	driver_put_desc(&driver, 0, 1, gpa, 8, 0, 0);
}

static void break_indirect(void)
{
	uint64_t table = driver_alloc(&driver, 64);
	driver_put_desc(&driver, 0, 0, table, 32, 4, 0); /* not negotiated */
}

static void test_broken(void **state)
{
	(void)state;
	static void (*const cases[])(void) = {break_loop, break_address, break_length,  break_wrap,
					      break_next, break_order,   break_indirect};
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		driver_begin(&driver, machine, SLOT, MEMORY);
		driver_negotiate(&driver, 0);
		driver_ready(&driver, 1);
		cases[i]();
		driver_offer(&driver, 0, 0);
		driver_kick(&driver, 0);
		driver_wait_broken(&driver);
		assert_true(driver_idle(&driver, 0));
		/* The change of state was announced. */
		assert_int_equal(driver_get(&driver, driver.isr, 1) & 2, 2);
	}
	/* After a reset it works again. */
	driver_begin(&driver, machine, SLOT, MEMORY);
	driver_negotiate(&driver, 0);
	driver_ready(&driver, 1);
	ask();
}

static void test_broken_rings(void **state)
{
	(void)state;
	/* An index that runs away. */
	driver_negotiate(&driver, 0);
	driver_ready(&driver, 1);
	le16_put(driver_at(&driver, driver.queue[0].avail + 2, 2), DRIVER_QUEUE_SIZE + 1);
	driver_kick(&driver, 0);
	driver_wait_broken(&driver);
	/* A ring outside of RAM cannot be enabled. */
	driver_begin(&driver, machine, SLOT, MEMORY);
	driver_negotiate(&driver, 0);
	driver_put(&driver, driver.common + 22, 0, 2);
	driver_put(&driver, driver.common + 32, (16 << 20) - 16, 4);
	driver_put(&driver, driver.common + 28, 1, 2);
	assert_int_equal(driver_get(&driver, driver.common + 28, 2), 0);
	assert_true(driver_status(&driver) & VIRTIO_NEEDS_RESET);
}

static void test_refused_features(void **state)
{
	(void)state;
	/* Something that is not offered; then without VERSION_1. */
	driver_put(&driver, driver.common + 8, 0, 4);
	driver_put(&driver, driver.common + 12, 1u << 20, 4);
	driver_put(&driver, driver.common + 8, 1, 4);
	driver_put(&driver, driver.common + 12, 1, 4);
	driver_put(&driver, driver.common + 20, 1 | 2 | 8, 1);
	assert_int_equal(driver_status(&driver) & 8, 0);
	driver_put(&driver, driver.common + 20, 1 | 2 | 8 | 4, 1);
	assert_int_equal(driver_status(&driver) & 4, 0);
	driver_begin(&driver, machine, SLOT, MEMORY);
	driver_put(&driver, driver.common + 20, 1 | 2 | 8, 1);
	assert_int_equal(driver_status(&driver) & 8, 0);
}

/* Registers through configuration space only, as firmware does that cannot reach BARs. */
static void test_access_capability(void **state)
{
	(void)state;
	unsigned at = driver_config_get(&driver, 0x34, 1);
	while (at && !(driver_config_get(&driver, at, 1) == 9 && driver_config_get(&driver, at + 3, 1) == 5))
		at = driver_config_get(&driver, at + 1, 1);
	assert_int_not_equal(at, 0);
	driver_config_put(&driver, at + 4, 0, 1);
	driver_config_put(&driver, at + 8, 18, 4); /* num_queues */
	driver_config_put(&driver, at + 12, 2, 4);
	assert_int_equal(driver_config_get(&driver, at + 16, 2), 1);
	driver_config_put(&driver, at + 8, 20, 4); /* device_status */
	driver_config_put(&driver, at + 12, 1, 4);
	driver_config_put(&driver, at + 16, 0, 1);
	assert_int_equal(driver_status(&driver), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test_setup_teardown(test_identity, setup, teardown),
	    cmocka_unit_test_setup_teardown(test_fills, setup, teardown),
	    cmocka_unit_test_setup_teardown(test_vectors, setup, teardown),
	    cmocka_unit_test_setup_teardown(test_pause_and_load, setup, teardown),
	    cmocka_unit_test_setup_teardown(test_broken, setup, teardown),
	    cmocka_unit_test_setup_teardown(test_broken_rings, setup, teardown),
	    cmocka_unit_test_setup_teardown(test_refused_features, setup, teardown),
	    cmocka_unit_test_setup_teardown(test_access_capability, setup, teardown),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
