/* dirty.h: finding the pages that were written: by the dirty ring (dirty_ring.c) or the dirty bitmap
 * (dirty_bitmap.c) of KVM, and those that the VMM itself writes (dirty_mark).
 *
 * A page goes into the owner's set only after it has been write-protected again: whoever takes it out of the set
 * may read it at once, and a write that follows is found anew.  In the other order a write between the reading
 * and the protecting would be lost. */
#ifndef VMM_DIRTY_H
#define VMM_DIRTY_H

#include "common/err.h"
#include "common/pageset.h"
#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

struct machine;
struct vcpu;

enum { DIRTY_SLOTS = 2, DIRTY_BATCH = 2048, DIRTY_LOOSE_MAX = 4096, DIRTY_RING_ENTRIES = 65536 };

struct dirty_ops {
	const char *name;
	/* Pages written from here on are tracked; what an earlier tracking left behind is gone.  lock held. */
	int (*start)(struct machine *machine, struct err *err);
	/* Pages written up to now into dirty.set.  lock held. */
	int (*harvest)(struct machine *machine, struct err *err);
	/* No more tracking; never fails.  lock held. */
	void (*stop)(struct machine *machine);
};

struct dirty {
	const struct dirty_ops *ops;
	pthread_mutex_t lock; /* of what follows */
	struct pageset *set;  /* NULL: not tracking */
	/* ring */
	uint32_t ring_entries; /* of each vCPU, a power of two */
	unsigned overruns;     /* times that KVM wrote over entries, and all pages were taken for dirty */
	size_t nloose;
	uint64_t loose[DIRTY_LOOSE_MAX]; /* pages that may be writable and not logged (dirty_ring.c) */
	uint64_t batch[DIRTY_BATCH];     /* pages collected, not yet protected again */
	/* bitmap, one per slot while tracking */
	uint64_t *bitmap[DIRTY_SLOTS];
	uint64_t bitmap_len[DIRTY_SLOTS]; /* bytes */
};

extern const struct dirty_ops dirty_ring_ops, dirty_bitmap_ops;

/* dirty_mark(machine, offset, len): the VMM wrote these bytes of RAM (an offset into the memfd).  Call it after
 * the write.  Any thread. */
void dirty_mark(struct machine *machine, uint64_t offset, uint64_t len);

/* dirty_init: chooses the mode; the ring must be switched on before vCPUs are made, and mapped
 * (dirty_ring_map) after. */
struct vm_config;
int dirty_init(struct machine *machine, const struct vm_config *config, struct err *err);
/* dirty_destroy: ends a tracking that is on.  While the vCPUs are still there. */
void dirty_destroy(struct machine *machine);

/* dirty_set_logging: KVM's logging on or off for all of RAM, on protects it; 0, or -1 with errno and it is off. */
int dirty_set_logging(struct machine *machine, bool on);

int dirty_ring_enable(struct machine *machine, struct err *err);
int dirty_ring_map(struct vcpu *vcpu, struct err *err);
void dirty_ring_unmap(struct vcpu *vcpu);
/* dirty_ring_needs_pause: a harvest must not run beside the vCPUs, since one's ring is nearly full. */
bool dirty_ring_needs_pause(struct machine *machine);
/* dirty_ring_full: KVM stopped the vCPU since its ring has no room; makes room.  Its own thread. */
void dirty_ring_full(struct vcpu *vcpu);

#endif
