/* test_fwcfg.c: what firmware is told, through the ports and by DMA; and what a guest gets that asks for nonsense. */
#include "common/pageset.h"
#include "tests/lib/need.h"
#include "tests/lib/random.h"
#include "tests/lib/test.h"
#include "tests/lib/vm.h"
#include "vmm/acpi.h"
#include "vmm/machine_impl.h"

#include <endian.h>
#include <stdlib.h>
#include <string.h>

enum {
	READ = 2,
	SKIP = 4,
	SELECT = 8,
	WRITE = 16,
	ERROR = 1,
	REQUEST = 0x100000, /* where the test's requests are */
	TARGET = 0x200000,
	DIRECTORY = 0x19,
	MIB = 64,
};

static struct vm vm;

static int setup(void **state)
{
	(void)state;
	if (!need_kvm())
		return -1;
	vm_make(&vm, MIB, 3, DIRTY_AUTO);
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	vm_free(&vm);
	return 0;
}

static void out(uint16_t port, unsigned size, uint32_t value)
{
	uint8_t bytes[4];

	le32_put(bytes, value);
	ioport_access(vm.machine, true, port, size, 1, bytes);
}

static uint8_t *ram(uint64_t gpa)
{
	return memory_at(&vm.machine->ram, gpa, 1);
}

/* A request as it lies at `at`. */
static void ask_at(uint64_t at, uint32_t control, uint32_t len, uint64_t gpa)
{
	uint8_t *request = memory_at(&vm.machine->ram, at, 16);

	if (request) {
		le32_put(request, htobe32(control));
		le32_put(request + 4, htobe32(len));
		le64_put(request + 8, htobe64(gpa));
	}
	out(0x514, 4, htobe32((uint32_t)(at >> 32)));
	out(0x518, 4, htobe32((uint32_t)at));
}

/* What its control word is afterwards: 0, or 1 for an error. */
static uint32_t ask(uint32_t control, uint32_t len, uint64_t gpa)
{
	ask_at(REQUEST, control, len, gpa);
	return be32toh(le32_get(ram(REQUEST)));
}

static void read_item(uint16_t key, void *data, uint32_t len)
{
	assert_int_equal(ask((uint32_t)key << 16 | SELECT | READ, len, TARGET), 0);
	memcpy(data, ram(TARGET), len);
}

/* file(name, data, max): by the directory; its length. */
static uint32_t file(const char *name, void *data, uint32_t max)
{
	static uint8_t directory[4 + 32 * 64];

	read_item(DIRECTORY, directory, sizeof(directory));
	uint32_t count = be32toh(le32_get(directory));
	assert_in_range(count, 1, 32);
	for (uint32_t i = 0; i < count; i++) {
		const uint8_t *entry = directory + 4 + 64 * i;
		uint32_t len = be32toh(le32_get(entry));
		if (strcmp((const char *)entry + 8, name))
			continue;
		assert_true(len <= max);
		read_item(be16toh(le16_get(entry + 4)), data, len);
		return len;
	}
	fail_msg("there is no file %s", name);
	return 0;
}

static void test_ports(void **state)
{
	uint8_t bytes[8];

	(void)state;
	out(0x510, 2, 0);
	ioport_access(vm.machine, false, 0x511, 1, 6, bytes);
	assert_memory_equal(bytes, "QEMU\0\0", 6); /* zeroes behind its end */
	out(0x510, 2, 1);
	ioport_access(vm.machine, false, 0x511, 1, 4, bytes);
	assert_int_equal(le32_get(bytes), 3); /* ports and DMA */
	ioport_access(vm.machine, false, 0x514, 4, 1, bytes);
	ioport_access(vm.machine, false, 0x518, 4, 1, bytes + 4);
	assert_memory_equal(bytes, "QEMU CFG", 8);
	out(0x510, 2, 0xffff); /* no such item */
	ioport_access(vm.machine, false, 0x511, 1, 4, bytes);
	assert_int_equal(le32_get(bytes), 0);
	out(0x511, 1, 0x55); /* not to be written */
	out(0x510, 2, 5);
	ioport_access(vm.machine, false, 0x511, 1, 2, bytes);
	assert_int_equal(le16_get(bytes), 3); /* processors */
}

