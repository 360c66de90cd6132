/* emulate_syscall.h: system calls of 64-bit programs where KVM has no hardware virtualization.
 *
 * There SYSCALL of ring 3 goes to the address in MSR LSTAR as it should, but in ring 3 still, where the kernel's pages
 * cannot be touched: the program would die.  So the machine keeps what the guest writes into LSTAR for itself and lets the
 * MSR point at a page of its own, which ring 3 may execute; its code writes to an address at which nothing is; and upon that
 * exit the machine does the rest of the instruction: CS and SS from STAR, RIP from the guest's LSTAR.
 *
 * The page lies outside of RAM, at TRAP_GPA.  In the guest's address space it needs two entries of 2 MiB in a page
 * directory; they are put into the one with Linux's fixed mappings, at places that Linux keeps empty (x86_64 since 4.18 and
 * before: level2_fixmap_pgt, the last entries but one), when the guest writes LSTAR.  A guest that has no such directory, or
 * something else in these places, is left alone: its system calls fail as without all this.
 *
 * Threads: exits on the vCPU's own; the rest on the main thread while no vCPU runs. */
#ifndef VMM_EMULATE_SYSCALL_H
#define VMM_EMULATE_SYSCALL_H

#include "vmm/state.h"
#include <stdbool.h>

struct machine;
struct vcpu;

#define EMULATE_TRAP_GPA 0xd0000000u /* two large pages: the code, and where nothing is */

/* emulate_syscall_prepare: once, for a machine that emulates, before its vCPUs run.  emulate_syscall_free: also of one that
 * was never prepared. */
int emulate_syscall_prepare(struct machine *machine, struct err *err);
void emulate_syscall_free(struct machine *machine);

/* emulate_syscall_exit(vcpu): true when this exit was of a system call or of LSTAR, and is done. */
bool emulate_syscall_exit(struct vcpu *vcpu);

/* emulate_syscall_reset: after a reset of the vCPU's MSRs.  save: the section, for a machine that was prepared.  load: after
 * the vCPUs' MSRs; where system calls need no help here, LSTAR gets the guest's value back. */
void emulate_syscall_reset(struct machine *machine);
void emulate_syscall_save(const struct machine *machine, struct state_writer *writer);
int emulate_syscall_load(struct machine *machine, const struct state *state, struct err *err);

#endif
