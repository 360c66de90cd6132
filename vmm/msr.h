/* msr.h: the model-specific registers that are part of a vCPU's state on this host. */
#ifndef VMM_MSR_H
#define VMM_MSR_H

#include "common/err.h"
#include "vmm/kvm.h"
#include <stdbool.h>
#include <stdint.h>

enum {
	MSR_LIST_MAX = 512,
	MSR_TSC = 0x10,           /* not in the list: it goes with the clocks (vmm/clock.h) */
	MSR_TSC_DEADLINE = 0x6e0, /* in the list, but means something only once TSC and LAPIC are set */
};

struct msr_list {
	uint32_t count;
	uint32_t index[MSR_LIST_MAX];
};

/* The layout of KVM's struct kvm_msrs. */
struct msr_values {
	uint32_t count;
	uint32_t padding;
	struct kvm_msr_entry entries[MSR_LIST_MAX];
};

/* msr_list_probe(kvm, vcpu_fd, list, err): those of KVM_GET_MSR_INDEX_LIST and of the MTRRs that can be read on
 * this vCPU and set back to what was read.  On a vCPU with its CPUID that never ran. */
int msr_list_probe(const struct kvm *kvm, int vcpu_fd, struct msr_list *list, struct err *err);
bool msr_list_has(const struct msr_list *list, uint32_t index);

/* msr_get_all: the values of the list, in one call.  msr_set_all: set them, in one call.
 * Return 0 or -1 with *err naming the register. */
int msr_get_all(int vcpu_fd, const struct msr_list *list, struct msr_values *values, struct err *err);
int msr_set_all(int vcpu_fd, const struct msr_values *values, struct err *err);
/* msr_get, msr_set: a single one.  Return 0, or -1 when KVM does not know it or not take the value. */
int msr_get(int vcpu_fd, uint32_t index, uint64_t *value);
int msr_set(int vcpu_fd, uint32_t index, uint64_t value);

#endif
