/* machine.h: one virtual machine under KVM: RAM, vCPUs, interrupt chips, devices.
 *
 * Threads: all functions are called from the VM process's main thread, unless stated.  Each vCPU runs in a
 * thread of its own, made by machine_create and parked until the first machine_resume.
 * RAM is one memfd; page numbers on every interface are file offsets / 4096.  The layout in guest-physical
 * space (low part below the PCI hole, the rest from 4 GiB) is vmm/memory.h's. */
#ifndef VMM_MACHINE_H
#define VMM_MACHINE_H

#include "common/buf.h"
#include "common/err.h"
#include "common/pageset.h"
#include "vmm/config.h"
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct machine;

enum machine_end {
	/* The guest asked for power-off (ACPI), or, where no firmware can start it anew, for a reset (keyboard
	 * controller, 0xcf9). */
	MACHINE_END_RESET,
	MACHINE_END_CRASH, /* triple fault (with firmware that is a reset), or an exit that KVM cannot go on from */
};

/* What the machine tells its owner.  Called from vCPU threads; must not block long nor call the machine back.
 * Signals may interrupt system calls in them (EINTR). */
struct machine_owner {
	void *arg;
	/* ended: the guest will not run on; all vCPUs stop by themselves.  detail: one sentence.  Called
	 * once. */
	void (*ended)(void *arg, enum machine_end why, const char *detail);
	/* console: bytes that the guest wrote to its first serial port, in order.  The serial port's lock is
	 * held: the owner must not call machine_console_input while it holds a lock that console takes. */
	void (*console)(void *arg, const uint8_t *data, size_t len);
	/* port: for a named port of a console device, in machine_create: a listening UNIX stream socket, close-on-exec and
	 * non-blocking, which becomes the machine's; or -1 with *err.  NULL: nobody can connect to ports. */
	int (*port)(void *arg, const char *name, struct err *err);
};

/* What a balloon device says.  Statistics are the guest's own words, of the moment when it was last asked. */
enum { BALLOON_STATISTICS = 10 };
struct machine_balloon {
	uint64_t target_bytes; /* of RAM that the guest is asked to keep */
	uint64_t kept_bytes;   /* what it says it keeps */
	uint32_t known;        /* bit n: statistic n (VIRTIO 1.2, 5.5.6.3) has been told */
	uint64_t statistic[BALLOON_STATISTICS];
};

/* machine_check_host(err): /dev/kvm is there, may be opened, has API version 12 and every capability that
 * drover needs.  Returns 0, or -1 with ERR_NO_KVM and the remedy.  Any process. */
int machine_check_host(struct err *err);

/* machine_create(config, ram_fd, owner, err): the machine, stopped, with zeroed vCPU state at reset.
 * ram_fd: memfd to run on (a received guest), or -1 to make an empty one.  The machine takes ram_fd over,
 * also on failure.  Cost depends on the RAM's size only as far as KVM itself makes tables for all of it,
 * which it does where it shadows page tables.  NULL with *err on failure. */
struct machine *machine_create(const struct vm_config *config, int ram_fd, const struct machine_owner *owner,
			       struct err *err);
/* machine_start(machine, err): make the vCPUs' threads, which wait for machine_resume: once, before the first resume.  Until
 * then the machine has no thread.  On failure it must be destroyed. */
int machine_start(struct machine *machine, struct err *err);
/* machine_destroy: stops the vCPU threads and frees all; NULL is harmless. */
void machine_destroy(struct machine *machine);

/* machine_boot(machine, config, err): load kernel, initrd and command line into RAM and set the boot CPU at
 * the kernel's entry (PVH ELF or bzImage); without a kernel, load the firmware, at whose reset vector the boot CPU stands.
 * Once, before the first resume. */
int machine_boot(struct machine *machine, const struct vm_config *config, struct err *err);

/* machine_resume: vCPUs run; no effect once the guest has ended.  machine_pause: returns when every vCPU is out
 * of KVM_RUN and has completed its pending I/O; from then on until resume neither registers nor RAM change, so
 * that state and dirty pages may be taken in either order.  Both are idempotent. */
void machine_resume(struct machine *machine);
void machine_pause(struct machine *machine);

/* machine_power_button: somebody presses it; the guest's operating system decides what that means.
 * machine_new_generation: the guest is one of several that come from the same state: it gets a new id (VM generation id),
 * and is told.  After machine_load of a snapshot, before the resume; not after a migration. */
void machine_power_button(struct machine *machine);
/* machine_reset: somebody presses the reset button.  ERR_STATE where there is no firmware to begin with. */
int machine_reset(struct machine *machine, struct err *err);
int machine_new_generation(struct machine *machine, struct err *err);

