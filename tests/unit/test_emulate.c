/* test_emulate.c: iret in protected mode, of every kind and with everything wrong: what the guest sees is the same whether the
 * processor does it or, where KVM cannot, vmm/emulate*.c.
 *
 * The test puts tables and a frame into the guest's RAM; the guest executes iret on the frame.  Wherever that leads - back into
 * ring 0, to ring 3 and from there into #UD, into an exception - it dumps what it finds: data segments and an exception's frame. */
#include "tests/lib/need.h"
#include "tests/lib/test.h"
#include "tests/lib/vm.h"
#include "vmm/machine_impl.h"

#include <stdio.h>
#include <string.h>

enum {
	TABLES = 0x80000, /* the two pointers: GDT's, IDT's */
	GDT = 0x80100,
	IDT = 0x80800,
	TSS = 0x81000,
	STACK = 0x82000, /* the frame lies here */
	STACK_INNER = 0x84000,
	STACK_OUTER = 0x86000,
	GDT_ENTRIES = 16,
	TARGET = 256, /* the "vector" that says: came to where iret led, in ring 0 */
	FLAGS = 0x2,
	FLAG_CF = 1,
	FLAG_DF = 1 << 10,
	IOPL_3 = 3 << 12,
};

#define TEXT(name, symbol) (KERNEL_ADDRESS + (uint32_t)((uintptr_t)(symbol) - (uintptr_t)guest_##name))
#define STUB(n)            "	.balign 16\n	push $0\n	push $" #n "\n	jmp dump\n"
#define STUB_ERROR(n)      "	.balign 16\n	push $" #n "\n	jmp dump\n"

extern const uint8_t iret_wide[], iret_narrow[], handler[], target_0[], target_16[], target_3[], vectors[];
GUEST_CODE(
    iret, 32,
    "	cld\n"
    "	lgdt 0x80000\n"
    "	lidt 0x80008\n"
    "	mov $0x10, %eax\n"
    "	mov %eax, %ds\n"
    "	mov %eax, %es\n"
    "	mov %eax, %ss\n"
    "	mov $0x2b, %eax\n" /* fs: of ring 3, which survives */
    "	mov %eax, %fs\n"
    "	mov $0x10, %eax\n"
    "	mov %eax, %gs\n"
    "	mov $0x38, %eax\n"
    "	ltr %ax\n"
    "	mov $0x82000, %esp\n"
    "	ljmp $0x08, $(0x100000 + 1f - guest_iret)\n"
    "1:	cmpb $1, 0x80010\n" /* which iret */
    "	je iret_narrow\n"
    "	jb iret_wide\n"
    /* A stack segment with a base, and an exception by whose frame the handler returns once it has mended ecx. */
    "	mov $0x60, %eax\n"
    "	mov %eax, %ss\n"
    "	xor %edx, %edx\n"
    "	xor %ecx, %ecx\n"
    "	div %ecx\n"
    "	cmp $0x82000, %esp\n" /* all of the frame is gone */
    "	je target_0\n"
    "	hlt\n"
    "handler:\n"
    "	mov $1, %ecx\n"
    "	iret\n"
    ".globl iret_wide, iret_narrow, handler, target_0, target_16, target_3, vectors\n"
    "iret_wide:\n"
    "	iret\n"
    "iret_narrow:\n"
    "	iretw\n"
    /* In the segment of 16 bits, whose base is that of the code. */
    "target_16:\n"
    "	.byte 0x8c, 0xcb\n" /* mov %cs, %ebx */
    "	.byte 0x66, 0xea\n"
    "	.long 0x100000 + 2f - guest_iret\n"
    "	.word 0x08\n"
    "target_0:\n"
    "	mov %cs, %ebx\n"
    "2:	pushf\n"
    "	push %ebx\n"
    "	push $0\n"
    "	push $0\n"
    "	push $256\n"
    "	jmp dump\n"
    "target_3:\n"
    "	ud2\n"
    "dump:\n"
    "	push %gs\n"
    "	push %fs\n"
    "	push %es\n"
    "	push %ds\n"
    "	mov %esp, %esi\n"
    "	mov $0x10, %eax\n"
    "	mov %ss, %ebx\n" /* esi is an offset in it */
    "	cmp $0x60, %ebx\n"
    "	jne 4f\n"
    "	mov %ebx, %eax\n"
    "4:	mov %eax, %ds\n"
    "	mov $0x3f8, %edx\n"
    "	mov $44, %ecx\n"
    "	cld\n"
    "	rep outsb\n"
    "3:	hlt\n"
    "	jmp 3b\n"
    "	.balign 16\n"
    "vectors:\n" STUB(0) STUB(1) STUB(2) STUB(3) STUB(4) STUB(5) STUB(6) STUB(7) STUB_ERROR(8) STUB(9)
	STUB_ERROR(10) STUB_ERROR(11) STUB_ERROR(12) STUB_ERROR(13) STUB_ERROR(14) STUB(15));

