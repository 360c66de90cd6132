/* cpuid.c: building the guest's CPUID.  Leaf and bit numbers: Intel SDM volume 2A, CPUID; AMD APM volume 3,
 * appendix E. */
#include "vmm/cpuid.h"
#include <asm/kvm_para.h>
#include <assert.h>
#include <errno.h>
#include <stddef.h>
#include <string.h>
#include <sys/ioctl.h>

static_assert(offsetof(struct cpuid_table, entries) == sizeof(struct kvm_cpuid2),
	      "cpuid_table is not kvm_cpuid2");

#define BIT(n) (1u << (n))

static struct kvm_cpuid_entry2 *find(struct cpuid_table *table, uint32_t leaf, uint32_t subleaf)
{
	for (uint32_t i = 0; i < table->count; i++) {
		struct kvm_cpuid_entry2 *e = &table->entries[i];
		if (e->function == leaf &&
		    (!(e->flags & KVM_CPUID_FLAG_SIGNIFCANT_INDEX) || e->index == subleaf))
			return e;
	}
	return NULL;
}

const struct kvm_cpuid_entry2 *cpuid_find(const struct cpuid_table *table, uint32_t leaf, uint32_t subleaf)
{
	return find((struct cpuid_table *)table, leaf, subleaf);
}

/* What is hidden: registers and the bits to clear there. */
static void hide_features(struct cpuid_table *table)
{
	static const struct {
		uint32_t leaf, subleaf, ebx, ecx, edx;
	} hidden[] = {
	    /* DTES64, VMX, PDCM; DS */
	    {1, 0, 0, BIT(2) | BIT(5) | BIT(15), BIT(21)},
	    /* SGX, processor trace; SGX_LC; architectural LBR */
	    {7, 0, BIT(2) | BIT(25), BIT(30), BIT(19)},
	    /* SVM, IBS, PerfCtrExtCore, PerfCtrExtNB, PerfCtrExtLLC */
	    {0x80000001, 0, 0, BIT(2) | BIT(10) | BIT(23) | BIT(24) | BIT(28), 0},
	};
	for (size_t i = 0; i < sizeof(hidden) / sizeof(hidden[0]); i++) {
		struct kvm_cpuid_entry2 *e = find(table, hidden[i].leaf, hidden[i].subleaf);
		if (!e)
			continue;
		e->ebx &= ~hidden[i].ebx;
		e->ecx &= ~hidden[i].ecx;
		e->edx &= ~hidden[i].edx;
	}
}

/* Leaves of the hidden features, and those that cpuid_for_vcpu makes anew. */
static bool leaf_dropped(uint32_t leaf)
{
	static const uint32_t dropped[] = {0xa,  0xb,        0x12,       0x14,       0x1b,      0x1c,
					   0x1f, 0x8000000a, 0x8000001b, 0x8000001f, 0x80000022};
	for (size_t i = 0; i < sizeof(dropped) / sizeof(dropped[0]); i++)
		if (leaf == dropped[i])
			return true;
	return false;
}

int cpuid_host(const struct kvm *kvm, struct cpuid_table *table, struct err *err)
{
	memset(table, 0, sizeof(*table));
	table->count = CPUID_MAX_ENTRIES;
	if (ioctl(kvm->dev, KVM_GET_SUPPORTED_CPUID, table))
		return err_sys(err, "KVM: cannot read the supported CPUID");
	if (table->count > CPUID_MAX_ENTRIES)
		return err_set(err, ERR_SYSTEM, "KVM: %u CPUID entries, at most %d are handled", table->count,
			       CPUID_MAX_ENTRIES);
	uint32_t kept = 0;
	for (uint32_t i = 0; i < table->count; i++)
		if (!leaf_dropped(table->entries[i].function))
			table->entries[kept++] = table->entries[i];
	memset(&table->entries[kept], 0, (table->count - kept) * sizeof(table->entries[0]));
	table->count = kept;
	hide_features(table);
	struct kvm_cpuid_entry2 *features = find(table, 1, 0);
	if (!features || !find(table, 0, 0))
		return err_set(err, ERR_SYSTEM, "KVM: its CPUID lacks leaf 0 or 1");
	/* x2APIC (21) and the TSC-deadline timer (24) are KVM's own; it leaves it to us to show them, and
	 * the hypervisor bit (31) under which the guest looks for KVM's leaves. */
	features->ecx |= BIT(21) | BIT(31) | (kvm->tsc_deadline ? BIT(24) : 0);
	return 0;
}

