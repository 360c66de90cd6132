/* virtqueue.h: a split virtqueue as the device sees it: taking buffers, giving them back, when to interrupt.
 * Source: Virtual I/O Device (VIRTIO) Version 1.2, section 2.7.
 *
 * Everything in guest memory is hostile and may change at any moment: each descriptor is copied once and the copy
 * checked; lengths and counts are bounded; a chain that makes no sense breaks the queue (VIRTQUEUE_BROKEN), which its
 * device reports to the guest as "needs reset".  Nothing outside of guest RAM is ever read or written.
 *
 * Threads: a queue has no lock; its device serializes pop, push and the rest of one queue. */
#ifndef VMM_VIRTQUEUE_H
#define VMM_VIRTQUEUE_H

#include "common/buf.h"
#include "common/err.h"
#include "vmm/memory.h"
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/uio.h>

enum {
	VIRTQUEUE_SIZE_MAX = 1024,  /* entries of a queue: at least what any driver here asks for */
	VIRTQUEUE_CHAIN_MAX = 1024, /* buffers of a chain */
};

/* Where the VMM's writes to RAM are told, for dirty tracking: offset into the memfd.  Any thread. */
typedef void virtqueue_wrote(void *arg, uint64_t offset, uint64_t len);

struct virtqueue {
	const struct memory *ram;
	virtqueue_wrote *wrote;
	void *wrote_arg;
	bool event_idx; /* VIRTIO_F_EVENT_IDX was negotiated */
	bool indirect;  /* VIRTIO_F_INDIRECT_DESC was negotiated */

	/* What the driver set; size is a power of two up to max_size. */
	uint16_t max_size, size;
	bool enabled;
	uint64_t desc, avail, used; /* guest-physical */

	uint16_t last_avail;     /* next entry of the available ring to take */
	uint16_t next_used;      /* next entry of the used ring to fill */
	uint16_t signalled_used; /* next_used when the guest was last interrupted */
	bool signalled;          /* that is valid */
};

/* One buffer chain.  iov: first `out` buffers that the device reads, then `in` buffers that it writes. */
struct virtqueue_chain {
	uint16_t head;
	unsigned out, in;
	uint64_t out_bytes, in_bytes;
	struct iovec iov[VIRTQUEUE_CHAIN_MAX];
};

enum virtqueue_result { VIRTQUEUE_BROKEN = -1, VIRTQUEUE_EMPTY = 0, VIRTQUEUE_CHAIN = 1 };

void virtqueue_init(struct virtqueue *vq, const struct memory *ram, uint16_t max_size, virtqueue_wrote *wrote,
		    void *wrote_arg);
/* virtqueue_reset: as after a device reset. */
void virtqueue_reset(struct virtqueue *vq);
/* virtqueue_usable(vq): the rings that the driver set lie in RAM and are aligned; checked before a queue is used, and
 * again by every access. */
bool virtqueue_usable(const struct virtqueue *vq);

/* virtqueue_pop: the next chain.  BROKEN: see above; the queue stays where it is. */
enum virtqueue_result virtqueue_pop(struct virtqueue *vq, struct virtqueue_chain *chain);
/* virtqueue_unpop: the chain that was popped last is to be popped again; nothing was pushed in between. */
void virtqueue_unpop(struct virtqueue *vq);
/* virtqueue_empty: nothing to pop.  virtqueue_notify_off, _on: ask the driver not to notify, as a hint; on returns true when
 * something came meanwhile, which must be looked for again. */
bool virtqueue_empty(const struct virtqueue *vq);
void virtqueue_notify_off(struct virtqueue *vq);
bool virtqueue_notify_on(struct virtqueue *vq);

/* virtqueue_push: the chain is done, and `written` bytes of its in buffers were filled, from the first one on.  Tells dirty
 * tracking what was written.  virtqueue_push_head: the same without the buffers, of which the caller has told
 * (virtqueue_wrote_iov). */
void virtqueue_push(struct virtqueue *vq, const struct virtqueue_chain *chain, uint32_t written);
void virtqueue_push_head(struct virtqueue *vq, uint16_t head, uint32_t written);
/* virtqueue_push_heads: the same for several, which the driver sees at one moment; fewer than the queue has entries. */
struct virtqueue_used {
	uint16_t head;
	uint32_t written;
};
void virtqueue_push_heads(struct virtqueue *vq, const struct virtqueue_used *used, unsigned count);
void virtqueue_wrote_iov(const struct virtqueue *vq, const struct iovec *iov, unsigned count, uint64_t bytes);
/* virtqueue_should_signal: what was pushed since the last call wants an interrupt. */
bool virtqueue_should_signal(struct virtqueue *vq);

/* save, load: the driver's settings and the positions; all chains popped have been pushed.  load: not trusted;
 * whether an enabled queue is usable is the caller's to see. */
void virtqueue_save(const struct virtqueue *vq, struct buf *out);
int virtqueue_load(struct virtqueue *vq, struct reader *reader, struct err *err);

#endif
