/* test_dirty.c: dirty tracking on real KVM finds the pages that were written, all of them and no others, by ring
 * and by bitmap. */
#include "tests/lib/need.h"
#include "tests/lib/test.h"
#include "tests/lib/vm.h"
#include "vmm/machine_impl.h"

#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>

static struct vm vm;
static struct pageset set;

static int teardown(void **state)
{
	(void)state;
	vm_free(&vm);
	pageset_close(&set);
	memset(&set, 0, sizeof(set));
	return 0;
}

static void start(void)
{
	struct err err = {0};

	if (!set.pages && pageset_create(&set, vm.config.memory_bytes / MEMORY_PAGE, &err))
		fail_msg("%s", err.text);
	if (machine_dirty_start(vm.machine, &set, &err))
		fail_msg("%s", err.text);
}

static void harvest(void)
{
	struct err err = {0};

	if (machine_dirty_harvest(vm.machine, &err))
		fail_msg("%s", err.text);
}

/* The set holds these pages, and is empty afterwards. */
static void expect(const uint64_t *pages, size_t count)
{
	uint64_t got[64], cursor = 0;
	size_t n = pageset_take(&set, &cursor, got, 64);

	for (size_t i = 0; i < n || i < count; i++)
		if (i >= n || i >= count || got[i] != pages[i])
			fail_msg("page %zu of the set is 0x%llx, expected 0x%llx", i,
				 (unsigned long long)(i < n ? got[i] : 0),
				 (unsigned long long)(i < count ? pages[i] : 0));
	assert_int_equal(pageset_count(&set), 0);
}

/* For each byte c that is typed: writes to five pages from 0x200000 + c * 0x10000 on, then says c. */
GUEST_CODE(writer, 32,
	   "	mov $0x3f8, %dx\n"
	   "	out %al, %dx\n"
	   "1:	mov $0x3fd, %dx\n"
	   "2:	in %dx, %al\n"
	   "	test $1, %al\n"
	   "	jz 2b\n"
	   "	mov $0x3f8, %dx\n"
	   "	in %dx, %al\n"
	   "	movzx %al, %edi\n"
	   "	shl $16, %edi\n"
	   "	add $0x200000, %edi\n"
	   "	movl $1, (%edi)\n"
	   "	movb $1, 0x1fff(%edi)\n" /* the second page's last byte */
	   "	incl 0x4000(%edi)\n"
	   "	movl $1, 0x7ffe(%edi)\n" /* across a boundary */
	   "	out %al, %dx\n"
	   "	jmp 1b\n");

static void make_writer(enum dirty_mode mode)
{
	vm_make(&vm, 32, 1, mode);
	vm_boot32(&vm, guest_writer, guest_writer_end);
	machine_resume(vm.machine);
	vm_wait_console(&vm, 1);
}

static void let_write(uint8_t c)
{
	size_t len = vm_console_len(&vm);

	vm_type(&vm, &c, 1);
	vm_wait_console(&vm, len + 1);
}

static void expect_written(uint8_t c)
{
	const uint64_t first = 0x200 + c * 0x10u;
	const uint64_t pages[] = {first, first + 1, first + 4, first + 7, first + 8};

	expect(pages, 5);
}

static void known_pages(enum dirty_mode mode)
{
	need_kvm();
	make_writer(mode);
	let_write(1); /* before the start: of no interest */
	start();
	harvest();
	assert_int_equal(pageset_count(&set), 0);
	let_write(1);
	let_write(1);
	harvest();
	expect_written(1);
	harvest();
	assert_int_equal(pageset_count(&set), 0);
	let_write(1); /* protected again: found again */
	let_write(9);
	machine_pause(vm.machine); /* also while it stands still */
	harvest();
	for (unsigned i = 0; i < 2; i++) {
		const uint64_t first = i ? 0x290 : 0x210;
		assert_true(pageset_has(&set, first) && pageset_has(&set, first + 8));
	}
	assert_int_equal(pageset_count(&set), 10);
	pageset_clear(&set);
	machine_resume(vm.machine);
	machine_dirty_stop(vm.machine);
	let_write(3);
	start(); /* what came in between is forgotten */
	let_write(4);
	harvest();
	expect_written(4);
	machine_dirty_stop(vm.machine);
	machine_dirty_stop(vm.machine); /* harmless */
}

static void test_known_pages_ring(void **state)
{
	(void)state;
	known_pages(DIRTY_RING);
	assert_string_equal(machine_dirty_mode(vm.machine), "ring");
}

static void test_known_pages_bitmap(void **state)
{
	(void)state;
	known_pages(DIRTY_BITMAP);
	assert_string_equal(machine_dirty_mode(vm.machine), "bitmap");
}

