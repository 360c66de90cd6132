/* test_seabios.c: SeaBIOS and GRUB, as Debian has them, in a machine: they come up on the serial console, boot from a volume,
 * answer, and go on answering after a move. */
#include "common/io.h"
#include "imagefmt/dvol.h"
#include "tests/lib/need.h"
#include "tests/lib/temp.h"
#include "tests/lib/test.h"
#include "tests/lib/vm.h"
#include "vmm/machine_impl.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static struct vm vm;
static char folder[TEMP_MAX];

static int setup(void **state)
{
	(void)state;
	if (!need_kvm())
		return -1;
	temp_make(folder);
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	vm_free(&vm);
	config_free(&vm.config);
	temp_remove(folder);
	return 0;
}

static void boot(void)
{
	struct err err = {0};

	if (machine_boot(vm.machine, &vm.config, &err))
		fail_msg("%s", err.text);
	machine_resume(vm.machine);
}

static void test_without_a_disk(void **state)
{
	size_t at;

	(void)state;
	vm_make(&vm, 32, 2, DIRTY_AUTO);
	boot();
	at = vm_wait_text(&vm, "SeaBIOS (version", 0);
	vm_wait_text(&vm, "No bootable device", at);
	/* It has installed the tables, below 1 MiB where a kernel looks for them, and written nothing to its ROM. */
	machine_pause(vm.machine);
	bool found = false;
	for (uint64_t gpa = 0xe0000; !found && gpa < 0x100000; gpa += 16) {
		const uint8_t *at_gpa = memory_at(&vm.machine->ram, gpa, 16);
		found = !memcmp(at_gpa, "RSD PTR ", 8) && !memcmp(at_gpa + 9, "DROVER", 6);
	}
	assert_true(found);
}

/* GRUB for a PC's BIOS with its disk driver and nothing else: a boot sector and the core behind it. */
static void make_grub(uint8_t **image, size_t *len)
{
	char line[3 * TEMP_MAX], path[TEMP_MAX + 16];
	void *data;

	snprintf(line, sizeof(line),
		 "cd '%s' && grub-mkimage -O i386-pc -p '(hd0)/' -o core biosdisk && "
		 "cat /usr/lib/grub/i386-pc/boot.img core >image && truncate -s 1M image",
		 folder);
	assert_int_equal(system(line), 0);
	snprintf(path, sizeof(path), "%s/image", folder);
	assert_int_equal(io_read_file(path, 2 << 20, &data, len), 0);
	*image = data;
}

static void make_volume(char path[TEMP_MAX + 16])
{
	const struct dvol_create_options create = {.size_bytes = 1 << 20};
	const struct dvol_open_options open = {.writable = true};
	struct err err = {0};
	uint8_t *image;
	size_t len;

	make_grub(&image, &len);
	snprintf(path, TEMP_MAX + 16, "%s/disk.dvol", folder);
	if (dvol_create(path, &create, &err))
		fail_msg("%s", err.text);
	struct dvol *volume = dvol_open(path, &open, &err);
	if (!volume || dvol_write(volume, image, len, 0, &err) || dvol_close(volume, &err))
		fail_msg("%s", err.text);
	free(image);
}

/* GRUB's own `ls`, twice: it names the disk that it came from. */
static size_t ls(size_t at)
{
	vm_type(&vm, "ls\r", 3);
	at = vm_wait_text(&vm, "(hd0)", at);
	return vm_wait_text(&vm, "rescue>", at);
}

static void test_grub_from_a_volume(void **state)
{
	char path[TEMP_MAX + 16];
	struct err err = {0};
	size_t at;

	(void)state;
	make_volume(path);
	vm_make(&vm, 32, 1, DIRTY_AUTO);
	struct device_config *disk = config_add_device(&vm.config, DEVICE_DISK);
	disk->slot = 4;
	disk->disk.path = strdup(path);
	disk->disk.queues = 1;
	vm_replace(&vm); /* with the disk */
	boot();
	at = vm_wait_text(&vm, "SeaBIOS (version", 0);
	at = vm_wait_text(&vm, "Booting from Hard Disk", at);
	at = vm_wait_text(&vm, "GRUB", at);
	at = ls(vm_wait_text(&vm, "rescue>", at));
	vm_move(&vm);
	machine_resume(vm.machine);
	at = ls(at);
	/* Where it has come to a reset starts the firmware again, which finds the disk again. */
	assert_int_equal(machine_running(vm.machine), 1);
	machine_pause(vm.machine);
	assert_int_equal(machine_reset_now(vm.machine, &err), 0);
	machine_resume(vm.machine);
	at = vm_wait_text(&vm, "SeaBIOS (version", at);
	vm_wait_text(&vm, "Booting from Hard Disk", at);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test_setup_teardown(test_without_a_disk, setup, teardown),
	    cmocka_unit_test_setup_teardown(test_grub_from_a_volume, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
