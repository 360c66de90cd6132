/* kvm.h: /dev/kvm: what drover asks of it, and the calls that more than one file makes. */
#ifndef VMM_KVM_H
#define VMM_KVM_H

#include "common/err.h"
#include <linux/kvm.h>
#include <stdbool.h>
#include <stdint.h>

struct kvm {
	int dev;              /* /dev/kvm */
	int vm;               /* the virtual machine, -1 before kvm_create_vm */
	int run_bytes;        /* size of a vCPU's struct kvm_run mapping */
	uint32_t ring_bytes;  /* largest dirty ring of a vCPU, 0: KVM has none */
	bool manual_protect;  /* KVM_CAP_MANUAL_DIRTY_LOG_PROTECT2 */
	bool tsc_deadline;    /* the LAPIC has the TSC-deadline mode */
	bool tsc_scaling;     /* KVM can run a guest at another TSC frequency than the host's */
	uint32_t xsave_bytes; /* what KVM_GET_XSAVE2 writes, at least sizeof(struct kvm_xsave) */
	bool xsave2;          /* KVM_GET_XSAVE2 is there (else KVM_GET_XSAVE, 4096 bytes) */
};

/* kvm_open(kvm, err): open /dev/kvm and check version and capabilities.  ERR_NO_KVM with the remedy.
 * kvm_close closes what is open; harmless on a struct of {.dev = -1, .vm = -1}. */
int kvm_open(struct kvm *kvm, struct err *err);
void kvm_close(struct kvm *kvm);

/* kvm_create_vm(kvm, err): the VM with interrupt chips and PIT, no vCPUs and no memory yet. */
int kvm_create_vm(struct kvm *kvm, struct err *err);

/* kvm_set_slot: (re)define a memory slot; size 0 removes it.  Returns 0, or -1 with errno. */
int kvm_set_slot(const struct kvm *kvm, uint32_t slot, uint32_t flags, uint64_t gpa, uint64_t size,
		 void *host);
/* kvm_has(kvm, capability): KVM_CHECK_EXTENSION on the VM where there is one, else on the device; 0 when not. */
int kvm_has(const struct kvm *kvm, unsigned capability);
/* kvm_has_hardware(): this processor can run guests by itself; where it cannot, a KVM that is there emulates their ring 0. */
bool kvm_has_hardware(void);
/* kvm_enable(kvm, capability, argument): KVM_ENABLE_CAP on the VM.  Returns 0, or -1 with errno. */
int kvm_enable(const struct kvm *kvm, unsigned capability, uint64_t argument);
/* kvm_irq_line(kvm, irq, level): drive an interrupt input of the chips.  Any thread. */
void kvm_irq_line(const struct kvm *kvm, unsigned irq, bool level);

#endif