/* Maps RAM above 4 GiB and writes to its fourth page, for each byte that is typed. */
GUEST_CODE(high_writer, 64,
	   "	mov $0x5000, %edi\n" /* level 3: the fifth GiB */
	   "	movq $0x10003, 32(%rdi)\n"
	   "	mov $0x10000, %edi\n" /* level 2: one page of 2 MiB */
	   "	mov $0x1000000e3, %rax\n"
	   "	mov %rax, (%rdi)\n"
	   "	mov $0x3f8, %dx\n"
	   "	out %al, %dx\n"
	   "1:	mov $0x3fd, %dx\n"
	   "2:	in %dx, %al\n"
	   "	test $1, %al\n"
	   "	jz 2b\n"
	   "	mov $0x3f8, %dx\n"
	   "	in %dx, %al\n"
	   "	mov $0x100003000, %rdi\n"
	   "	movb $0x77, (%rdi)\n"
	   "	out %al, %dx\n"
	   "	jmp 1b\n");

static void high_pages(enum dirty_mode mode)
{
	const uint64_t written = MEMORY_LOW_MAX / MEMORY_PAGE + 3;
	uint64_t got[16], cursor = 0;
	size_t n;
	bool found = false;

	need_kvm();
	vm_make(&vm, 3072 + 16, 1, mode);
	vm_boot64(&vm, guest_high_writer, guest_high_writer_end);
	machine_resume(vm.machine);
	vm_wait_console(&vm, 1);
	start();
	let_write(1);
	harvest();
	n = pageset_take(&set, &cursor, got, 16);
	for (size_t i = 0; i < n; i++) {
		if (got[i] == written)
			found = true;
		else /* the processor marks page tables that it uses */
			assert_true(got[i] <= 0x10);
	}
	assert_true(found);
	assert_int_equal(vm.machine->ram.base[written * MEMORY_PAGE], 0x77);
}

static void test_high_pages_ring(void **state)
{
	(void)state;
	high_pages(DIRTY_RING);
}

static void test_high_pages_bitmap(void **state)
{
	(void)state;
	high_pages(DIRTY_BITMAP);
}

/* Writes to 70,000 pages in a row, then says so. */
GUEST_CODE(flood, 32,
	   "	mov $0x3f8, %dx\n"
	   "	out %al, %dx\n"
	   "1:	mov $0x3fd, %dx\n"
	   "2:	in %dx, %al\n"
	   "	test $1, %al\n"
	   "	jz 2b\n"
	   "	mov $0x3f8, %dx\n"
	   "	in %dx, %al\n"
	   "	mov $0x1000000, %edi\n"
	   "	mov $70000, %ecx\n"
	   "3:	incl (%edi)\n"
	   "	add $4096, %edi\n"
	   "	dec %ecx\n"
	   "	jnz 3b\n"
	   "	out %al, %dx\n"
	   "	jmp 1b\n");

/* More than a ring holds: the vCPU's thread empties it, again and again, and nothing is lost.  Nor is it on a KVM
 * that does not stop the vCPU in time, which costs that all pages count as dirty. */
static void flood(enum dirty_mode mode)
{
	unsigned overruns = 0;

	need_kvm();
	vm_make(&vm, 320, 1, mode);
	vm_boot32(&vm, guest_flood, guest_flood_end);
	machine_resume(vm.machine);
	vm_wait_console(&vm, 1);
	start();
	for (unsigned round = 0; round < 4; round++) {
		let_write(1);
		harvest();
		for (uint64_t i = 0; i < 70000; i++)
			if (!pageset_has(&set, 0x1000 + i))
				fail_msg("round %u: page 0x%llx is missing", round,
					 (unsigned long long)(0x1000 + i));
		if (vm.machine->dirty.overruns == overruns)
			assert_int_equal(pageset_count(&set), 70000);
		overruns = vm.machine->dirty.overruns;
		pageset_clear(&set);
	}
	if (overruns)
		print_message("KVM on this host lets a ring be overrun: %u times\n", overruns);
}

static void test_full_ring(void **state)
{
	(void)state;
	flood(DIRTY_RING);
}

static void test_flood_bitmap(void **state)
{
	(void)state;
	flood(DIRTY_BITMAP);
}

/* Rings that are full when the tracking ends do not hold the guest up. */
static void test_stop_with_full_ring(void **state)
{
	(void)state;
	need_kvm();
	vm_make(&vm, 320, 1, DIRTY_RING);
	vm_boot32(&vm, guest_flood, guest_flood_end);
	machine_resume(vm.machine);
	vm_wait_console(&vm, 1);
	start();
	vm_type(&vm, "x", 1);
	machine_dirty_stop(vm.machine);
	vm_wait_console(&vm, 2);
	let_write(1);
}

