/* virtio_pool.h: threads for a virtio device whose requests take long, so that many are under way at once.
 *
 * One thread, the front, takes all requests.  Those that are a transfer of a file it only begins (vmm/aio.h), many by one
 * system call, and gives back when they are over, many by one interrupt; those that may have to wait for something else
 * go to workers, which are made when they are needed.  When nothing is left to do the front looks for more for some
 * microseconds before it sleeps, as long as that is mostly worth it (virtio_spin.h). */
#ifndef VMM_VIRTIO_POOL_H
#define VMM_VIRTIO_POOL_H

#include "vmm/virtio.h"

struct virtio_pool;

/* A request under way.  The device's own struct begins with it, and comes from malloc. */
struct virtio_job {
	struct virtio_job *next; /* the pool's */
	unsigned queue;
	uint16_t head;
	uint32_t written; /* for the used ring; dirty tracking has been told of it (virtqueue_wrote_iov) */
	/* A transfer. */
	int fd, count;
	bool write;
	uint64_t offset;
	struct iovec *iov;
};

enum virtio_step {
	VIRTIO_JOB_DONE,
	VIRTIO_JOB_TRANSFER, /* what the job says is to be transferred */
	VIRTIO_JOB_BLOCKS,   /* a worker is to serve it */
};

struct virtio_pool_ops {
	/* make: a job of what was just taken; NULL: it makes no sense, and the device breaks.  Front.
	 * begin: the first step.  Never waits.  Front.
	 * transferred: the next step after the job's transfer; result: bytes, or -errno.  Never waits.  Front.
	 * serve: all of it; any worker, several at once. */
	struct virtio_job *(*make)(struct virtio *dev, const struct virtqueue_chain *chain);
	enum virtio_step (*begin)(struct virtio *dev, struct virtio_job *job);
	enum virtio_step (*transferred)(struct virtio *dev, struct virtio_job *job, int result);
	void (*serve)(struct virtio *dev, struct virtio_job *job);
};

/* virtio_pool_create: at most `most` workers, for a device that virtio_init has made.  Stopped, and without a thread: the first
 * ones come with the first start, and the device breaks where they cannot be made.  NULL with *err.
 * virtio_pool_destroy: stopped; NULL does nothing. */
struct virtio_pool *virtio_pool_create(struct virtio *dev, const struct virtio_pool_ops *ops, unsigned most,
				       struct err *err);
void virtio_pool_destroy(struct virtio_pool *pool);
/* For a device's start and stop: see struct virtio_ops.  The threads stay while it is stopped. */
void virtio_pool_start(struct virtio_pool *pool);
void virtio_pool_stop(struct virtio_pool *pool);

#endif
