/* test_emulate_linux.c: what a Linux kernel needs where KVM has no hardware virtualization (vmm/emulate_fpu.c,
 * emulate_syscall.c, emulate_tick.c), with a guest of a few instructions: int3, fwait, xsave and xrstor in ring 0, system calls
 * of ring 3, also after the machine has moved.  With hardware the same results come from the processor. */
#include "tests/lib/need.h"
#include "tests/lib/test.h"
#include "tests/lib/vm.h"
#include "vmm/boot.h"
#include "vmm/emulate_syscall.h"
#include "vmm/machine_impl.h"

#include <string.h>

enum {
	POINTERS = 0x80000, /* GDT's, and 16 bytes on IDT's */
	GDT = 0x80100,
	IDT = 0x80800,
	STACK = 0x88000,
	STACK_3 = 0x8a000,
	TABLE_3 = 0x90000, /* page tables of the last 1 GiB */
	TABLE_2 = 0x91000,
	AREA_FROM = 0x92000, /* for xrstor */
	AREA_ALL = 0x92400,  /* for xsave of all */
	AREA_SSE = 0x92800,  /* of SSE alone */
	DUMP = 0x93000,
	AREA_LEN = 832,
	CODE_0 = 0x10,
	DATA_0 = 0x18,
	DATA_3 = 0x23,
	CODE_3 = 0x2b,
	SELECTOR_STAR = 0x1b, /* sysret: CS 16 on, SS 8 on */
};

/* The 64-bit entry is 0x200 behind the start of the kernel. */
#define AT(symbol) (KERNEL_ADDRESS + 0x200 + (uint64_t)((uintptr_t)(symbol) - (uintptr_t)guest_linux64))

extern const uint8_t on_int3[], on_syscall[], program[];
GUEST_CODE(
    linux64, 64,
    "	lgdt 0x80000\n"
    "	lidt 0x80010\n"
    "	mov $0x88000, %esp\n"
    "	xor %ebx, %ebx\n"
    "	int3\n"
    "	shl $8, %ebx\n"
    "	mov %ebx, 0x93000\n"
    "	mov %cr4, %rax\n"
    "	or $0x40600, %eax\n" /* OSFXSR, OSXMMEXCPT, OSXSAVE */
    "	mov %rax, %cr4\n"
    "	xor %ecx, %ecx\n"
    "	xor %edx, %edx\n"
    "	mov $7, %eax\n"
    "	xsetbv\n"
    "	fwait\n"
    "	mov $0x92000, %esi\n"
    "	mov $0x40, %ecx\n"
    "	xrstor (%rsi)\n"
    "	xsave64 0x3c0(%rsi,%rcx,1)\n"
    "	mov $2, %eax\n"
    "	lea 0x800(%rsi), %r12\n"
    "	xsave (%r12)\n"
    /* MSRs of system calls */
    "	mov $0xc0000080, %ecx\n"
    "	rdmsr\n"
    "	or $1, %eax\n"
    "	wrmsr\n"
    "	mov $0xc0000081, %ecx\n"
    "	xor %eax, %eax\n"
    "	mov $0x001b0010, %edx\n"
    "	wrmsr\n"
    "	mov $0xc0000084, %ecx\n"
    "	mov $0x1, %eax\n" /* carry is masked */
    "	xor %edx, %edx\n"
    "	wrmsr\n"
    "	mov $0xc0000082, %ecx\n"
    "	mov $(0x100200 + on_syscall - guest_linux64), %eax\n"
    "	wrmsr\n"
    "	xor %eax, %eax\n"
    "	rdmsr\n"
    "	mov %eax, 0x93008\n"
    "	xor %r15d, %r15d\n"
    "	push $0x23\n"
    "	push $0x8a000\n"
    "	push $2\n"
    "	push $0x2b\n"
    "	push $(0x100200 + program - guest_linux64)\n"
    "	iretq\n"
    ".globl on_int3, on_syscall, program\n"
    "on_int3:\n"
    "	inc %ebx\n"
    "	iretq\n"
    "program:\n"
    "	stc\n"
    "	mov $0x3456, %eax\n"
    "	syscall\n"
    "	stc\n"
    "	syscall\n"
    "	ud2\n"
    /* The first call tells what it found and waits for a byte, the second one tells that all is done. */
    "on_syscall:\n"
    "	mov $0x3f8, %edx\n"
    "	inc %r15d\n"
    "	cmp $1, %r15d\n"
    "	jne 3f\n"
    "	mov %eax, 0x93010\n"
    "	mov $0, %eax\n"
    "	setc %al\n"
    "	mov %eax, 0x93014\n"
    "	mov %cs, %eax\n"
    "	mov %eax, 0x93018\n"
    "	mov %ss, %eax\n"
    "	mov %eax, 0x9301c\n"
    "	mov %rcx, 0x93020\n"
    "	mov %r11, 0x93028\n"
    "	mov %rsp, 0x93030\n"
    "	mov $0x61, %al\n"
    "	out %al, %dx\n"
    "	mov $0x3fd, %edx\n"
    "2:	in %dx, %al\n"
    "	test $1, %al\n"
    "	jz 2b\n"
    "	mov $0x3f8, %edx\n"
    "	in %dx, %al\n"
    "	sysretq\n"
    "3:	mov $0x62, %al\n"
    "	out %al, %dx\n"
    "4:	hlt\n"
    "	jmp 4b\n");

