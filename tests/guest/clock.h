/* Time: the TSC, and KVM's paravirtual clock where the machine has it. */
#ifndef GUEST_CLOCK_H
#define GUEST_CLOCK_H

#include <stdbool.h>
#include <stdint.h>

/* KVM's structure of one CPU, written by the host; aligned so that it does not cross a page. */
struct pvclock {
	uint32_t version; /* odd while being written */
	uint32_t pad0;
	uint64_t tsc;
	uint64_t ns;
	uint32_t mul;
	int8_t shift;
	uint8_t flags;
	uint8_t pad1[2];
} __attribute__((aligned(32)));

/* Switches kvmclock on for the calling CPU.  Returns false where the machine has none. */
bool clock_enable_pv(struct pvclock *pv);

/* Sets the TSC's frequency: as given (tsc_khz != 0), as kvmclock says, or measured against the PIT. Returns
 * which: "given", "kvmclock" or "pit".  Stops the machine where nothing works.  Before the functions below.
 */
const char *clock_init(uint64_t tsc_khz, const struct pvclock *pv);

uint64_t clock_khz(void);

/* TSC cycles from and to times. */
uint64_t clock_us(uint64_t cycles);
uint64_t clock_ms(uint64_t cycles);
uint64_t clock_cycles_of_ms(uint64_t ms);

/* kvmclock in nanoseconds. */
uint64_t clock_pv_ns(const struct pvclock *pv);

#endif