static void test_files(void **state)
{
	uint8_t data[4096];

	(void)state;
	assert_int_equal(file("etc/sercon-port", data, 8), 2);
	assert_int_equal(le16_get(data), 0x3f8);
	/* RAM, without the page that is not for use, and KVM's own pages. */
	assert_int_equal(file("etc/e820", data, sizeof(data)), 3 * 20);
	assert_int_equal(le64_get(data), 0);
	assert_int_equal(le64_get(data + 8), (MIB << 20) - 4096);
	assert_int_equal(le32_get(data + 16), 1);
	assert_int_equal(le64_get(data + 20), (MIB << 20) - 4096);
	assert_int_equal(le32_get(data + 36), 2);
	assert_int_equal(file("bootorder", data, 8), 0); /* no disks */
}

static void test_boot_order(void **state)
{
	uint8_t data[256];

	(void)state;
	struct device_config *disk = config_add_device(&vm.config, DEVICE_DISK);
	disk->slot = 11;
	config_add_device(&vm.config, DEVICE_RNG);
	config_add_device(&vm.config, DEVICE_DISK)->slot = 3;
	fwcfg_free(&vm.machine->fwcfg);
	fwcfg_init(vm.machine, &vm.config);
	file("bootorder", data, sizeof(data));
	assert_string_equal(data, "/pci@i0cf8/scsi@b/disk@0,0\n/pci@i0cf8/scsi@3/disk@0,0");
	/* From the network: cards before disks, and only where it is wanted. */
	config_add_device(&vm.config, DEVICE_NET)->slot = 17;
	fwcfg_free(&vm.machine->fwcfg);
	fwcfg_init(vm.machine, &vm.config);
	file("bootorder", data, sizeof(data));
	assert_string_equal(data, "/pci@i0cf8/scsi@b/disk@0,0\n/pci@i0cf8/scsi@3/disk@0,0");
	vm.config.boot = BOOT_NETWORK;
	fwcfg_free(&vm.machine->fwcfg);
	fwcfg_init(vm.machine, &vm.config);
	file("bootorder", data, sizeof(data));
	assert_string_equal(data, "/pci@i0cf8/ethernet@11\n/pci@i0cf8/scsi@b/disk@0,0\n"
				  "/pci@i0cf8/scsi@3/disk@0,0");
	config_free(&vm.config);
}

/* The loader's script, carried out as firmware does it, gives the tables that acpi_build makes for that place. */
static void test_table_loader(void **state)
{
	static uint8_t script[128 * 32], tables[ACPI_MAX], want[ACPI_MAX];
	uint8_t rsdp[64];
	const uint64_t place = 0x3f00000; /* of the second file; of no multiple of its size */
	uint32_t len, script_len = file("etc/table-loader", script, sizeof(script));
	uint32_t rsdp_len = file("etc/acpi/rsdp", rsdp, sizeof(rsdp));
	unsigned allocated = 0;

	(void)state;
	len = file("etc/acpi/tables", tables, sizeof(tables));
	assert_int_equal(rsdp_len, ACPI_RSDP_LEN);
	assert_int_equal(script_len % 128, 0);
	for (const uint8_t *e = script; e < script + script_len; e += 128) {
		const char *name = (const char *)e + 4;
		bool is_rsdp = !strcmp(name, "etc/acpi/rsdp");
		uint8_t *data = is_rsdp ? rsdp : tables, *at;
		uint32_t size = is_rsdp ? rsdp_len : len, start, count;
		uint8_t total = 0;
		assert_true(is_rsdp || !strcmp(name, "etc/acpi/tables"));
		switch (le32_get(e)) {
		case 1:
			assert_int_equal(e[64], is_rsdp ? 2 : 1); /* below 1 MiB, or anywhere */
			allocated++;
			break;
		case 2:
			assert_string_equal(e + 60, "etc/acpi/tables");
			at = data + le32_get(e + 116);
			assert_true(e[120] == 4 || e[120] == 8);
			assert_true(le32_get(e + 116) + e[120] <= size);
			if (e[120] == 8)
				le64_put(at, le64_get(at) + place);
			else
				le32_put(at, (uint32_t)(le32_get(at) + place));
			break;
		case 3:
			start = le32_get(e + 64);
			count = le32_get(e + 68);
			assert_true(le32_get(e + 60) < size && start + count <= size);
			for (uint32_t i = 0; i < count; i++)
				total = (uint8_t)(total + data[start + i]);
			data[le32_get(e + 60)] = (uint8_t)(data[le32_get(e + 60)] - total);
			break;
		default:
			fail_msg("command %u", le32_get(e));
		}
	}
	assert_int_equal(allocated, 2);
	acpi_build(want, place - ACPI_RSDP_ROOM, 3, (MIB << 20) - 4096, NULL);
	assert_memory_equal(rsdp, want, ACPI_RSDP_LEN);
	assert_memory_equal(tables, want + ACPI_RSDP_ROOM, len);
}