/* The guest's dump. */
struct dump {
	uint32_t ds, es, fs, gs;
	uint32_t vector, error, eip, cs, eflags, esp, ss;
};

struct frame {
	uint32_t eip, cs, eflags, esp, ss;
};

static struct vm vm;

static int teardown(void **state)
{
	(void)state;
	vm_free(&vm);
	return 0;
}

/* ---- tables ---------------------------------------------------------------------------------------------- */

enum {
	CODE_0 = 0x08,
	DATA_0 = 0x10,
	CODE_16 = 0x18, /* ring 0, 64 KiB from the code on */
	CODE_3 = 0x23,
	DATA_3 = 0x2b,
	CODE_ABSENT = 0x30,
	TASK = 0x38,
	DATA_ABSENT = 0x43,
	CODE_CONFORMING = 0x48, /* of ring 0 */
	CODE_SHORT = 0x50,      /* of 16 bytes */
	DATA_READ = 0x5b,       /* of ring 3, read-only */
	DATA_BASED = 0x60,      /* of ring 0, from 64 KiB on */
	BEYOND = 0x83,          /* behind the table */
};

static uint64_t descriptor(uint32_t base, uint32_t limit, uint8_t access, uint8_t flags)
{
	return (limit & 0xffff) | (uint64_t)(base & 0xffffff) << 16 | (uint64_t)access << 40 |
	       (uint64_t)(limit >> 16 & 0xf) << 48 | (uint64_t)flags << 52 | (uint64_t)(base >> 24) << 56;
}

static void put(uint64_t gpa, const void *data, size_t len)
{
	memcpy(memory_at(&vm.machine->ram, gpa, len), data, len);
}

static void put_tables(bool based)
{
	const uint64_t gdt[GDT_ENTRIES] = {
	    [CODE_0 >> 3] = descriptor(0, 0xfffff, 0x9a, 0xc),
	    [DATA_0 >> 3] = descriptor(0, 0xfffff, 0x92, 0xc),
	    [CODE_16 >> 3] = descriptor(KERNEL_ADDRESS, 0xffff, 0x9a, 0),
	    [CODE_3 >> 3] = descriptor(0, 0xfffff, 0xfa, 0xc),
	    [DATA_3 >> 3] = descriptor(0, 0xfffff, 0xf2, 0xc),
	    [CODE_ABSENT >> 3] = descriptor(0, 0xfffff, 0x1a, 0xc),
	    [TASK >> 3] = descriptor(TSS, 0x67, 0x89, 0),
	    [DATA_ABSENT >> 3] = descriptor(0, 0xfffff, 0x72, 0xc),
	    [CODE_CONFORMING >> 3] = descriptor(0, 0xfffff, 0x9e, 0xc),
	    [CODE_SHORT >> 3] = descriptor(0, 0xf, 0x9a, 0x4),
	    [DATA_BASED >> 3] = descriptor(0x10000, 0xfffff, 0x92, 0xc),
	    [DATA_READ >> 3] = descriptor(0, 0xfffff, 0xf0, 0xc),
	};
	const uint32_t tss[26] = {[1] = STACK_INNER, [2] = DATA_0};
	const struct {
		uint16_t limit;
		uint32_t base;
	} __attribute__((packed)) gdtr = {sizeof(gdt) - 1, GDT}, idtr = {16 * 8 - 1, IDT};

	put(GDT, gdt, sizeof(gdt));
	put(TSS, tss, sizeof(tss));
	put(TABLES, &gdtr, sizeof(gdtr));
	put(TABLES + 8, &idtr, sizeof(idtr));
	for (uint32_t i = 0; i < 16; i++) {
		uint32_t at = based && !i ? TEXT(iret, handler) : TEXT(iret, vectors) + 16 * i;
		uint64_t gate = (at & 0xffff) | CODE_0 << 16 | 0x8e0000000000 | (uint64_t)(at >> 16) << 48;
		put(IDT + 8 * i, &gate, sizeof(gate));
	}
}

