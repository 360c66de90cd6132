/* cpuid_model.c: the table of what each baseline needs and allows. */
#include "vmm/cpuid_model.h"
#include "vmm/cpu_names.h"
#include <stdio.h>
#include <string.h>

#define B(n) (1u << (n))

enum reg { EAX, EBX, ECX, EDX };
enum { MAX_LEAF = 0xd, MAX_EXTENDED_LEAF = 0x80000008, NAMED = 4 };

/* 1.ecx */
#define V2_1C  (B(0) | B(9) | B(13) | B(19) | B(20) | B(23))   /* SSE3 SSSE3 CX16 SSE4.1 SSE4.2 POPCNT */
#define V3_1C  (V2_1C | B(12) | B(22) | B(26) | B(28) | B(29)) /* FMA MOVBE XSAVE AVX F16C */
#define ANY_1C (B(21) | B(24) | B(31))                         /* x2APIC, TSC deadline, hypervisor */
/* 1.edx: FPU TSC MSR PAE CX8 APIC PGE CMOV MMX FXSR SSE SSE2; VME DE PSE MCE SEP MTRR MCA PAT PSE36 CLFLUSH HT */
#define V2_1D  (B(0) | B(4) | B(5) | B(6) | B(8) | B(9) | B(13) | B(15) | B(23) | B(24) | B(25) | B(26))
#define ANY_1D (B(1) | B(2) | B(3) | B(7) | B(11) | B(12) | B(14) | B(16) | B(17) | B(19) | B(28))
/* 7.0.ebx: BMI1 AVX2 BMI2; FSGSBASE SMEP ERMS */
#define V3_7B (B(3) | B(5) | B(8))
/* 7.0.edx: MD_CLEAR SPEC_CTRL STIBP SSBD */
#define SAFE_7D (B(10) | B(26) | B(27) | B(31))
/* 80000001: LAHF, LZCNT; SYSCALL NX LM; RDTSCP */
#define V2_81D (B(11) | B(20) | B(29))
/* 80000008.ebx: IBPB IBRS STIBP SSBD */
#define SAFE_88B (B(12) | B(14) | B(15) | B(24))
/* KVM: both clocks, no I/O delay, steal time, EOI, unhalt, TLB flush, IPIs, stable clock */
#define KVM_FEATURES (B(0) | B(1) | B(3) | B(5) | B(6) | B(7) | B(9) | B(11) | B(24))

/* Registers that hold features: what stays of each, and what must be there.  [0]: v2, [1]: v3. */
static const struct feature {
	const char *key; /* as cpu_bit_name knows it */
	uint32_t leaf, subleaf;
	enum reg reg;
	uint32_t allowed[2], needed[2];
} features[] = {
    {"1.0.ecx", 1, 0, ECX, {V2_1C | ANY_1C, V3_1C | ANY_1C | B(1) | B(25) | B(30)}, {V2_1C, V3_1C}},
    {"1.0.edx", 1, 0, EDX, {V2_1D | ANY_1D, V2_1D | ANY_1D}, {V2_1D, V2_1D}},
    {"6.0.eax", 6, 0, EAX, {B(2), B(2)}, {0, 0}},
    {"7.0.ebx", 7, 0, EBX, {0, V3_7B | B(0) | B(7) | B(9)}, {0, V3_7B}},
    {"7.0.ecx", 7, 0, ECX, {0, 0}, {0, 0}},
    {"7.0.edx", 7, 0, EDX, {SAFE_7D, SAFE_7D}, {0, 0}},
    {"d.1.eax", 0xd, 1, EAX, {0, 0}, {0, 0}},
    {"80000001.0.ecx", 0x80000001, 0, ECX, {B(0) | B(1), B(0) | B(1) | B(5)}, {B(0), B(0) | B(5)}},
    {"80000001.0.edx", 0x80000001, 0, EDX, {V2_81D | B(27), V2_81D | B(27)}, {V2_81D, V2_81D}},
    {"80000007.0.edx", 0x80000007, 0, EDX, {B(8), B(8)}, {0, 0}},
    {"80000008.0.ebx", 0x80000008, 0, EBX, {SAFE_88B, SAFE_88B}, {0, 0}},
    {"40000001.0.eax", 0x40000001, 0, EAX, {KVM_FEATURES, KVM_FEATURES}, {0, 0}},
};
enum { FEATURES = sizeof(features) / sizeof(features[0]) };

static uint32_t *reg_of(struct kvm_cpuid_entry2 *entry, enum reg reg)
{
	uint32_t *const regs[] = {&entry->eax, &entry->ebx, &entry->ecx, &entry->edx};
	return regs[reg];
}

