/* virtio_spin.h: looking for more before going to sleep: a guest that was just answered mostly asks again at once, and
 * finding that out by looking costs less than to be woken.  How long to look is learned: it is kept while it pays, cut
 * in halves while it does not, and grows where a sleep turned out to be shorter than it.
 *
 * No more than VIRTIO_SPIN_MAX_NS are spent on it after anything was done, and nothing by a device that is idle. */
#ifndef VMM_VIRTIO_SPIN_H
#define VMM_VIRTIO_SPIN_H

#include <stdbool.h>
#include <stdint.h>

enum { VIRTIO_SPIN_MAX_NS = 32768, VIRTIO_SPIN_MIN_NS = 2048 };

struct virtio_spin {
	uint64_t limit_ns; /* 0: not at all */
	uint64_t since_ns; /* when there was nothing to do any more; 0: there is */
};

/* virtio_spin_found(spin, now_ns): there was something to do.
 * virtio_spin_go_on(spin, now_ns): nothing was: look again (true), or sleep.
 * virtio_spin_woken(spin, now_ns): it slept, until now. */
static inline void virtio_spin_found(struct virtio_spin *spin)
{
	spin->since_ns = 0;
}

static inline bool virtio_spin_go_on(struct virtio_spin *spin, uint64_t now_ns)
{
	if (!spin->since_ns)
		spin->since_ns = now_ns;
	if (now_ns - spin->since_ns < spin->limit_ns)
		return true;
	/* In vain, this time. */
	spin->limit_ns = spin->limit_ns > VIRTIO_SPIN_MIN_NS ? spin->limit_ns / 2 : 0;
	spin->since_ns = now_ns;
	return false;
}

static inline void virtio_spin_woken(struct virtio_spin *spin, uint64_t now_ns)
{
	if (now_ns - spin->since_ns >= VIRTIO_SPIN_MAX_NS)
		return;
	spin->limit_ns = spin->limit_ns ? spin->limit_ns * 4 : VIRTIO_SPIN_MIN_NS;
	if (spin->limit_ns > VIRTIO_SPIN_MAX_NS)
		spin->limit_ns = VIRTIO_SPIN_MAX_NS;
}

#endif
