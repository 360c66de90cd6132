/* vcpu.h: a virtual CPU and the thread that runs it.
 *
 * The thread is in the guest (in_guest) or waits for its turn.  It leaves only when KVM_RUN gives EINTR, at
 * which point KVM has completed whatever I/O the last exit was about; so a vCPU that is not in the guest has
 * whole, stable registers.  To get it out: set immediate_exit and send it VCPU_KICK; if it was about to enter, the
 * former ends the KVM_RUN that follows, if it is inside, the latter does. */
#ifndef VMM_VCPU_H
#define VMM_VCPU_H

#include "common/err.h"
#include "vmm/throttle.h"
#include <linux/kvm.h>
#include <pthread.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>

#define VCPU_KICK SIGRTMIN

struct machine;

struct vcpu {
	struct machine *machine;
	unsigned index;
	int fd; /* -1: not made */
	struct kvm_run *run;
	struct kvm_dirty_gfn *ring; /* NULL: no dirty ring */
	uint32_t ring_next;         /* the next entry to take; under dirty.lock */
	bool ring_adrift;           /* KVM is ahead of it by we do not know how much; under dirty.lock */
	bool has_thread;
	pthread_t thread;
	/* under machine->lock */
	bool ready; /* the thread is set up, or setup_errno says why not */
	int setup_errno;
	bool in_guest;
	uint64_t laps; /* times that it left the guest */
	struct throttle throttle;
	/* its own thread, and the main thread while it does not run */
	uint64_t lstar; /* where the guest wants its system calls, or 0 (emulate_syscall.h) */
};

/* vcpu_create: the KVM side, CPUID not set.  vcpu_start: its thread, which waits for its turn.
 * vcpu_destroy: the thread has been told to quit or was never there; joins it and frees all. */
int vcpu_create(struct vcpu *vcpu, struct machine *machine, unsigned index, struct err *err);
int vcpu_start(struct vcpu *vcpu, struct err *err);
void vcpu_destroy(struct vcpu *vcpu);
/* vcpu_kick: make it leave the guest; machine->lock held. */
void vcpu_kick(struct vcpu *vcpu);

#endif