static struct vm vm;

static int teardown(void **state)
{
	(void)state;
	vm_free(&vm);
	return 0;
}

static uint8_t *at(uint64_t gpa)
{
	return memory_at(&vm.machine->ram, gpa, MEMORY_PAGE);
}

static void add_user(uint64_t gpa)
{
	at(gpa)[0] |= 4;
}

/* The boot's tables, with the first 2 MiB for ring 3 as well and, in the last of the four levels' entries, what Linux has. */
static void put_tables(void)
{
	const uint64_t gdt[] = {[CODE_0 >> 3] = 0x00af9b000000ffff,
				[DATA_0 >> 3] = 0x00cf93000000ffff,
				[DATA_3 >> 3] = 0x00cff3000000ffff,
				[CODE_3 >> 3] = 0x00affb000000ffff};
	uint64_t handler = AT(on_int3);
	le16_put(at(POINTERS), sizeof(gdt) - 1);
	le64_put(at(POINTERS) + 2, GDT);
	le16_put(at(POINTERS) + 16, 16 * 16 - 1);
	le64_put(at(POINTERS) + 18, IDT);
	memcpy(at(GDT), gdt, sizeof(gdt));
	le64_put(at(IDT) + 3 * 16,
		 (handler & 0xffff) | CODE_0 << 16 | 0x8e0000000000 | (handler >> 16) << 48);
	add_user(BOOT_PAGE_TABLES);
	add_user(BOOT_PAGE_TABLES + 0x1000);
	add_user(BOOT_PAGE_TABLES + 0x2000);
	le64_put(at(BOOT_PAGE_TABLES) + 511 * 8, TABLE_3 | 3);
	le64_put(at(TABLE_3) + 511 * 8, TABLE_2 | 3);
}

/* Registers for xrstor: each byte another one; MXCSR, and a header that says that all of it counts. */
static void put_area(uint64_t gpa)
{
	uint8_t *area = at(gpa);
	for (unsigned i = 160; i < AREA_LEN; i++)
		area[i] = (uint8_t)(i * 7 + i / 256);
	memset(area + 416, 0, 96); /* reserved */
	memset(area + 512, 0, 64);
	le16_put(area, 0x37f);
	le32_put(area + 24, 0x1fa0);
	le64_put(area + 512, 7);
}

static void make_guest(void)
{
	vm_make(&vm, 16, 1, DIRTY_AUTO);
	vm.config.emulation = true;
	vm_replace(&vm);
	vm_boot64(&vm, guest_linux64, guest_linux64_end);
	put_tables();
	put_area(AREA_FROM);
}

static void boot(void)
{
	make_guest();
	memset(at(AREA_SSE), 0xee, AREA_LEN);
	le64_put(at(AREA_SSE) + 512, 4);
	machine_resume(vm.machine);
	vm_wait_console(&vm, 1);
}

static void test_breakpoint_and_vector_registers(void **state)
{
	(void)state;
	need_kvm();
	boot();
	machine_pause(vm.machine);
	assert_int_equal(le32_get(at(DUMP)), 0x100); /* int3 came back behind itself, once */
	const uint8_t *from = at(AREA_FROM), *all = at(AREA_ALL), *sse = at(AREA_SSE);
	assert_memory_equal(all + 160, from + 160, 256);
	assert_memory_equal(all + 576, from + 576, 256);
	assert_int_equal(le16_get(all), 0x37f);
	assert_int_equal(le32_get(all + 24), 0x1fa0);
	assert_int_equal(le64_get(all + 512) & 6, 6);
	/* What was not asked for is as it was. */
	assert_memory_equal(sse + 160, from + 160, 256);
	assert_int_equal(le32_get(sse + 24), 0x1fa0);
	assert_int_equal(sse[0], 0xee);
	assert_int_equal(sse[576], 0xee);
	assert_int_equal(le64_get(sse + 512), 6);
}

