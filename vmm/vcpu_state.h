/* vcpu_state.h: one vCPU's registers to and from the sections of a saved machine. */
#ifndef VMM_VCPU_STATE_H
#define VMM_VCPU_STATE_H

#include "common/err.h"
#include "vmm/state.h"

struct vcpu;

/* The vCPU is out of the guest.  vcpu_state_load: it never ran, has its CPUID, and its TSC is set. */
int vcpu_state_save(const struct vcpu *vcpu, struct state_writer *writer, struct err *err);
/* vcpu_state_reset: back to what it was when it was saved here, in this process; its TSC and CPUID stay. */
int vcpu_state_reset(const struct vcpu *vcpu, const struct state *state, struct err *err);
int vcpu_state_load(const struct vcpu *vcpu, const struct state *state, struct err *err);

#endif
