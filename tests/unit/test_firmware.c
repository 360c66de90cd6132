/* test_firmware.c: a machine that starts at the reset vector: where its firmware is, what a reset makes of everything, and
 * that both hold in a machine that has come from elsewhere.  The firmware is the test's own. */
#include "common/pageset.h"
#include "tests/lib/need.h"
#include "tests/lib/temp.h"
#include "tests/lib/test.h"
#include "tests/lib/vm.h"
#include "vmm/machine_impl.h"

#include <stdio.h>
#include <string.h>

enum { BYTES = FIRMWARE_MIN, CODE = 0x1f000 /* 0xff000 below 1 MiB */, VECTOR = 0x1fff0, COUNTER = 0x500 };

/* At each start it says which one it is: a digit counted in RAM, and then a byte of the firmware's copy, which it
 * overwrites.  `how` to go on is what follows it. */
#define FIRMWARE(name, how)                                                                                  \
	GUEST_CODE(name, 16,                                                                                 \
		   "xorw %ax, %ax\n movw %ax, %ds\n"                                                         \
		   "movw $0x3f8, %dx\n movb (0x500), %al\n incb (0x500)\n addb $'0', %al\n outb %al, %dx\n"  \
		   "movw $0xf000, %ax\n movw %ax, %ds\n"                                                     \
		   "movb (0x0000), %al\n outb %al, %dx\n movb $'x', (0x0000)\n" how)

/* The fault: a segment that is none, with no entries in the IDT.  The third time it powers the machine off. */
#define THEN_OFF                                                                                             \
	"cmpb $'2', %cl\n"                                                                                   \
	"jne 1f\n movw $0x604, %dx\n movw $0x3400, %ax\n outw %ax, %dx\n 1:\n"
#define COUNT "xorw %ax, %ax\n movw %ax, %ds\n movb (0x500), %cl\n addb $'0' - 1, %cl\n"

FIRMWARE(keyboard, COUNT THEN_OFF "movb $0xfe, %al\n outb %al, $0x64\n 2: hlt\n jmp 2b\n");
FIRMWARE(port, COUNT THEN_OFF "movw $0xcf9, %dx\n movb $6, %al\n outb %al, %dx\n 2: hlt\n jmp 2b\n");
FIRMWARE(
    fault, COUNT THEN_OFF
    "lidt (0x600)\n movl %cr0, %eax\n orb $1, %al\n movl %eax, %cr0\n movw $0x1230, %ax\n movw %ax, %ds\n");
/* It never ends. */
FIRMWARE(endless, "movw $0xcf9, %dx\n movb $6, %al\n outb %al, %dx\n 2: hlt\n jmp 2b\n");
FIRMWARE(waits,
	 "movw $0x3fd, %dx\n 1: inb %dx, %al\n testb $1, %al\n jz 1b\n movb $0xfe, %al\n outb %al, $0x64\n"
	 "2: hlt\n jmp 2b\n");

struct fixture {
	struct vm vm;
	char folder[TEMP_MAX], path[TEMP_MAX];
};

static int setup(void **state)
{
	static struct fixture f;

	if (!need_kvm())
		return -1;
	memset(&f, 0, sizeof(f));
	temp_make(f.folder);
	*state = &f;
	return 0;
}

static int teardown(void **state)
{
	struct fixture *f = *state;

	vm_free(&f->vm);
	temp_remove(f->folder);
	return 0;
}

static void write_image(struct fixture *f, const uint8_t *code, const uint8_t *end, size_t bytes)
{
	/* ljmp $0xf000, $0xf000: out of the high copy into the low one */
	static const uint8_t vector[] = {0xea, 0x00, 0xf0, 0x00, 0xf0};
	static uint8_t image[BYTES];

	memset(image, 0, sizeof(image));
	image[BYTES - 0x10000] = 'F'; /* at 0xf0000 */
	memcpy(image + CODE, code, (size_t)(end - code));
	memcpy(image + VECTOR, vector, sizeof(vector));
	kernel_write_file(f->folder, "bios", image, bytes, f->path);
}

