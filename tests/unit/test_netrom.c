/* test_netrom.c: the ROM of machines that boot from the network: what is taken for one, where the firmware finds it, and that
 * it moves with the machine.  The ROM is the test's own. */
#include "tests/lib/need.h"
#include "tests/lib/temp.h"
#include "tests/lib/test.h"
#include "tests/lib/vm.h"
#include "vmm/machine_impl.h"
#include "vmm/netrom.h"

#include <stdio.h>
#include <string.h>

enum { BYTES = 2048, PCI_DATA = 0x1c, CHECKSUM = 6 };

static struct vm vm;
static char folder[TEMP_MAX];

static void correct(uint8_t rom[BYTES])
{
	uint8_t sum = 0;

	rom[CHECKSUM] = 0;
	for (unsigned i = 0; i < BYTES; i++)
		sum = (uint8_t)(sum + rom[i]);
	rom[CHECKSUM] = (uint8_t)-sum;
}

static void make_rom(uint8_t rom[BYTES])
{
	memset(rom, 0x90, BYTES);
	memcpy(rom, (uint8_t[]){0x55, 0xaa, BYTES / 512}, 3);
	le16_put(rom + 0x18, PCI_DATA);
	memcpy(rom + PCI_DATA, "PCIR\xf4\x1a\x41\x10", 8);
	correct(rom);
}

static int setup(void **state)
{
	(void)state;
	memset(&vm, 0, sizeof(vm));
	temp_make(folder);
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	vm_free(&vm);
	temp_remove(folder);
	return 0;
}

static void refuse(const uint8_t *rom, size_t len, const char *words)
{
	struct err err = {0};

	assert_int_equal(netrom_check(rom, len, &err), -1);
	if (!strstr(err.text, words))
		fail_msg("\"%s\" does not say \"%s\"", err.text, words);
}

static void test_check(void **state)
{
	uint8_t rom[BYTES], bad[BYTES];
	struct err err = {0};

	(void)state;
	make_rom(rom);
	assert_int_equal(netrom_check(rom, BYTES, &err), 0);
	for (size_t len = 0; len < BYTES; len++)
		refuse(rom, len, len < 512 ? "no option ROM" : "says that it has 2048");
	memcpy(bad, rom, BYTES);
	bad[0] = 0;
	refuse(bad, BYTES, "no option ROM");
	memcpy(bad, rom, BYTES);
	bad[2] = 0;
	refuse(bad, BYTES, "says that it has 0");
	memcpy(bad, rom, BYTES);
	bad[PCI_DATA + 6] = 0;
	correct(bad);
	refuse(bad, BYTES, "another device");
	memcpy(bad, rom, BYTES);
	le16_put(bad + 0x18, 0xffff);
	refuse(bad, BYTES, "another device");
	le16_put(bad + 0x18, BYTES - 8);
	refuse(bad, BYTES, "another device");
	memcpy(bad, rom, BYTES);
	bad[BYTES - 1] ^= 1;
	refuse(bad, BYTES, "checksum");
}

/* A machine that boots from the network; the definition's check would want a network card, which takes a tap. */
static void make_machine(void)
{
	vm_make(&vm, 8, 1, DIRTY_AUTO);
	vm.config.boot = BOOT_NETWORK;
	fwcfg_free(&vm.machine->fwcfg);
	fwcfg_init(vm.machine, &vm.config);
}

static void test_files(void **state)
{
	static uint8_t large[NETROM_MAX + 1];
	char path[TEMP_MAX];
	uint8_t rom[BYTES];
	struct err err = {0};

	(void)state;
	need_kvm();
	make_rom(rom);
	make_machine();
	assert_int_equal(netrom_load(vm.machine, "/nonexistent/pxe.rom", &err), -1);
	assert_non_null(strstr(err.text, "/nonexistent/pxe.rom"));
	assert_non_null(strstr(err.text, "ipxe-qemu"));
	kernel_write_file(folder, "large", large, sizeof(large), path);
	assert_int_equal(netrom_load(vm.machine, path, &err), -1);
	assert_non_null(strstr(err.text, "more than"));
	kernel_write_file(folder, "short", rom, BYTES - 1, path);
	assert_int_equal(netrom_load(vm.machine, path, &err), -1);
	assert_int_equal(netrom_get(vm.machine)->len, 0);
	kernel_write_file(folder, "rom", rom, BYTES, path);
	assert_int_equal(netrom_load(vm.machine, path, &err), 0);
	assert_int_equal(netrom_get(vm.machine)->len, BYTES);
	assert_memory_equal(netrom_get(vm.machine)->data, rom, BYTES);
	/* One that boots otherwise has none, and does not look for the file. */
	vm.config.boot = BOOT_DISK;
	fwcfg_free(&vm.machine->fwcfg);
	fwcfg_init(vm.machine, &vm.config);
	assert_int_equal(netrom_load(vm.machine, "/nonexistent/pxe.rom", &err), 0);
	assert_null(netrom_get(vm.machine));
}

/* The directory of fw_cfg, as the firmware reads it. */
static void find_in_directory(uint32_t *len)
{
	uint8_t entry[64];

	ioport_access(vm.machine, true, 0x510, 2, 1, (uint8_t *)"\x19\x00");
	ioport_access(vm.machine, false, 0x511, 1, 4, entry);
	for (uint8_t files = entry[3]; files; files--) {
		ioport_access(vm.machine, false, 0x511, 1, 64, entry);
		if (strcmp((const char *)entry + 8, "pci1af4,1041.rom"))
			continue;
		*len = (uint32_t)entry[0] << 24 | entry[1] << 16 | entry[2] << 8 | entry[3];
		ioport_access(vm.machine, true, 0x510, 2, 1, (uint8_t[]){entry[5], entry[4]});
		return;
	}
	fail_msg("the ROM is not in the directory");
}

static void test_firmware_finds_it(void **state)
{
	uint8_t rom[BYTES], found[BYTES];
	struct err err = {0};
	uint32_t len = 0;

	(void)state;
	need_kvm();
	make_rom(rom);
	make_machine();
	assert_int_equal(netrom_restore(vm.machine, rom, BYTES, &err), 0);
	find_in_directory(&len);
	assert_int_equal(len, BYTES);
	ioport_access(vm.machine, false, 0x511, 1, BYTES, found);
	assert_memory_equal(found, rom, BYTES);
}

static void test_state_is_not_trusted(void **state)
{
	uint8_t rom[BYTES];
	struct err err = {0};

	(void)state;
	need_kvm();
	make_rom(rom);
	make_machine();
	assert_int_equal(netrom_restore(vm.machine, NULL, 0, &err), -1);
	for (size_t len = 512; len < BYTES; len += 100)
		assert_int_equal(netrom_restore(vm.machine, rom, len, &err), -1);
	assert_int_equal(netrom_get(vm.machine)->len, 0);
	assert_int_equal(netrom_restore(vm.machine, rom, BYTES, &err), 0);
	vm.config.boot = BOOT_DISK;
	fwcfg_free(&vm.machine->fwcfg);
	fwcfg_init(vm.machine, &vm.config);
	assert_int_equal(netrom_restore(vm.machine, rom, BYTES, &err), -1);
	assert_non_null(strstr(err.text, "unlike here"));
	assert_int_equal(netrom_restore(vm.machine, NULL, 0, &err), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test_setup_teardown(test_check, setup, teardown),
	    cmocka_unit_test_setup_teardown(test_files, setup, teardown),
	    cmocka_unit_test_setup_teardown(test_firmware_finds_it, setup, teardown),
	    cmocka_unit_test_setup_teardown(test_state_is_not_trusted, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
