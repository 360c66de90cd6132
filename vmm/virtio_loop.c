/* virtio_loop.c: one thread for a device: it waits for kicks of its queues and for a few more file descriptors. */
#include "common/io.h"
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

/* turn: false: stop. */
static bool turn(struct virtio_loop *loop)
{
	struct virtio *dev = loop->dev;
	struct pollfd fds[SLOTS];
	for (unsigned i = 0; i < SLOTS; i++)
		fds[i] = (struct pollfd){.fd = -1, .events = POLLIN};
	fds[SLOT_STOP].fd = loop->stop_fd;
	/* A broken device waits for its reset, and for nothing else. */
	bool broken = virtio_is_broken(dev);
	for (unsigned i = 0; i < dev->nqueues && !broken; i++)
		fds[SLOT_QUEUES + i].fd = dev->queue[i].kick_fd;
	for (unsigned i = 0; i < VIRTIO_LOOP_FDS && !broken; i++)
		fds[SLOT_FDS + i] = (struct pollfd){.fd = loop->fds[i], .events = loop->events[i]};
	if (poll(fds, SLOTS, -1) < 0)
		return true;
	if (fds[SLOT_STOP].revents)
		return false;
	for (unsigned i = 0; i < dev->nqueues; i++) {
		eventfd_t kicks;
		if (fds[SLOT_QUEUES + i].revents && eventfd_read(dev->queue[i].kick_fd, &kicks) == 0)
			loop->kicked(dev, i);
	}
	for (unsigned i = 0; i < VIRTIO_LOOP_FDS; i++)
		if (fds[SLOT_FDS + i].revents && loop->fds[i] == fds[SLOT_FDS + i].fd)
			loop->ready(dev, i);
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
	sigset_t all, before;
	eventfd_t stops;
	(void)eventfd_read(loop->stop_fd, &stops);
	/* Signals are the main thread's. */
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &before);
	loop->running = pthread_create(&loop->thread, NULL, run, loop) == 0;
	pthread_sigmask(SIG_SETMASK, &before, NULL);
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
	else if (wrote >= 0 && (result == VIRTQUEUE_CHAIN || virtqueue_notify_on(vq)))
		(void)eventfd_write(dev->queue[queue].kick_fd, 1);
}