/* ---- one iret after the other ------------------------------------------------------------------------------ */

enum how { WIDE, NARROW, BASED };

static struct dump run(const struct frame *frame, enum how how)
{
	const uint32_t wide[5] = {frame->eip, frame->cs, frame->eflags, frame->esp, frame->ss};
	struct dump dump;
	uint8_t which = (uint8_t)how;

	vm_make(&vm, 16, 1, DIRTY_AUTO);
	vm.config.emulation = true;
	vm_replace(&vm);
	vm_boot32(&vm, guest_iret, guest_iret_end);
	put_tables(how == BASED);
	put(TABLES + 16, &which, 1);
	for (unsigned i = 0; i < 5; i++)
		put(STACK + (how == NARROW ? 2 : 4) * i, &wide[i], how == NARROW ? 2 : 4);
	machine_resume(vm.machine);
	vm_wait_console(&vm, sizeof(dump));
	memcpy(&dump, vm.console, sizeof(dump));
	vm_free(&vm);
	return dump;
}

static void test_same_level(void **state)
{
	struct frame frame = {TEXT(iret, target_0), CODE_0, FLAGS | FLAG_CF | FLAG_DF | IOPL_3, 0, 0};

	(void)state;
	need_kvm();
	struct dump dump = run(&frame, WIDE);
	assert_int_equal(dump.vector, TARGET);
	assert_int_equal(dump.cs, CODE_0);
	assert_int_equal(dump.eflags, frame.eflags);
	assert_int_equal(dump.ds, DATA_0);
	/* Of the upper half of a selector on the stack nothing counts. */
	frame.cs |= 0xabcd0000;
	dump = run(&frame, WIDE);
	assert_int_equal(dump.vector, TARGET);
	assert_int_equal(dump.cs, CODE_0);
}

static void test_sixteen_bits(void **state)
{
	const struct frame frame = {TEXT(iret, target_16) - KERNEL_ADDRESS, CODE_16, FLAGS | FLAG_CF, 0, 0};

	(void)state;
	need_kvm();
	for (enum how how = WIDE; how <= NARROW; how++) {
		struct dump dump = run(&frame, how);
		assert_int_equal(dump.vector, TARGET);
		assert_int_equal(dump.cs, CODE_16);
		assert_int_equal(dump.eflags, frame.eflags);
	}
}

/* From there #UD comes back with the stack of ring 3; data segments of ring 0 are gone. */
static void test_outer_level(void **state)
{
	const struct frame frame = {TEXT(iret, target_3), CODE_3, FLAGS | FLAG_CF, STACK_OUTER, DATA_3};

	(void)state;
	need_kvm();
	struct dump dump = run(&frame, WIDE);
	assert_int_equal(dump.vector, 6);
	assert_int_equal(dump.eip, frame.eip);
	assert_int_equal(dump.cs, CODE_3);
	assert_int_equal(dump.ss, DATA_3);
	assert_int_equal(dump.esp, STACK_OUTER);
	assert_int_equal(dump.eflags & FLAG_CF, FLAG_CF);
	assert_int_equal(dump.ds, 0);
	assert_int_equal(dump.es, 0);
	assert_int_equal(dump.fs, DATA_3);
	assert_int_equal(dump.gs, 0);
}

