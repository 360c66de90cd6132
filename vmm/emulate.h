/* emulate.h: instructions that KVM cannot emulate, for hosts whose KVM has no hardware virtualization.
 *
 * There KVM executes the guest's ring 0 by its own emulator, which lacks some instructions (an iret in protected mode, for
 * one) and ends KVM_RUN with an internal error.  A VM that was told to (config->emulation) then has them done here.  With
 * hardware such errors do not come, and nothing here runs.
 * The table of instructions is in emulate.c; what the handlers share is in emulate_impl.h. */
#ifndef VMM_EMULATE_H
#define VMM_EMULATE_H

#include <stdbool.h>

struct vcpu;

/* emulate_prepare(vcpu): its registers are to be in the run area after each exit.  Once, after it was made, for a machine
 * that emulates. */
void emulate_prepare(struct vcpu *vcpu);

/* emulate_instruction(vcpu): KVM_RUN has just ended with KVM_INTERNAL_ERROR_EMULATION.  true: the instruction, or the
 * exception that it raises, is done with the next KVM_RUN; false: it is not one of the table, or did what is not emulated; the
 * vCPU is as it was.  The vCPU's thread. */
bool emulate_instruction(struct vcpu *vcpu);

#endif
