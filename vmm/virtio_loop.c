/* virtio_loop.c: one thread for a device: it waits for kicks of its queues and for a few more file descriptors. */
#include "common/io.h"
#include "common/thread.h"
#include "vmm/virtio.h"
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/eventfd.h>

enum {
	SLOT_STOP,
	SLOT_QUEUES,
	SLOT_FDS = SLOT_QUEUES + VIRTIO_QUEUES_MAX,
	SLOTS = SLOT_FDS + VIRTIO_LOOP_FDS
};

int virtio_loop_init(struct virtio_loop *loop, struct virtio *dev, void (*kicked)(struct virtio *, unsigned),
		     void (*ready)(struct virtio *, unsigned), struct err *err)
{
	*loop = (struct virtio_loop){.dev = dev, .kicked = kicked, .ready = ready};
	for (unsigned i = 0; i < VIRTIO_LOOP_FDS; i++)
		loop->fds[i] = -1, loop->events[i] = POLLIN;
	loop->stop_fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
	return loop->stop_fd >= 0 ? 0 : err_sys(err, "virtio-%s: cannot make its thread", dev->ops->name);
}

void virtio_loop_destroy(struct virtio_loop *loop)
{
	if (loop->dev)
		io_close(&loop->stop_fd);
}

/* gather: what there is to wait for, into fds, and into what[i] which of the slots it is.  Returns how many. */
static unsigned gather(const struct virtio_loop *loop, struct pollfd fds[SLOTS], uint8_t what[SLOTS])
{
	const struct virtio *dev = loop->dev;
	unsigned n = 0;
	fds[n] = (struct pollfd){.fd = loop->stop_fd, .events = POLLIN};
	what[n++] = SLOT_STOP;
	/* A broken device waits for its reset, and for nothing else. */
	if (virtio_is_broken(dev))
		return n;
	for (unsigned i = 0; i < dev->nqueues; i++) {
		fds[n] = (struct pollfd){.fd = dev->queue[i].kick_fd, .events = POLLIN};
		what[n++] = (uint8_t)(SLOT_QUEUES + i);
	}
	for (unsigned i = 0; i < VIRTIO_LOOP_FDS; i++) {
		if (loop->fds[i] < 0)
			continue;
		fds[n] = (struct pollfd){.fd = loop->fds[i], .events = loop->events[i]};
		what[n++] = (uint8_t)(SLOT_FDS + i);
	}
	return n;
}

/* turn: false: stop. */
static bool turn(struct virtio_loop *loop)
{
	struct virtio *dev = loop->dev;
	struct pollfd fds[SLOTS];
	uint8_t what[SLOTS];
	unsigned n = gather(loop, fds, what);
	if (poll(fds, n, -1) < 0)
		return true;
	if (fds[0].revents)
		return false;
	for (unsigned i = 1; i < n; i++) {
		eventfd_t kicks;
		unsigned number;
		if (!fds[i].revents)
			continue;
		if (what[i] >= SLOT_FDS) {
			number = what[i] - SLOT_FDS;
			if (loop->fds[number] == fds[i].fd)
				loop->ready(dev, number);
			continue;
		}
		number = what[i] - SLOT_QUEUES;
		if (eventfd_read(dev->queue[number].kick_fd, &kicks) == 0)
			loop->kicked(dev, number);
	}
	return true;
}

static void *run(void *arg)
{
	struct virtio_loop *loop = arg;
	char name[16];
	snprintf(name, sizeof(name), "virtio-%s", loop->dev->ops->name);
	pthread_setname_np(pthread_self(), name);
	for (unsigned i = 0; i < loop->dev->nqueues; i++)
		loop->kicked(loop->dev, i);
	while (turn(loop))
		;
	return NULL;
}

void virtio_loop_start(struct virtio_loop *loop)
{
	eventfd_t stops;
	(void)eventfd_read(loop->stop_fd, &stops);
	loop->running = thread_start(&loop->thread, run, loop) == 0;
	if (!loop->running)
		virtio_broken(loop->dev);
}

void virtio_loop_stop(struct virtio_loop *loop)
{
	if (!loop->running)
		return;
	(void)eventfd_write(loop->stop_fd, 1);
	pthread_join(loop->thread, NULL);
	loop->running = false;
}

void virtio_drain(struct virtio *dev, unsigned queue, struct virtqueue_chain *chain,
		  int64_t (*serve)(struct virtio *dev, unsigned queue))
{
	struct virtqueue *vq = &dev->queue[queue].vq;
	enum virtqueue_result result = VIRTQUEUE_CHAIN;
	int64_t wrote = 0;
	virtqueue_notify_off(vq);
	for (unsigned i = 0; i < VIRTIO_BATCH && wrote >= 0; i++) {
		result = virtqueue_pop(vq, chain);
		if (result == VIRTQUEUE_EMPTY && virtqueue_notify_on(vq)) {
			/* One came in between. */
			virtqueue_notify_off(vq);
			continue;
		}
		if (result != VIRTQUEUE_CHAIN)
			break;
		wrote = serve(dev, queue);
		if (wrote >= 0)
			virtqueue_push(vq, chain, (uint32_t)wrote);
		else
			virtqueue_unpop(vq);
	}
	virtio_signal(dev, queue);
	if (result == VIRTQUEUE_BROKEN || wrote == VIRTIO_BROKEN)
		virtio_broken(dev);
	else if (wrote >= 0 && (result == VIRTQUEUE_CHAIN || !virtqueue_empty(vq)))
		(void)eventfd_write(dev->queue[queue].kick_fd, 1);
}