/* In pieces, with parts left out, and further than there is anything. */
static void test_pieces(void **state)
{
	uint8_t all[64];

	(void)state;
	read_item(DIRECTORY, all, sizeof(all));
	assert_int_equal(ask((uint32_t)DIRECTORY << 16 | SELECT | SKIP, 10, 0), 0);
	assert_int_equal(ask(READ, 5, TARGET), 0);
	assert_int_equal(ask(SKIP, 7, 0), 0);
	assert_int_equal(ask(READ, 8, TARGET + 5), 0);
	assert_memory_equal(ram(TARGET), all + 10, 5);
	assert_memory_equal(ram(TARGET + 5), all + 22, 8);
	memset(ram(TARGET), 0x55, 8192);
	assert_int_equal(ask(0u << 16 | SELECT | READ, 8000, TARGET), 0);
	assert_memory_equal(ram(TARGET), "QEMU\0", 5);
	for (unsigned i = 4; i < 8000; i++)
		assert_int_equal(*ram(TARGET + i), 0);
	assert_int_equal(*ram(TARGET + 8000), 0x55);
	assert_int_equal(ask(SKIP, FWCFG_DMA_MAX, 0), 0);
	assert_int_equal(ask(READ, 0, 0), 0);
}

static void test_nonsense_is_refused(void **state)
{
	const uint64_t end = MIB << 20;

	(void)state;
	assert_int_equal(ask(WRITE, 4, TARGET), ERROR);
	assert_int_equal(ask(READ, FWCFG_DMA_MAX + 1, TARGET), ERROR);
	assert_int_equal(ask(SKIP, UINT32_MAX, TARGET), ERROR);
	assert_int_equal(ask(READ, UINT32_MAX, TARGET), ERROR);
	assert_int_equal(ask(READ, 2, end - 1), ERROR); /* not a byte of it is written */
	assert_int_equal(*ram(end - 1), 0);
	assert_int_equal(ask(READ, 1, end), ERROR);
	assert_int_equal(ask(READ, 16, UINT64_MAX - 8), ERROR);
	assert_int_equal(ask(READ, 1, 0xfffc0000), ERROR);
	/* A request that is itself not in RAM goes nowhere. */
	ask_at(end - 15, READ, 4, TARGET);
	ask_at(UINT64_MAX, READ, 4, TARGET);
	ask_at(0xfee00000, READ, 4, TARGET);
	/* Nor does one that overwrites itself get out of hand. */
	assert_int_equal(ask(0u << 16 | SELECT | READ, 16, REQUEST), 0);
}

