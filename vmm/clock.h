/* clock.h: the guest's sense of time across a save and a load.
 *
 * A save notes what the TSC of vCPU 0, KVM's clock and the wall clock (CLOCK_REALTIME) showed at one instant.  A
 * load sets TSC and KVM's clock to what they showed plus the wall-clock time that passed since.  As both then
 * tick on by themselves, it does not matter when after the load the guest is resumed: it sees the whole blackout
 * as elapsed time, and time never runs backwards.  Two hosts' wall clocks need not agree: what they say has passed
 * is taken for no less than 0 and no more than CLOCK_MAX_ELAPSED_NS.
 * The TSCs of several vCPUs keep their differences (0, unless the guest set them apart). */
#ifndef VMM_CLOCK_H
#define VMM_CLOCK_H

#include "common/err.h"
#include "vmm/state.h"
#include <stdbool.h>
#include <stdint.h>

struct machine;

#define CLOCK_MAX_ELAPSED_NS 10000000000ull

enum {
	CLOCK_STATE_LEN = 32,          /* real_ns, kvm_ns, tsc (64 bits each), tsc_khz, 0 (32 bits each) */
	CLOCK_TSC_TOLERANCE_PPM = 250, /* frequencies that differ by less count as the same, as in KVM */
};

/* clock_save: sections STATE_CLOCK, and STATE_VCPU_TSC of each vCPU. */
int clock_save(struct machine *machine, struct state_writer *writer, struct err *err);
/* clock_load: frequency and value of every vCPU's TSC, and KVM's clock.  Before the vCPUs' registers. */
int clock_load(struct machine *machine, const struct state *state, struct err *err);

/* clock_elapsed(saved_ns, now_ns): see above; pure. */
uint64_t clock_elapsed(uint64_t saved_ns, uint64_t now_ns);
/* clock_tsc_at(tsc, khz, saved_ns, now_ns): what a TSC that showed tsc at saved_ns should show at now_ns; pure. */
uint64_t clock_tsc_at(uint64_t tsc, uint32_t khz, uint64_t saved_ns, uint64_t now_ns);
/* clock_same_khz: whether a guest may go on at b though it was at a. */
bool clock_same_khz(uint64_t a, uint64_t b);
/* clock_tsc_khz(vcpu_fd): the frequency of its TSC; 0 when KVM does not know. */
uint32_t clock_tsc_khz(int vcpu_fd);

#endif