static void start(struct fixture *f, const uint8_t *code, const uint8_t *end, unsigned cpus)
{
	struct vm_config config;
	struct err err = {0};

	vm_make(&f->vm, 8, cpus, DIRTY_AUTO);
	write_image(f, code, end, BYTES);
	config = f->vm.config;
	config.firmware = f->path;
	if (machine_boot(f->vm.machine, &config, &err))
		fail_msg("%s", err.text);
}

/* Three starts, each with RAM as it was and a firmware as it came. */
static void restarts(struct fixture *f, const uint8_t *code, const uint8_t *end, unsigned cpus)
{
	start(f, code, end, cpus);
	machine_resume(f->vm.machine);
	vm_wait_end(&f->vm);
	machine_pause(f->vm.machine);
	if (f->vm.console_len != 6)
		fail_msg("%.*s, and then %s", (int)f->vm.console_len, (char *)f->vm.console, f->vm.detail);
	assert_memory_equal(f->vm.console, "0F1F2F", 6);
	assert_non_null(strstr(f->vm.detail, "power-off"));
	assert_int_equal(f->vm.ends, 1);
	vm_free(&f->vm);
}

static void test_each_reset_starts_anew(void **state)
{
	restarts(*state, guest_keyboard, guest_keyboard_end, 1);
	restarts(*state, guest_port, guest_port_end, 1);
	restarts(*state, guest_fault, guest_fault_end, 1);
	restarts(*state, guest_keyboard, guest_keyboard_end, 3);
}

/* Pauses, harvests and throttling come at any moment of resets that follow each other; each start is a whole one. */
static void resets_under_way(struct fixture *f, enum dirty_mode mode)
{
	struct pageset set;
	struct err err = {0};
	size_t starts;

	vm_make(&f->vm, 8, 3, mode);
	write_image(f, guest_endless, guest_endless_end, BYTES);
	f->vm.config.firmware = f->path;
	if (machine_boot(f->vm.machine, &f->vm.config, &err))
		fail_msg("%s", err.text);
	assert_int_equal(pageset_create(&set, f->vm.config.memory_bytes / MEMORY_PAGE, &err), 0);
	assert_int_equal(machine_dirty_start(f->vm.machine, &set, &err), 0);
	for (unsigned i = 0; i < 100; i++) {
		machine_resume(f->vm.machine);
		machine_throttle(f->vm.machine, i % 3 ? 0 : 50);
		if (i % 5 == 0)
			vm_wait_console(&f->vm, vm_console_len(&f->vm) + 2);
		assert_int_equal(machine_dirty_harvest(f->vm.machine, &err), 0);
		if (i % 2)
			machine_pause(f->vm.machine);
	}
	machine_pause(f->vm.machine);
	machine_dirty_stop(f->vm.machine);
	starts = f->vm.console_len;
	assert_true(starts >= 40);
	assert_int_equal(f->vm.ends, 0);
	for (size_t i = 0; i < starts; i++)
		assert_int_equal(f->vm.console[i], i % 2 ? 'F' : (uint8_t)('0' + i / 2));
	pageset_close(&set);
	vm_free(&f->vm);
}

static void test_resets_under_way(void **state)
{
	resets_under_way(*state, DIRTY_BITMAP);
	resets_under_way(*state, DIRTY_RING);
}