/* Random accesses of any kind: nothing but RAM is touched (a sanitizer's matter), and it goes on working. */
static void test_random_accesses(void **state)
{
	uint64_t seed = random_begin();
	uint8_t bytes[8];

	(void)state;
	for (unsigned i = 0; i < 20000; i++) {
		uint64_t r = random_next(&seed), s = random_next(&seed);
		unsigned size = 1u << r % 3;
		uint16_t port = (uint16_t)(0x510 + (r >> 8) % 12);
		le64_put(bytes, s);
		if (r >> 16 & 1)
			ask_at(REQUEST, (uint32_t)(s & 0x3f001f), (uint32_t)(s >> 32) % 70000,
			       (r >> 20) % (MIB << 20));
		else
			ioport_access(vm.machine, r >> 17 & 1, port, size, 1, bytes);
	}
	test_ports(NULL);
}

static void test_writes_are_tracked(void **state)
{
	struct pageset set;
	struct err err = {0};

	(void)state;
	assert_int_equal(pageset_create(&set, (MIB << 20) / MEMORY_PAGE, &err), 0);
	assert_int_equal(machine_dirty_start(vm.machine, &set, &err), 0);
	assert_int_equal(ask(0u << 16 | SELECT | READ, 8192, TARGET + 4000), 0);
	assert_int_equal(machine_dirty_harvest(vm.machine, &err), 0);
	assert_true(pageset_has(&set, REQUEST / MEMORY_PAGE)); /* the result */
	assert_true(pageset_has(&set, TARGET / MEMORY_PAGE));
	assert_true(pageset_has(&set, TARGET / MEMORY_PAGE + 1));
	assert_true(pageset_has(&set, TARGET / MEMORY_PAGE + 2));
	assert_int_equal(pageset_count(&set), 4);
	machine_dirty_stop(vm.machine);
	pageset_close(&set);
}

/* A move in the middle of a read, and of the two halves of a request's address. */
static void test_move(void **state)
{
	struct buf saved = {0};
	struct err err = {0};
	uint8_t all[32], half[32];

	(void)state;
	read_item(DIRECTORY, all, sizeof(all));
	out(0x510, 2, DIRECTORY);
	ioport_access(vm.machine, false, 0x511, 1, 7, half);
	out(0x514, 4, htobe32(7));
	fwcfg_save(&vm.machine->fwcfg, &saved);
	vm_move(&vm);
	ioport_access(vm.machine, false, 0x511, 1, 25, half + 7);
	assert_memory_equal(half, all, sizeof(all));
	assert_int_equal(vm.machine->fwcfg.dma, 7ull << 32);
	for (size_t len = 0; len < saved.len; len++)
		assert_int_equal(fwcfg_load(&vm.machine->fwcfg, saved.data, len, &err), -1);
	/* An offset behind any end reads zeroes. */
	le32_put(saved.data + 2, UINT32_MAX);
	assert_int_equal(fwcfg_load(&vm.machine->fwcfg, saved.data, saved.len, &err), 0);
	ioport_access(vm.machine, false, 0x511, 1, 1, half);
	assert_int_equal(half[0], 0);
	assert_int_equal(ask(READ, 4, TARGET), 0);
	assert_int_equal(ask(SKIP, 4, TARGET), 0);
	buf_free(&saved);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test_setup_teardown(test_ports, setup, teardown),
	    cmocka_unit_test_setup_teardown(test_files, setup, teardown),
	    cmocka_unit_test_setup_teardown(test_boot_order, setup, teardown),
	    cmocka_unit_test_setup_teardown(test_table_loader, setup, teardown),
	    cmocka_unit_test_setup_teardown(test_pieces, setup, teardown),
	    cmocka_unit_test_setup_teardown(test_nonsense_is_refused, setup, teardown),
	    cmocka_unit_test_setup_teardown(test_random_accesses, setup, teardown),
	    cmocka_unit_test_setup_teardown(test_writes_are_tracked, setup, teardown),
	    cmocka_unit_test_setup_teardown(test_move, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
