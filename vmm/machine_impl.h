/* machine_impl.h: what the files behind machine.h share.  Nothing outside vmm/ and its tests includes it.
 *
 * Locks, in the order in which they may be taken: devices or the PCI bus's, then a device's own, then dirty.lock, then
 * lock.
 * Owner callbacks are called with the serial port's lock (console) or none (ended) held. */
#ifndef VMM_MACHINE_IMPL_H
#define VMM_MACHINE_IMPL_H

#include "vmm/cpuid.h"
#include "vmm/dirty.h"
#include "vmm/emulate_tick.h"
#include "vmm/firmware.h"
#include "vmm/fwcfg.h"
#include "vmm/irq.h"
#include "vmm/kvm.h"
#include "vmm/machine.h"
#include "vmm/memory.h"
#include "vmm/msr.h"
#include "vmm/pci.h"
#include "vmm/power.h"
#include "vmm/rtc.h"
#include "vmm/serial.h"
#include "vmm/vcpu.h"
#include "vmm/virtio.h"
#include <pthread.h>

/* RAM's memory slots, and then others. */
enum { SLOT_LOW, SLOT_HIGH, SLOT_COUNT, SLOT_FIRMWARE = SLOT_COUNT, SLOT_TRAP };

struct slot {
	uint64_t gpa;
	uint64_t bytes;      /* 0: not there */
	uint64_t first_page; /* its place in the memfd */
};

enum { SERIAL_IRQ = 4 };

enum reset_phase {
	RESET_NONE,
	RESET_WANTED, /* every vCPU is to leave the guest; the last one resets the machine */
	RESET_GOES,   /* it does so now, without the lock */
};

struct machine {
	struct kvm kvm;
	struct memory ram;
	struct slot slots[SLOT_COUNT];
	struct machine_owner owner;
	unsigned cpus;
	bool emulation; /* of instructions that KVM lacks (emulate.h) */
	struct vcpu *vcpus;
	struct cpuid_table *cpuid; /* without the per-vCPU parts */
	struct msr_list *msrs;
	uint32_t tsc_khz; /* of its TSC; kept here, since KVM does not tell while the vCPU runs */

	pthread_mutex_t lock; /* of what follows, up to the next blank line */
	pthread_cond_t go;    /* vCPU threads wait here for their turn */
	pthread_cond_t idle;  /* the main thread waits here for vCPUs to leave the guest */
	bool running;         /* vCPUs may be in the guest */
	bool ended;           /* the guest will not run on */
	bool quit;            /* vCPU threads return */
	unsigned throttle;    /* percent of the time in which vCPUs rest */
	enum reset_phase reset;

	bool ever_ran;      /* main thread only */
	uint64_t paused_ns; /* when (CLOCK_MONOTONIC) the last pause was; main thread only */

	struct irq irq;
	struct pci_bus pci;
	struct virtio *virtio[PCI_SLOTS]; /* by slot; NULL: none */

	struct firmware firmware;
	struct buf
	    power_on; /* vCPUs and interrupt chips as they were when they were made (machine_reset.c) */

	bool ram_kept; /* atomic; what the guest gives back must wait */

	pthread_mutex_t devices; /* of what follows, up to the next blank line */
	struct rtc rtc;
	struct power power;
	bool sci; /* the level of ACPI's interrupt */
	struct fwcfg fwcfg;

	struct serial serial;
	struct dirty dirty;

	/* Where the machine emulates and KVM has no hardware. */
	uint8_t *trap; /* the page of system calls (emulate_syscall.h), or NULL */
	struct emulate_tick tick;
};

/* machine_end: the guest cannot or does not want to run on; any vCPU thread.  Tells the owner the first time. */
void machine_end(struct machine *machine, enum machine_end why, const char *detail);
bool machine_has_ended(const struct machine *machine); /* any thread */
/* machine_any_in_guest: lock held. */
bool machine_any_in_guest(const struct machine *machine);
/* machine_set_slot(machine, slot, flags): (re)define one of RAM's slots.  0, or -1 with errno. */
int machine_set_slot(struct machine *machine, unsigned slot, uint32_t flags);
/* machine_flush_vcpus: every vCPU that is in the guest leaves it once.  Main thread, no lock held. */
void machine_flush_vcpus(struct machine *machine);
/* machine_write_ram(machine, gpa, data, len): a device writes to RAM, seen by dirty tracking.  Returns 0, or -1
 * when it is not RAM.  Any thread. */
int machine_write_ram(struct machine *machine, uint64_t gpa, const void *data, uint64_t len);

struct state;
struct state_writer;

/* Reset (machine_reset.c).  machine_reset_prepare: once the vCPUs have been made, before anything is loaded into them.
 * machine_restart: the guest, or its failure, wants the machine to begin anew: it does, where the firmware is there to
 * start it; else the machine ends with `why` and `detail`.  machine_reset_now: what a reset does; no vCPU is in the
 * guest, no lock held. */
int machine_reset_prepare(struct machine *machine, struct err *err);
void machine_restart(struct machine *machine, enum machine_end why, const char *detail);
int machine_reset_now(struct machine *machine, struct err *err);
/* machine_update_sci: ACPI's interrupt as the power registers want it; machine->devices held. */
void machine_update_sci(struct machine *machine);
int machine_save_chips(const struct machine *machine, struct state_writer *writer, struct err *err);
int machine_load_chips(const struct machine *machine, const struct state *state, struct err *err);
/* machine_generation_gpa: where the 16 bytes of the generation's id are.  machine_set_generation: new ones. */
uint64_t machine_generation_gpa(const struct machine *machine);
int machine_set_generation(struct machine *machine, struct err *err);

/* The devices on the PCI bus (devices.c).  create: those that the definition names, stopped.  pause: on return none touches
 * RAM nor has anything in flight; resume: those that were ready go on.  Both idempotent.
 * reset: with the bus, as after power-on.  destroy: also of none. */
int devices_create(struct machine *machine, const struct vm_config *config, struct err *err);
void devices_pause(struct machine *machine);
void devices_resume(struct machine *machine);
void devices_destroy(struct machine *machine);
void devices_reset(struct machine *machine);
/* devices_settle: interrupts that devices raised have reached the vCPUs' local APICs; paused. */
void devices_settle(struct machine *machine);
void devices_save(struct machine *machine, struct state_writer *writer);
int devices_load(struct machine *machine, const struct state *state, struct err *err);

/* ioport_access: a guest's access to ports: `count` units of `size` bytes at data.  vCPU threads. */
void ioport_access(struct machine *machine, bool out, uint16_t port, unsigned size, uint32_t count,
		   uint8_t *data);

#endif