static void test_refused(void **state)
{
	const uint32_t to_0 = TEXT(iret, target_0), to_3 = TEXT(iret, target_3);
	const struct {
		struct frame frame;
		uint32_t vector, error;
	} cases[] = {
	    {{to_0, 0, FLAGS, 0, 0}, 13, 0},                                     /* null */
	    {{to_0, 3, FLAGS, 0, 0}, 13, 0},                                     /* null, whatever its RPL */
	    {{to_0, BEYOND, FLAGS, 0, 0}, 13, BEYOND & ~3u},                     /* not in the GDT */
	    {{to_0, CODE_0 | 4, FLAGS, 0, 0}, 13, CODE_0 | 4},                   /* no LDT */
	    {{to_0, DATA_0, FLAGS, 0, 0}, 13, DATA_0},                           /* no code */
	    {{to_0, TASK, FLAGS, 0, 0}, 13, TASK},                               /* a system segment */
	    {{to_0, CODE_ABSENT, FLAGS, 0, 0}, 11, CODE_ABSENT},                 /* not present */
	    {{to_0, CODE_3 & ~3, FLAGS, 0, 0}, 13, CODE_3 & ~3},                 /* DPL 3, RPL 0 */
	    {{to_0, CODE_0 | 3, FLAGS, STACK_OUTER, DATA_3}, 13, CODE_0},        /* DPL 0, RPL 3 */
	    {{to_0, CODE_SHORT, FLAGS, 0, 0}, 13, 0},                            /* beyond its limit */
	    {{to_3, CODE_3, FLAGS, STACK_OUTER, 0}, 13, 0},                      /* stack: null */
	    {{to_3, CODE_3, FLAGS, STACK_OUTER, DATA_0}, 13, DATA_0},            /* stack of ring 0 */
	    {{to_3, CODE_3, FLAGS, STACK_OUTER, CODE_3}, 13, CODE_3 & ~3},       /* stack: code */
	    {{to_3, CODE_3, FLAGS, STACK_OUTER, DATA_READ}, 13, DATA_READ & ~3}, /* not writable */
	    {{to_3, CODE_3, FLAGS, STACK_OUTER, DATA_ABSENT}, 12, DATA_ABSENT & ~3}, /* not present */
	};

	(void)state;
	need_kvm();
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct dump dump = run(&cases[i].frame, WIDE);
		if (dump.vector != cases[i].vector || dump.error != cases[i].error)
			fail_msg("case %zu: vector %u with 0x%x, not %u with 0x%x", i, dump.vector,
				 dump.error, cases[i].vector, cases[i].error);
		assert_int_equal(dump.eip, TEXT(iret, iret_wide)); /* a fault: nothing has moved */
		assert_int_equal(dump.cs, CODE_0);
	}
}

/* A conforming segment of ring 0 runs at the level from which it was entered, or returned to. */
static void test_conforming(void **state)
{
	struct frame frame = {TEXT(iret, target_0), CODE_CONFORMING, FLAGS, STACK_OUTER, DATA_3};

	(void)state;
	need_kvm();
	struct dump dump = run(&frame, WIDE);
	assert_int_equal(dump.vector, TARGET);
	assert_int_equal(dump.cs, CODE_CONFORMING);
	frame.eip = TEXT(iret, target_3);
	frame.cs |= 3;
	dump = run(&frame, WIDE);
	assert_int_equal(dump.vector, 6);
	assert_int_equal(dump.cs, CODE_CONFORMING | 3);
}

/* The frame is that of an exception, on a stack whose segment has a base. */
static void test_based_stack(void **state)
{
	const struct frame nothing = {0, 0, 0, 0, 0};

	(void)state;
	need_kvm();
	struct dump dump = run(&nothing, BASED);
	assert_int_equal(dump.vector, TARGET);
	assert_int_equal(dump.cs, CODE_0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test_teardown(test_same_level, teardown),
	    cmocka_unit_test_teardown(test_sixteen_bits, teardown),
	    cmocka_unit_test_teardown(test_outer_level, teardown),
	    cmocka_unit_test_teardown(test_refused, teardown),
	    cmocka_unit_test_teardown(test_conforming, teardown),
	    cmocka_unit_test_teardown(test_based_stack, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