/* Machine state: vCPUs, interrupt chips, PIT, clock, devices; not RAM.  Format: docs/state.md.
 * save: appends to *out (nothing on failure); paused machine only, ERR_STATE when the guest has ended; leaves
 * the machine as it was, able to resume.
 * load: into a machine that never ran; data is not trusted; on failure the machine must be destroyed.  The time
 * between save and load has passed for the guest, and goes on passing from then on, also before the resume. */
int machine_save(struct machine *machine, struct buf *out, struct err *err);
int machine_load(struct machine *machine, const void *data, size_t len, struct err *err);

/* Dirty tracking.  start: from its return on, every page that the guest or the VMM writes is found by a later
 * harvest.  harvest: add the pages written since the last harvest (or start) to the set, and re-protect them;
 * a page written after it returns is found by the next one; O(dirty).  What full rings yielded in between is
 * added to the set at any time by vCPU threads.  stop: no more tracking; nothing else changes.
 * The set must outlive the tracking.  start and harvest return 0 or -1 with *err. */
int machine_dirty_start(struct machine *machine, struct pageset *set, struct err *err);
int machine_dirty_harvest(struct machine *machine, struct err *err);
void machine_dirty_stop(struct machine *machine);
const char *machine_dirty_mode(const struct machine *machine); /* "ring" or "bitmap" */

/* machine_throttle(machine, percent): let each vCPU run only (100 - percent) % of the time, in slices of
 * a millisecond or less where that is little; 0 to 99; 0 ends it. */
void machine_throttle(struct machine *machine, unsigned percent);

/* machine_console_input(machine, data, len): bytes typed at the first serial port.  Returns how many its
 * receive queue took; the rest is offered again later. */
size_t machine_console_input(struct machine *machine, const void *data, size_t len);

/* machine_balloon_set(machine, target, err): ask the guest to give back RAM until it keeps `target` bytes, or to take it
 * back.  It does so when and as far as it wants.  0, or -1 with ERR_STATE: there is no balloon device; ERR_USAGE: target
 * is more than its RAM.  machine_balloon_get: what is known now; asks the guest for new statistics, for the next call.
 * false: no balloon device.
 * What the guest gives back, by the balloon or by free page reporting, becomes a hole of the RAM's memfd: it reads as zeroes
 * and has no memory behind it until the guest touches it again.  A migration sees there (SEEK_DATA) what it may skip; a
 * list of free pages beside it would be out of date with the guest's next write. */
int machine_balloon_set(struct machine *machine, uint64_t target_bytes, struct err *err);
bool machine_balloon_get(struct machine *machine, struct machine_balloon *balloon);

int machine_ram_fd(const struct machine *machine); /* borrowed */
/* machine_ram(machine, &bytes): where this process has it mapped. */
void *machine_ram(const struct machine *machine, uint64_t *bytes);
/* machine_use_huge_pages(machine): RAM asks for them from now on. */
void machine_use_huge_pages(struct machine *machine);
/* machine_keep_ram(machine, keep): while somebody copies or fills RAM, what the guest wants to give back waits in the balloon's
 * queues: a hole would be taken for a page of zeroes, or be filled with what was there before.  Paused, or before the first
 * resume, to begin it; at any time to end it. */
void machine_keep_ram(struct machine *machine, bool keep);
/* machine_touched_ram(machine, list, err): appends the ranges of RAM that have memory behind them, rising, as pairs of u64: first
 * byte, length.  Of a moment only while paused. */
int machine_touched_ram(const struct machine *machine, struct buf *list, struct err *err);

/* machine_volumes(machine, list): the volumes that the guest writes to, by rising slot, in list[CONFIG_MAX_DEVICES]; borrowed;
 * returns how many.  slots may be NULL. */
struct dvol;
unsigned machine_volumes(const struct machine *machine, struct dvol *list[], unsigned slots[]);
/* machine_attach_disks(machine, err): open the volumes of disks that are opened later (device_config); before machine_load. */
int machine_attach_disks(struct machine *machine, struct err *err);
bool machine_running(const struct machine *machine);

/* machine_cpu_json(machine, err): what its guest sees of the CPU, for the comparison before a hand-over: {"vendor",
 * "tsc_khz", "tsc_scaling", "xsave_bytes", "phys_bits", "features": {"<leaf>.<subleaf>.<register>": "0x…"},
 * "msrs": ["0x…"]}.  Of a machine that was just made: what this host offers.  Of one that was loaded: what its guest
 * came with, which may be less, and is what its next destination must have.  New reference, NULL with *err. */
json_t *machine_cpu_json(const struct machine *machine, struct err *err);
/* machine_cpu_fits(guest, host, err): a guest made where machine_cpu_json gave `guest` can run on the host
 * that gave `host`.  Both untrusted in form.  0, or -1 with ERR_REFUSED naming the first few things missing.
 */
int machine_cpu_fits(const json_t *guest, const json_t *host, struct err *err);

#endif
