/* virtio.h: a virtio 1.x device on the PCI bus: what all kinds of devices share.
 * Source: Virtual I/O Device (VIRTIO) Version 1.2, sections 2 and 4.1.  Only the modern interface is there.
 *
 * A kind of device is a struct virtio_ops and a struct that begins with a struct virtio.  It works on its queues in
 * threads of its own, between start and stop: virtio_loop (one thread that waits for kicks and for a few more file
 * descriptors) is enough for most.  Kicks come as eventfds (ioeventfd), without an exit to this process.
 *
 * Locks: virtio.lock (registers; held during start and stop) after the bus's, before all of the PCI device's.  A device's
 * threads never take virtio.lock, since stop waits for them with it held. */
#ifndef VMM_VIRTIO_H
#define VMM_VIRTIO_H

#include "common/buf.h"
#include "common/err.h"
#include "vmm/pci.h"
#include "vmm/virtqueue.h"
#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

struct machine;
struct virtio;

enum {
	VIRTIO_QUEUES_MAX = 64,
	VIRTIO_NO_VECTOR = 0xffff,
	VIRTIO_STATE_VERSION = 1,
	/* bits of the feature words */
	VIRTIO_F_INDIRECT_DESC = 28,
	VIRTIO_F_EVENT_IDX = 29,
	VIRTIO_F_VERSION_1 = 32,
	/* bits of the status */
	VIRTIO_ACKNOWLEDGE = 1,
	VIRTIO_DRIVER = 2,
	VIRTIO_DRIVER_OK = 4,
	VIRTIO_FEATURES_OK = 8,
	VIRTIO_NEEDS_RESET = 64,
	VIRTIO_FAILED = 128,
};
#define VIRTIO_BIT(n) (1ull << (n))

struct virtio_ops {
	const char *name; /* "blk" */
	uint16_t id;      /* of the device type */
	uint32_t class_code;
	/* The device's configuration structure, len bytes at offset, which may lie behind its end (then zeroes, and nothing).
	 * write may be NULL.  virtio.lock is held; what the device's threads change in it is the device's to guard. */
	void (*config_read)(struct virtio *dev, unsigned offset, void *data, unsigned len);
	void (*config_write)(struct virtio *dev, unsigned offset, const void *data, unsigned len);
	/* start: the driver is ready, or the machine goes on after a pause: dev->features and the queues say how.  Every
	 * queue is to be looked at once without a kick.  stop: on return nothing is in flight: every chain popped has been
	 * pushed (or unpopped), and neither RAM nor the queues are touched until the next start.  Both are called in turns. */
	void (*start)(struct virtio *dev);
	void (*stop)(struct virtio *dev);
	/* reset: forget what the driver told (after stop); may be NULL. */
	void (*reset)(struct virtio *dev);
	/* The device's own state, beside queues and registers; stopped.  May both be NULL: there is none.  load: not trusted. */
	void (*save)(struct virtio *dev, struct buf *out);
	int (*load)(struct virtio *dev, struct reader *reader, struct err *err);
	/* Frees the device, which is stopped; virtio_release has been called. */
	void (*destroy)(struct virtio *dev);
};

struct virtio_queue {
	struct virtqueue vq;
	int kick_fd; /* eventfd, non-blocking */
	uint16_t vector;
	uint64_t kick_gpa; /* where kicks are caught, 0: nowhere */
};

struct virtio {
	struct pci_device pci; /* first */
	const struct virtio_ops *ops;
	struct machine *machine;

	pthread_mutex_t lock; /* of what follows */
	uint64_t offered;     /* features */
	uint64_t features;    /* that the driver took */
	uint32_t offered_select, features_select;
	uint16_t config_vector, queue_select;
	uint8_t generation;
	bool started, paused;

	uint8_t status, isr; /* atomic: devices' threads set bits */
	unsigned nqueues;
	struct virtio_queue queue[VIRTIO_QUEUES_MAX];
	unsigned access_capability; /* offset of the one by which configuration space reaches the BAR */
};

/* virtio_init(dev, ops, machine, slot, offered, queues, queue_size, err): put the device on the machine's bus.  offered: features
 * of the device type; those of the rings and VERSION_1 are added.  On failure too virtio_release must follow. */
int virtio_init(struct virtio *dev, const struct virtio_ops *ops, struct machine *machine, unsigned slot,
		uint64_t offered, unsigned queues, uint16_t queue_size, struct err *err);
void virtio_release(struct virtio *dev);

/* For the device's threads.  virtio_signal: after pushes to the queue: an interrupt where one is wanted.  virtio_config_changed:
 * what config_read gives has changed.  virtio_broken: the driver does not keep to the rules: DEVICE_NEEDS_RESET, and no
 * queue is worked on until the reset. */
void virtio_signal(struct virtio *dev, unsigned queue);
void virtio_config_changed(struct virtio *dev);
void virtio_broken(struct virtio *dev);
bool virtio_is_broken(const struct virtio *dev);
static inline bool virtio_has(const struct virtio *dev, unsigned feature)
{
	return dev->features & VIRTIO_BIT(feature);
}

/* virtio_config_get: for config_read: len bytes at offset of a structure of `size` bytes; zeroes behind its end. */
void virtio_config_get(const void *config, unsigned size, unsigned offset, void *data, unsigned len);

/* The machine's side, vCPUs standing still: pause stops the device, resume starts it again if it was running; reset is what
 * a machine reset does.  save and load: paused. */
void virtio_pause(struct virtio *dev);
void virtio_resume(struct virtio *dev);
void virtio_reset(struct virtio *dev);
void virtio_save(struct virtio *dev, struct buf *out);
int virtio_load(struct virtio *dev, const void *data, size_t len, struct err *err);

/* ---- a thread for a device (virtio_loop.c) ---- */
enum { VIRTIO_LOOP_FDS = 8 };

struct virtio_loop {
	struct virtio *dev;
	void (*kicked)(struct virtio *dev, unsigned queue); /* and once for each queue at the start */
	void (*ready)(struct virtio *dev, unsigned number); /* one of fds has one of its events */
	/* fd -1: not there; events: POLLIN unless set otherwise.  Changed between start and stop by the loop's thread only. */
	int fds[VIRTIO_LOOP_FDS];
	short events[VIRTIO_LOOP_FDS];
	int stop_fd;
	pthread_t thread;
	bool running;
};

/* virtio_loop_init: before the first start; kicked and ready are called in the loop's thread. */
int virtio_loop_init(struct virtio_loop *loop, struct virtio *dev, void (*kicked)(struct virtio *, unsigned),
		     void (*ready)(struct virtio *, unsigned), struct err *err);
void virtio_loop_destroy(struct virtio_loop *loop);
void virtio_loop_start(struct virtio_loop *loop);
void virtio_loop_stop(struct virtio_loop *loop);

/* virtio_drain(dev, queue, chain, serve): what is in the queue, a chain at a time in *chain, which serve works on: it returns
 * the number of bytes that it wrote (then the chain goes back), VIRTIO_LATER (it stays, and the queue is left alone), or
 * VIRTIO_BROKEN: it makes no sense, nor does the device until its reset.  After VIRTIO_BATCH of them the queue kicks
 * itself, so that others get their turn. */
enum { VIRTIO_BATCH = 256, VIRTIO_LATER = -1, VIRTIO_BROKEN = -2 };
void virtio_drain(struct virtio *dev, unsigned queue, struct virtqueue_chain *chain,
		  int64_t (*serve)(struct virtio *dev, unsigned queue));

#endif