static struct kvm_cpuid_entry2 *find(struct cpuid_table *table, uint32_t leaf, uint32_t subleaf)
{
	return (struct kvm_cpuid_entry2 *)cpuid_find(table, leaf, subleaf);
}

/* ---- what must be there ---------------------------------------------------------------------------------------------- */

static void name_missing(const struct feature *feature, uint32_t missing, unsigned *count, char *text,
			 size_t size)
{
	for (unsigned bit = 0; bit < 32; bit++) {
		char name[40];
		size_t len = strlen(text);
		if (!(missing & B(bit)) || (*count)++ >= NAMED)
			continue;
		snprintf(text + len, size - len, "%s%s", len ? ", " : "",
			 cpu_bit_name(feature->key, bit, name, sizeof(name)));
	}
}

static int check(struct cpuid_table *table, unsigned level, const char *level_name, struct err *err)
{
	char text[256] = "";
	unsigned count = 0;
	for (size_t i = 0; i < FEATURES; i++) {
		struct kvm_cpuid_entry2 *entry = find(table, features[i].leaf, features[i].subleaf);
		uint32_t have = entry ? *reg_of(entry, features[i].reg) : 0;
		name_missing(&features[i], features[i].needed[level] & ~have, &count, text, sizeof(text));
	}
	if (!count)
		return 0;
	return err_set(err, ERR_REFUSED,
		       "this host's CPU is not of level %s: it lacks %s%s; choose a lower one, or host",
		       level_name, text, count > NAMED ? " and more" : "");
}

/* ---- what stays -------------------------------------------------------------------------------------------------------- */

/* Leaves in which every bit is a feature that no level has, or describes one. */
static bool leaf_stays(const struct kvm_cpuid_entry2 *entry, unsigned level)
{
	if (entry->function == 0xd)
		/* The state of x87, SSE and AVX; without XSAVE nothing of it. */
		return level == 1 && entry->index <= 2;
	if (entry->function == 7)
		return entry->index == 0;
	if (entry->function >= 0x40000000 && entry->function < 0x80000000)
		return true;
	/* Cache topology of AMD lies behind what a baseline numbers. */
	if (entry->function == 0x8000001d || entry->function == 0x8000001e)
		return false;
	return entry->function <= MAX_LEAF ||
	       (entry->function >= 0x80000000 && entry->function <= MAX_EXTENDED_LEAF);
}

static void limit_xsave(struct cpuid_table *table)
{
	enum { X87_SSE_AVX = 7, BYTES = 512 + 64 + 256 };
	struct kvm_cpuid_entry2 *entry = find(table, 0xd, 0);
	if (!entry)
		return;
	entry->eax &= X87_SSE_AVX;
	entry->edx = 0;
	entry->ecx = BYTES;
	entry->ebx = entry->ebx < BYTES ? entry->ebx : BYTES;
	entry = find(table, 0xd, 1);
	if (entry)
		entry->ebx = entry->ecx = entry->edx = 0;
}

static void limit_numbers(struct cpuid_table *table)
{
	struct kvm_cpuid_entry2 *entry = find(table, 0, 0);
	if (entry && entry->eax > MAX_LEAF)
		entry->eax = MAX_LEAF;
	entry = find(table, 0x80000000, 0);
	if (entry && entry->eax > MAX_EXTENDED_LEAF)
		entry->eax = MAX_EXTENDED_LEAF;
	entry = find(table, 7, 0);
	if (entry)
		entry->eax = 0; /* no further subleaves */
}

int cpuid_apply_model(struct cpuid_table *table, enum cpu_model model, struct err *err)
{
	if (model == CPU_HOST)
		return 0;
	unsigned level = model == CPU_X86_64_V3, kept = 0;
	if (check(table, level, level ? "x86-64-v3" : "x86-64-v2", err))
		return -1;
	for (uint32_t i = 0; i < table->count; i++)
		if (leaf_stays(&table->entries[i], level))
			table->entries[kept++] = table->entries[i];
	memset(&table->entries[kept], 0, (table->count - kept) * sizeof(table->entries[0]));
	table->count = kept;
	for (size_t i = 0; i < FEATURES; i++) {
		struct kvm_cpuid_entry2 *entry = find(table, features[i].leaf, features[i].subleaf);
		if (entry)
			*reg_of(entry, features[i].reg) &= features[i].allowed[level];
	}
	limit_xsave(table);
	limit_numbers(table);
	return 0;
}