static unsigned ceil_log2(unsigned n)
{
	unsigned bits = 0;
	while ((1u << bits) < n)
		bits++;
	return bits;
}

static int add(struct cpuid_table *table, const struct kvm_cpuid_entry2 *entry)
{
	if (table->count >= CPUID_MAX_ENTRIES)
		return -1;
	table->entries[table->count++] = *entry;
	return 0;
}

/* Leaf 0xb, extended topology: one thread a core, all cores in one package. */
static int add_topology(struct cpuid_table *table, unsigned index, unsigned cpus)
{
	const struct kvm_cpuid_entry2 *base = cpuid_find(table, 0, 0);
	if (!base || base->eax < 0xb)
		return 0;
	struct kvm_cpuid_entry2 e = {.function = 0xb,
				     .flags = KVM_CPUID_FLAG_SIGNIFCANT_INDEX,
				     .edx = index,
				     .ebx = 1,
				     .ecx = 1u << 8};
	if (add(table, &e))
		return -1;
	e.index = 1;
	e.eax = ceil_log2(cpus);
	e.ebx = cpus;
	e.ecx = (2u << 8) | 1;
	if (add(table, &e))
		return -1;
	e.index = 2;
	e.eax = e.ebx = 0;
	e.ecx = 2;
	return add(table, &e);
}

/* Cache leaves (4 on Intel, 0x8000001d on AMD): level 1 and 2 belong to one core, level 3 to all. */
static void set_cache_sharing(struct kvm_cpuid_entry2 *e, unsigned cpus, bool intel)
{
	if (!(e->eax & 0x1f))
		return; /* the end of the list */
	unsigned level = (e->eax >> 5) & 7;
	uint32_t round = (1u << ceil_log2(cpus)) - 1;
	uint32_t sharing = level >= 3 ? (intel ? round : cpus - 1) : 0;
	e->eax = (e->eax & 0x3fff) | sharing << 14 | (intel ? (round & 0x3f) << 26 : 0);
}

int cpuid_for_vcpu(const struct cpuid_table *table, unsigned index, unsigned cpus, struct cpuid_table *out)
{
	*out = *table;
	for (uint32_t i = 0; i < out->count; i++) {
		struct kvm_cpuid_entry2 *e = &out->entries[i];
		switch (e->function) {
		case 1:
			e->ebx = (e->ebx & 0xffff) | (1u << ceil_log2(cpus)) << 16 | index << 24;
			e->edx = cpus > 1 ? e->edx | BIT(28) : e->edx & ~BIT(28);
			break;
		case 4:
			set_cache_sharing(e, cpus, true);
			break;
		case 0x80000001:
			/* CmpLegacy says on AMD that leaf 1's count is of cores; Intel keeps the bit at 0. */
			if (cpus == 1)
				e->ecx &= ~BIT(1);
			break;
		case 0x80000008:
			if (e->ecx || cpus > 1)
				e->ecx = (cpus - 1) | ceil_log2(cpus) << 12;
			break;
		case 0x8000001d:
			set_cache_sharing(e, cpus, false);
			break;
		case 0x8000001e:
			e->eax = e->ebx = index;
			e->ecx = 0;
			break;
		}
	}
	return add_topology(out, index, cpus);
}

void cpuid_hide_async_faults(struct cpuid_table *table)
{
	for (uint32_t i = 0; i < table->count; i++)
		if (table->entries[i].function == KVM_CPUID_FEATURES)
			table->entries[i].eax &=
			    ~(BIT(KVM_FEATURE_ASYNC_PF) | BIT(KVM_FEATURE_ASYNC_PF_VMEXIT) |
			      BIT(KVM_FEATURE_ASYNC_PF_INT));
}

int cpuid_set_vcpu(int vcpu_fd, const struct cpuid_table *table, unsigned index, unsigned cpus,
		   struct err *err)
{
	struct cpuid_table own;
	if (cpuid_for_vcpu(table, index, cpus, &own))
		return err_set(err, ERR_INPUT, "vCPU %u: more than %d CPUID entries", index,
			       CPUID_MAX_ENTRIES);
	if (ioctl(vcpu_fd, KVM_SET_CPUID2, &own))
		return err_sys(err, "vCPU %u: KVM refuses its CPUID", index);
	return 0;
}