/* What the guest had set is as after power-on, but for the time, RAM and what has a battery. */
static void test_devices_are_reset(void **state)
{
	struct fixture *f = *state;
	struct machine *machine;
	struct err err = {0};
	uint8_t value[4];

	start(f, guest_waits, guest_waits_end, 2);
	machine = f->vm.machine;
	ioport_access(machine, true, 0x3fc, 1, 1, (uint8_t *)"\x03"); /* serial: modem control */
	ioport_access(machine, true, 0x3f9, 1, 1, (uint8_t *)"\x02"); /* and an interrupt that is due */
	ioport_access(machine, true, 0x70, 1, 1, (uint8_t *)"\x50");  /* CMOS RAM */
	ioport_access(machine, true, 0x71, 1, 1, (uint8_t *)"\x77");
	ioport_access(machine, true, 0x510, 2, 1, (uint8_t *)"\x19\x00"); /* fw_cfg: the directory */
	ioport_access(machine, true, 0x602, 2, 1, (uint8_t *)"\x00\x01"); /* the power button */
	ioport_access(machine, true, 0xcf8, 4, 1, (uint8_t *)"\x04\x00\x00\x80");
	machine_power_button(machine);
	assert_true(machine->sci);
	uint32_t timer = power_timer(&machine->power);

	assert_int_equal(machine_reset_now(machine, &err), 0);
	assert_false(machine->sci);
	assert_false(machine->serial.irq_level);
	ioport_access(machine, false, 0x3fc, 1, 1, value);
	assert_int_equal(value[0], 0);
	ioport_access(machine, false, 0x511, 1, 1, value);
	assert_int_equal(value[0], 'Q');
	ioport_access(machine, false, 0x600, 4, 1, value);
	assert_int_equal(le32_get(value), 0);
	ioport_access(machine, false, 0xcf8, 4, 1, value);
	assert_int_equal(le32_get(value), 0);
	ioport_access(machine, true, 0x70, 1, 1, (uint8_t *)"\x50");
	ioport_access(machine, false, 0x71, 1, 1, value);
	assert_int_equal(value[0], 0x77);
	assert_true(power_timer(&machine->power) - timer < 60u * POWER_TIMER_HZ);
}

/* The second machine has no file: the firmware came with the state.  The reset there is seen by dirty tracking. */
static void test_it_moves(void **state)
{
	struct fixture *f = *state;
	struct pageset set;
	struct err err = {0};

	start(f, guest_waits, guest_waits_end, 1);
	machine_resume(f->vm.machine);
	vm_wait_console(&f->vm, 2);
	temp_remove(f->folder);
	temp_make(f->folder);
	vm_move(&f->vm);
	assert_int_equal(pageset_create(&set, f->vm.config.memory_bytes / MEMORY_PAGE, &err), 0);
	assert_int_equal(machine_dirty_start(f->vm.machine, &set, &err), 0);
	machine_resume(f->vm.machine);
	vm_type(&f->vm, "r", 1);
	vm_wait_console(&f->vm, 4);
	machine_pause(f->vm.machine);
	assert_int_equal(machine_dirty_harvest(f->vm.machine, &err), 0);
	assert_memory_equal(f->vm.console, "0F1F", 4);
	for (uint64_t page = (FIRMWARE_SHADOW_END - BYTES) / MEMORY_PAGE;
	     page < FIRMWARE_SHADOW_END / MEMORY_PAGE; page++)
		assert_true(pageset_has(&set, page));
	machine_dirty_stop(f->vm.machine);
	pageset_close(&set);
	vm_move(&f->vm); /* again, from a machine that was loaded itself */
	machine_resume(f->vm.machine);
	vm_type(&f->vm, "r", 1);
	vm_wait_console(&f->vm, 6);
	machine_pause(f->vm.machine);
	assert_memory_equal(f->vm.console, "0F1F2F", 6);
}