/* Writes a counter to one of 1,024 pages after the other, in no order; says so every 256 times. */
GUEST_CODE(scatter, 32,
	   "	mov $0x3f8, %dx\n"
	   "	mov $1, %eax\n"
	   "	xor %ecx, %ecx\n"
	   "1:	imul $1664525, %eax, %eax\n"
	   "	add $1013904223, %eax\n"
	   "	mov %eax, %edi\n"
	   "	shr $10, %edi\n"
	   "	and $0x3ff000, %edi\n"
	   "	mov %ecx, 0x400010(%edi)\n"
	   "	inc %ecx\n"
	   "	test %cl, %cl\n"
	   "	jnz 1b\n"
	   "	out %al, %dx\n"
	   "	jmp 1b\n");

static void copy_dirty(uint8_t *replica)
{
	uint64_t got[256], cursor = 0;
	size_t n;

	while ((n = pageset_take(&set, &cursor, got, 256)))
		for (size_t i = 0; i < n; i++)
			memcpy(replica + got[i] * MEMORY_PAGE, vm.machine->ram.base + got[i] * MEMORY_PAGE,
			       MEMORY_PAGE);
}

/* What pre-copy does: copy all, then what was written meanwhile, with the guest running; at last with it paused.  The
 * copy must be the RAM. */
static void replicate(enum dirty_mode mode)
{
	size_t bytes = 16 << 20;
	uint8_t *replica = malloc(bytes);

	need_kvm();
	vm_make(&vm, bytes >> 20, 1, mode);
	vm_boot32(&vm, guest_scatter, guest_scatter_end);
	machine_resume(vm.machine);
	vm_wait_console(&vm, 1);
	start();
	memcpy(replica, vm.machine->ram.base, bytes);
	for (unsigned round = 0; round < 40; round++) {
		vm_wait_console(&vm, vm_console_len(&vm) + 1);
		harvest();
		copy_dirty(replica);
	}
	machine_pause(vm.machine);
	harvest();
	copy_dirty(replica);
	for (size_t at = 0; at < bytes; at += MEMORY_PAGE)
		if (memcmp(replica + at, vm.machine->ram.base + at, MEMORY_PAGE))
			fail_msg("page 0x%zx of the copy is not what the guest wrote", at / MEMORY_PAGE);
	free(replica);
}

static void test_replicate_ring(void **state)
{
	(void)state;
	replicate(DIRTY_RING);
}

static void test_replicate_bitmap(void **state)
{
	(void)state;
	replicate(DIRTY_BITMAP);
}

/* What devices of the VMM write. */
static void test_vmm_writes(void **state)
{
	static const uint64_t pages[] = {0x100, 0x101, 0x300};

	(void)state;
	need_kvm();
	vm_make(&vm, 16, 1, DIRTY_AUTO);
	assert_int_equal(machine_write_ram(vm.machine, 0x50000, "before", 6), 0);
	start();
	assert_int_equal(machine_write_ram(vm.machine, 0x100ffd, "across", 6), 0);
	assert_int_equal(machine_write_ram(vm.machine, 0x300000, "one", 3), 0);
	assert_int_equal(machine_write_ram(vm.machine, 0x400000, "", 0), 0);
	assert_int_equal(machine_write_ram(vm.machine, 0xffffff, "xx", 2), -1);
	harvest();
	expect(pages, 3);
	assert_memory_equal(vm.machine->ram.base + 0x100ffd, "across", 6);
	machine_dirty_stop(vm.machine);
	assert_int_equal(machine_write_ram(vm.machine, 0x50000, "after", 5), 0);
	assert_int_equal(pageset_count(&set), 0);
}

static void test_refusals(void **state)
{
	struct pageset small = {.fd = -1};
	struct err err = {0};

	(void)state;
	need_kvm();
	vm_make(&vm, 16, 1, DIRTY_AUTO);
	assert_int_equal(machine_dirty_harvest(vm.machine, &err), -1);
	assert_int_equal(err.kind, ERR_STATE);
	assert_int_equal(pageset_create(&small, (16 << 20) / MEMORY_PAGE - 1, &err), 0);
	assert_int_equal(machine_dirty_start(vm.machine, &small, &err), -1);
	assert_int_equal(err.kind, ERR_INPUT);
	pageset_close(&small);
	start();
	assert_int_equal(machine_dirty_start(vm.machine, &set, &err), -1);
	assert_int_equal(err.kind, ERR_STATE);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_teardown(name, teardown)
	const struct CMUnitTest tests[] = {
	    TEST(test_known_pages_ring),    TEST(test_known_pages_bitmap), TEST(test_high_pages_ring),
	    TEST(test_high_pages_bitmap),   TEST(test_full_ring),          TEST(test_flood_bitmap),
	    TEST(test_stop_with_full_ring), TEST(test_replicate_ring),     TEST(test_replicate_bitmap),
	    TEST(test_vmm_writes),          TEST(test_refusals),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
