/* Baselines: what a host has beyond one is not shown, what it lacks is named, and a guest of a baseline fits every host of that
 * level.  On tables only: whether KVM masks what it is told to is the host's business. */
#include "tests/lib/need.h"
#include "tests/lib/test.h"
#include "vmm/cpuid_model.h"

#include <string.h>

static struct cpuid_table table;

static struct kvm_cpuid_entry2 *add(uint32_t leaf, uint32_t subleaf, uint32_t value)
{
	struct kvm_cpuid_entry2 *entry = &table.entries[table.count++];
	*entry = (struct kvm_cpuid_entry2){
	    .function = leaf, .index = subleaf, .eax = value, .ebx = value, .ecx = value, .edx = value};
	if (leaf == 7 || leaf == 0xd)
		entry->flags = KVM_CPUID_FLAG_SIGNIFCANT_INDEX;
	return entry;
}

/* A CPU that has everything. */
static void make_rich(void)
{
	memset(&table, 0, sizeof(table));
	add(0, 0, 0)->eax = 0x20;
	add(1, 0, UINT32_MAX);
	add(6, 0, UINT32_MAX);
	add(7, 0, UINT32_MAX)->eax = 2;
	add(7, 1, UINT32_MAX);
	add(7, 2, UINT32_MAX);
	struct kvm_cpuid_entry2 *xsave = add(0xd, 0, UINT32_MAX);
	xsave->ebx = xsave->ecx = 11008;
	for (unsigned i = 1; i < 19; i++)
		add(0xd, i, i == 1 ? UINT32_MAX : 64);
	add(0x1d, 0, UINT32_MAX);
	add(0x40000000, 0, 0x40000001);
	add(0x40000001, 0, UINT32_MAX);
	add(0x80000000, 0, 0)->eax = 0x80000026;
	add(0x80000001, 0, UINT32_MAX);
	add(0x80000008, 0, UINT32_MAX);
	add(0x80000021, 0, UINT32_MAX);
}

static bool has(uint32_t leaf, unsigned reg, unsigned bit)
{
	const struct kvm_cpuid_entry2 *e = cpuid_find(&table, leaf, 0);
	assert_non_null(e);
	const uint32_t regs[] = {e->eax, e->ebx, e->ecx, e->edx};
	return regs[reg] >> bit & 1;
}

static void test_v2(void **state)
{
	(void)state;
	struct err err = {0};
	make_rich();
	assert_int_equal(cpuid_apply_model(&table, CPU_X86_64_V2, &err), 0);
	assert_true(has(1, 2, 23));          /* POPCNT */
	assert_true(has(1, 2, 20));          /* SSE4.2 */
	assert_false(has(1, 2, 28));         /* AVX */
	assert_false(has(1, 2, 25));         /* AES */
	assert_false(has(1, 2, 26));         /* XSAVE */
	assert_false(has(7, 1, 5));          /* AVX2 */
	assert_true(has(7, 3, 26));          /* SPEC_CTRL */
	assert_true(has(0x80000001, 3, 29)); /* LM */
	assert_false(has(0x80000001, 2, 5)); /* LZCNT */
	assert_null(cpuid_find(&table, 0xd, 0));
	assert_null(cpuid_find(&table, 7, 1));
	assert_null(cpuid_find(&table, 0x1d, 0));
	assert_null(cpuid_find(&table, 0x80000021, 0));
	assert_int_equal(cpuid_find(&table, 0, 0)->eax, 0xd);
	assert_int_equal(cpuid_find(&table, 0x80000000, 0)->eax, 0x80000008);
}

