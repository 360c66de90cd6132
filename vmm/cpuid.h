/* cpuid.h: the CPUID table of a guest: what KVM supports less what drover does not move between hosts, with
 * the leaves that describe one vCPU filled in for each.
 *
 * Left out, because their state is not in a saved machine: nested virtualization (VMX, SVM), performance
 * counters, processor trace, branch records, SGX and SEV. */
#ifndef VMM_CPUID_H
#define VMM_CPUID_H

#include "common/err.h"
#include "vmm/kvm.h"
#include <stdint.h>

enum { CPUID_MAX_ENTRIES = 256 };

/* The layout of KVM's struct kvm_cpuid2. */
struct cpuid_table {
	uint32_t count;
	uint32_t padding;
	struct kvm_cpuid_entry2 entries[CPUID_MAX_ENTRIES];
};

/* cpuid_host(kvm, table, err): the machine-wide table that a guest made on this host gets. */
int cpuid_host(const struct kvm *kvm, struct cpuid_table *table, struct err *err);
/* cpuid_hide_async_faults(table): the guest shall not put a task to sleep while the host fetches a page (Linux,
 * Documentation/virt/kvm/x86/cpuid.rst and msr.rst: KVM_FEATURE_ASYNC_PF and what belongs to it).  For a guest that may have
 * its local APIC switched off, which the interrupt that wakes the task comes by: Linux does not look at that.  Pure. */
void cpuid_hide_async_faults(struct cpuid_table *table);
/* cpuid_set_vcpu(vcpu_fd, table, index, cpus, err): give vCPU `index` of `cpus` the table with its own APIC id
 * and topology.  Before its first KVM_RUN. */
int cpuid_set_vcpu(int vcpu_fd, const struct cpuid_table *table, unsigned index, unsigned cpus,
		   struct err *err);
/* cpuid_for_vcpu(table, index, cpus, out): that table; pure.  -1 when there is no room for the leaves it adds. */
int cpuid_for_vcpu(const struct cpuid_table *table, unsigned index, unsigned cpus, struct cpuid_table *out);
/* cpuid_find(table, leaf, subleaf): the entry or NULL. */
const struct kvm_cpuid_entry2 *cpuid_find(const struct cpuid_table *table, uint32_t leaf, uint32_t subleaf);

#endif
