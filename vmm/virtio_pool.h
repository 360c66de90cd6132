/* virtio_pool.h: threads for a virtio device whose requests take long, so that many are under way at once.
 *
 * Idle threads all wait on one epoll instance with the queues' kicks, and a kick wakes one of them.  It takes one request,
 * works on it, gives it back and looks for the next one; a second thread is woken only when more is waiting than the
 * first can take, and made only when there is none.  So one request at a time is served by one thread, without a
 * hand-over, and n at a time by n threads. */
#ifndef VMM_VIRTIO_POOL_H
#define VMM_VIRTIO_POOL_H

#include "vmm/virtio.h"

struct virtio_pool;

/* Serve one request, in any of the threads, several at once also of one queue.  *written: for the used ring; dirty tracking
 * has been told of it (virtqueue_wrote_iov).  false: the chain makes no sense, and the device breaks. */
typedef bool virtio_serve(struct virtio *dev, unsigned queue, const struct virtqueue_chain *chain,
			  uint32_t *written);

/* virtio_pool_create: at most `most` threads, for a device that virtio_init has made.  Stopped, and without
 * a thread: the first one comes with the first start, and the device breaks where it cannot be made.  NULL with *err.
 * virtio_pool_destroy: stopped; NULL does nothing. */
struct virtio_pool *virtio_pool_create(struct virtio *dev, virtio_serve *serve, unsigned most,
				       struct err *err);
void virtio_pool_destroy(struct virtio_pool *pool);
/* For a device's start and stop: see struct virtio_ops.  The threads stay while it is stopped. */
void virtio_pool_start(struct virtio_pool *pool);
void virtio_pool_stop(struct virtio_pool *pool);

#endif
