/* emulate_tick.h: the timer chip's interrupts at a rate that an emulated guest can bear.
 *
 * Where KVM emulates ring 0, a timer interrupt costs a guest like Linux 1 to 3 ms, and Linux wants one every 4 ms: it would
 * do little else.  So, once a 64-bit kernel has said where its system calls go, KVM's timer chip counts as ever, and can be
 * read as ever, but its interrupts are raised from here, no more than one in EMULATE_TICK_MS.  The guest sees that as
 * interrupts that come late, or that were missed.  KVM does not say when the guest has set a single shot: one that is set
 * counts as set again and again, which costs a guest that has nothing to do no more than a periodic one.
 *
 * Before that, firmware and boot loaders keep KVM's chip, which makes up for each interrupt that was missed: they tell the
 * time by counting them, and open the door to them for three instructions at a time, of which such a KVM rarely sees any. */
#ifndef VMM_EMULATE_TICK_H
#define VMM_EMULATE_TICK_H

#include "common/err.h"
#include <linux/kvm.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

struct machine;

enum { EMULATE_TICK_MS = 40 };

struct emulate_tick {
	bool prepared, started;
	pthread_t thread;
	pthread_mutex_t lock; /* of what follows */
	pthread_cond_t changed;
	bool running, quit;
	atomic_bool limit;
	uint64_t next_ns; /* when the chip is to fire next (CLOCK_MONOTONIC) */
};

/* emulate_tick_prepare: once, for a machine that emulates.  start: its thread, of one that was prepared.  resume, pause: with
 * the machine; after a pause none is raised.  stop: also of one that was never prepared.  All but prepare do nothing then.
 * The main thread. */
void emulate_tick_prepare(struct machine *machine);
int emulate_tick_start(struct machine *machine, struct err *err);
void emulate_tick_resume(struct machine *machine);
void emulate_tick_pause(struct machine *machine);
void emulate_tick_stop(struct machine *machine);

/* emulate_tick_limit(machine, limit): from now on the interrupts come from here, or from KVM's chip again.  Of a machine that
 * was prepared.  Where KVM refuses, all stays as it is.  Any thread. */
void emulate_tick_limit(struct machine *machine, bool limit);

/* emulate_tick_due(tick, channel, now_ns): at now_ns (CLOCK_MONOTONIC) an interrupt of channel 0 is due; it counts as raised.
 * Pure. */
bool emulate_tick_due(struct emulate_tick *tick, const struct kvm_pit_channel_state *channel,
		      uint64_t now_ns);

#endif