static void test_v3(void **state)
{
	(void)state;
	struct err err = {0};
	make_rich();
	assert_int_equal(cpuid_apply_model(&table, CPU_X86_64_V3, &err), 0);
	assert_true(has(1, 2, 28) && has(1, 2, 12) && has(7, 1, 5) && has(7, 1, 3) && has(7, 1, 8));
	assert_true(has(0x80000001, 2, 5));
	assert_false(has(7, 1, 16)); /* AVX-512 */
	assert_false(has(7, 1, 20)); /* SMAP: not every CPU of the level */
	assert_int_equal(cpuid_find(&table, 7, 0)->eax, 0);
	/* The state that is saved is that of AVX, whatever else the CPU has. */
	assert_int_equal(cpuid_find(&table, 0xd, 0)->eax, 7);
	assert_int_equal(cpuid_find(&table, 0xd, 0)->ecx, 832);
	assert_non_null(cpuid_find(&table, 0xd, 2));
	assert_null(cpuid_find(&table, 0xd, 5));
	assert_int_equal(cpuid_find(&table, 0xd, 1)->eax, 0);
	/* Done again nothing changes: the guest's table fits any host of the level. */
	struct cpuid_table once = table;
	assert_int_equal(cpuid_apply_model(&table, CPU_X86_64_V3, &err), 0);
	assert_memory_equal(&once, &table, sizeof(table));
}

static void test_lacking(void **state)
{
	(void)state;
	struct err err = {0};
	make_rich();
	((struct kvm_cpuid_entry2 *)cpuid_find(&table, 7, 0))->ebx &= ~(1u << 5);
	((struct kvm_cpuid_entry2 *)cpuid_find(&table, 1, 0))->ecx &= ~(1u << 12);
	struct cpuid_table before = table;
	assert_int_equal(cpuid_apply_model(&table, CPU_X86_64_V3, &err), -1);
	assert_int_equal(err.kind, ERR_REFUSED);
	assert_non_null(strstr(err.text, "x86-64-v3: it lacks fma, avx2;"));
	assert_memory_equal(&before, &table, sizeof(table));
	assert_int_equal(cpuid_apply_model(&table, CPU_X86_64_V2, &err), 0);
	/* A host that has next to nothing: some are named. */
	memset(&table, 0, sizeof(table));
	add(1, 0, 0);
	assert_int_equal(cpuid_apply_model(&table, CPU_X86_64_V2, &err), -1);
	assert_non_null(strstr(err.text, "and more"));
}

static void test_host(void **state)
{
	(void)state;
	struct err err = {0};
	make_rich();
	struct cpuid_table before = table;
	assert_int_equal(cpuid_apply_model(&table, CPU_HOST, &err), 0);
	assert_memory_equal(&before, &table, sizeof(table));
}

/* The CPU of this machine, whatever it is: a baseline either holds or is refused with a name. */
static void test_this_host(void **state)
{
	(void)state;
	struct err err = {0};
	struct kvm kvm;
	need_kvm();
	assert_int_equal(kvm_open(&kvm, &err), 0);
	assert_int_equal(cpuid_host(&kvm, &table, &err), 0);
	kvm_close(&kvm);
	struct cpuid_table before = table;
	if (cpuid_apply_model(&table, CPU_X86_64_V2, &err)) {
		assert_non_null(strstr(err.text, "it lacks"));
		return;
	}
	/* Nothing is there that was not there before. */
	for (uint32_t i = 0; i < table.count; i++) {
		const struct kvm_cpuid_entry2 *now = &table.entries[i];
		const struct kvm_cpuid_entry2 *then = cpuid_find(&before, now->function, now->index);
		assert_non_null(then);
		if (now->function == 1)
			assert_int_equal(now->ecx & ~then->ecx, 0);
	}
}

static void test_async_faults(void **state)
{
	(void)state;
	make_rich();
	cpuid_hide_async_faults(&table);
	assert_false(has(0x40000001, 0, 4));
	assert_false(has(0x40000001, 0, 10));
	assert_false(has(0x40000001, 0, 14));
	assert_true(has(0x40000001, 0, 0)); /* the clock */
	assert_true(has(0x40000001, 0, 11));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_v2),        cmocka_unit_test(test_v3),
	    cmocka_unit_test(test_lacking),   cmocka_unit_test(test_host),
	    cmocka_unit_test(test_this_host), cmocka_unit_test(test_async_faults)};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