static void check_call(void)
{
	const uint8_t *dump = at(DUMP);
	assert_int_equal(le64_get(dump + 8), AT(on_syscall)); /* LSTAR reads as it was written */
	assert_int_equal(le32_get(dump + 0x10), 0x3456);
	assert_int_equal(le32_get(dump + 0x14), 0); /* the mask has taken carry away */
	assert_int_equal(le32_get(dump + 0x18), CODE_0);
	assert_int_equal(le32_get(dump + 0x1c), DATA_0);
	assert_int_equal(le64_get(dump + 0x20), AT(program) + 8); /* behind syscall */
	assert_int_equal(le64_get(dump + 0x28) & 1, 1);
	assert_int_equal(le64_get(dump + 0x30), STACK_3);
}

static void test_system_calls(void **state)
{
	(void)state;
	need_kvm();
	boot();
	check_call();
	vm_type(&vm, "x", 1);
	vm_wait_console(&vm, 2); /* sysret has gone back, and it called again */
	assert_int_equal(vm.console[1], 'b');
}

/* In the middle of the first call; the second one is on the machine that goes on. */
static void test_move(void **state)
{
	(void)state;
	need_kvm();
	boot();
	vm_move(&vm);
	check_call();
	machine_resume(vm.machine);
	vm_type(&vm, "x", 1);
	vm_wait_console(&vm, 2);
	assert_int_equal(vm.console[1], 'b');
}

/* A machine that does not emulate does not take such a guest, unless it never needed it. */
static void test_move_to_one_that_does_not_emulate(void **state)
{
	struct buf saved = {0};
	struct err err = {0};

	(void)state;
	need_kvm();
	boot();
	vm_save(&vm, &saved);
	vm.config.emulation = false;
	vm_replace(&vm);
	int result = machine_load(vm.machine, saved.data, saved.len, &err);
	if (kvm_has_hardware()) {
		assert_int_equal(result, 0);
	} else {
		assert_int_equal(result, -1);
		assert_non_null(strstr(err.text, "goes on only in a VM that is defined with emulate"));
	}
	buf_free(&saved);
}

/* Something else has the places in the page directory: LSTAR is the guest's own, and nothing of its memory was touched. */
static void test_directory_in_use(void **state)
{
	uint64_t value;

	(void)state;
	need_kvm();
	make_guest();
	le64_put(at(TABLE_2) + 510 * 8, 0x200083);
	machine_resume(vm.machine);
	if (!kvm_has_hardware())
		vm_wait_end(
		    &vm); /* ring 3 cannot execute the kernel's page, and there is nobody to handle that */
	else
		vm_wait_console(&vm, 1);
	machine_pause(vm.machine);
	assert_int_equal(le64_get(at(DUMP) + 8), AT(on_syscall));
	assert_int_equal(msr_get(vm.machine->vcpus[0].fd, 0xc0000082, &value), 0);
	assert_int_equal(value, AT(on_syscall));
	assert_int_equal(le64_get(at(TABLE_2) + 509 * 8), 0);
	assert_int_equal(le64_get(at(TABLE_2) + 510 * 8) & ~0x60ull, 0x200083);
}

/* ---- the timer's pace ------------------------------------------------------------------------------------------ */

static void test_tick(void **state)
{
	struct emulate_tick tick = {.running = true};
	struct kvm_pit_channel_state channel = {.mode = 2, .count = 65536}; /* 54.9 ms */
	unsigned raised = 0;

	(void)state;
	/* A look every 40 ms misses none of a slow timer's. */
	for (uint64_t now = 1; now < 10000000000; now += 40000000)
		raised += emulate_tick_due(&tick, &channel, now);
	assert_in_range(raised, 181, 184);
	/* Of a fast one there is one each look. */
	channel.count = 4773;
	for (unsigned i = 0; i < 5; i++)
		assert_true(emulate_tick_due(&tick, &channel, 20000000000 + i * 40000000ull));
	/* A single shot, which the guest may have set again. */
	channel.mode = 4;
	assert_true(emulate_tick_due(&tick, &channel, 30000000000));
	/* One that was stopped, or never set. */
	channel.mode = 0;
	assert_false(emulate_tick_due(&tick, &channel, 40000000000));
	channel = (struct kvm_pit_channel_state){.mode = 2};
	assert_false(emulate_tick_due(&tick, &channel, 50000000000));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test_teardown(test_breakpoint_and_vector_registers, teardown),
	    cmocka_unit_test_teardown(test_system_calls, teardown),
	    cmocka_unit_test_teardown(test_move, teardown),
	    cmocka_unit_test_teardown(test_move_to_one_that_does_not_emulate, teardown),
	    cmocka_unit_test_teardown(test_directory_in_use, teardown),
	    cmocka_unit_test(test_tick),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