/* What comes as a firmware's state is one, or is refused and leaves nothing behind. */
static void test_state_is_not_trusted(void **state)
{
	struct fixture *f = *state;
	struct buf saved = {0};
	struct err err = {0};

	start(f, guest_waits, guest_waits_end, 1);
	firmware_save(&f->vm.machine->firmware, &saved);
	assert_true(saved.len < BYTES / 2 + 16384); /* empty pages in front do not travel */
	assert_int_equal(firmware_restore(f->vm.machine, saved.data, saved.len, &err), -1); /* it has one */
	vm_free(&f->vm);
	vm_make(&f->vm, 8, 1, DIRTY_AUTO);
	for (size_t len = 0; len < saved.len; len += len < 16 ? 1 : 4093)
		assert_int_equal(firmware_restore(f->vm.machine, saved.data, len, &err), -1);
	for (uint32_t bad = 0; bad < 4; bad++) {
		static const uint32_t heads[4][2] = {
		    {BYTES + 4096, 0}, {BYTES, BYTES + 1}, {0, 0}, {UINT32_MAX, UINT32_MAX}};
		struct buf copy = {0};
		buf_put(&copy, saved.data, saved.len);
		le32_put(copy.data, heads[bad][0]);
		le32_put(copy.data + 4, heads[bad][1]);
		assert_int_equal(firmware_restore(f->vm.machine, copy.data, copy.len, &err), -1);
		buf_free(&copy);
	}
	assert_null(f->vm.machine->firmware.image);
	assert_int_equal(firmware_restore(f->vm.machine, saved.data, saved.len, &err), 0);
	buf_free(&saved);
}

static void refuses(struct fixture *f, char *path, const char *words)
{
	struct vm_config config = f->vm.config;
	struct err err = {0};

	config.firmware = path;
	assert_int_equal(machine_boot(f->vm.machine, &config, &err), -1);
	if (!strstr(err.text, words) || !strstr(err.text, path))
		fail_msg("\"%s\" does not say \"%s\"", err.text, words);
}

static void test_files_are_refused(void **state)
{
	struct fixture *f = *state;
	char missing[TEMP_MAX + 16];

	vm_make(&f->vm, 8, 1, DIRTY_AUTO);
	snprintf(missing, sizeof(missing), "%s/none", f->folder);
	refuses(f, missing, "install the package 'seabios'");
	refuses(f, f->folder, "not a regular file");
	write_image(f, guest_waits, guest_waits_end, BYTES - 1);
	refuses(f, f->path, "131071 bytes");
}

/* A new generation: another id in RAM, seen by dirty tracking, and the event. */
static void test_generation(void **state)
{
	struct fixture *f = *state;
	struct machine *machine;
	struct pageset set;
	struct err err = {0};
	uint8_t before[16], *id;

	start(f, guest_waits, guest_waits_end, 1);
	machine = f->vm.machine;
	id = memory_at(&machine->ram, machine_generation_gpa(machine), sizeof(before));
	memcpy(before, id, sizeof(before));
	assert_int_equal(pageset_create(&set, f->vm.config.memory_bytes / MEMORY_PAGE, &err), 0);
	assert_int_equal(machine_dirty_start(machine, &set, &err), 0);
	ioport_access(machine, true, POWER_GPE + 1, 1, 1, (uint8_t *)"\x01");
	assert_int_equal(machine_new_generation(machine, &err), 0);
	assert_memory_not_equal(id, before, sizeof(before));
	assert_true(machine->sci);
	assert_int_equal(machine_dirty_harvest(machine, &err), 0);
	assert_true(pageset_has(&set, (8 << 20) / MEMORY_PAGE - 1));
	machine_dirty_stop(machine);
	pageset_close(&set);
	/* A move is no new generation. */
	memcpy(before, id, sizeof(before));
	vm_move(&f->vm);
	machine = f->vm.machine;
	id = memory_at(&machine->ram, machine_generation_gpa(machine), sizeof(before));
	assert_memory_equal(id, before, sizeof(before));
	assert_true(machine->sci);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test_setup_teardown(test_each_reset_starts_anew, setup, teardown),
	    cmocka_unit_test_setup_teardown(test_resets_under_way, setup, teardown),
	    cmocka_unit_test_setup_teardown(test_devices_are_reset, setup, teardown),
	    cmocka_unit_test_setup_teardown(test_it_moves, setup, teardown),
	    cmocka_unit_test_setup_teardown(test_state_is_not_trusted, setup, teardown),
	    cmocka_unit_test_setup_teardown(test_files_are_refused, setup, teardown),
	    cmocka_unit_test_setup_teardown(test_generation, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
