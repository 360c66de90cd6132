/* virtio_rng.c: the entropy device (VIRTIO 1.2, 5.4): what the guest asks for is filled with the kernel's random bytes. */
#include "vmm/devices.h"
#include <errno.h>
#include <stdlib.h>
#include <sys/random.h>

enum {
	QUEUE_SIZE = 64,
	/* Of one request, so that a guest with huge buffers does not keep the thread from stopping. */
	REQUEST_MAX = 64 << 10,
};

struct rng {
	struct virtio dev; /* first */
	struct virtio_loop loop;
	struct virtqueue_chain chain;
};

static struct rng *of(struct virtio *dev)
{
	return (struct rng *)dev;
}

static uint32_t fill(const struct virtqueue_chain *chain)
{
	uint32_t done = 0;
	for (unsigned i = 0; i < chain->in && done < REQUEST_MAX; i++) {
		const struct iovec *iov = &chain->iov[chain->out + i];
		size_t want = iov->iov_len < REQUEST_MAX - done ? iov->iov_len : REQUEST_MAX - done;
		for (size_t at = 0; at < want;) {
			ssize_t n = getrandom((uint8_t *)iov->iov_base + at, want - at, 0);
			if (n < 0 && errno != EINTR)
				return done;
			at += n > 0 ? (size_t)n : 0;
			done += n > 0 ? (uint32_t)n : 0;
		}
	}
	return done;
}

static void kicked(struct virtio *dev, unsigned queue)
{
	struct rng *rng = of(dev);
	struct virtqueue *vq = &dev->queue[queue].vq;
	enum virtqueue_result result;
	do {
		virtqueue_notify_off(vq);
		while ((result = virtqueue_pop(vq, &rng->chain)) == VIRTQUEUE_CHAIN) {
			virtqueue_push(vq, &rng->chain, fill(&rng->chain));
			virtio_signal(dev, queue);
		}
		if (result == VIRTQUEUE_BROKEN) {
			virtio_broken(dev);
			return;
		}
	} while (virtqueue_notify_on(vq));
}

static void config_read(struct virtio *dev, unsigned offset, void *data, unsigned len)
{
	(void)dev, (void)offset, (void)data, (void)len; /* it has none */
}

static void start(struct virtio *dev)
{
	virtio_loop_start(&of(dev)->loop);
}

static void stop(struct virtio *dev)
{
	virtio_loop_stop(&of(dev)->loop);
}

static void destroy(struct virtio *dev)
{
	virtio_loop_destroy(&of(dev)->loop);
	free(of(dev));
}

static const struct virtio_ops ops = {.name = "rng",
				      .id = 4,
				      .class_code = 0x00ff00,
				      .config_read = config_read,
				      .start = start,
				      .stop = stop,
				      .destroy = destroy};

struct virtio *virtio_rng_create(struct machine *machine, const struct device_config *config, struct err *err)
{
	struct rng *rng = calloc(1, sizeof(*rng));
	if (!rng) {
		err_sys(err, "cannot make the entropy device");
		return NULL;
	}
	if (virtio_init(&rng->dev, &ops, machine, config->slot, 0, 1, QUEUE_SIZE, err) ||
	    virtio_loop_init(&rng->loop, &rng->dev, kicked, NULL, err)) {
		virtio_release(&rng->dev);
		destroy(&rng->dev);
		return NULL;
	}
	return &rng->dev;
}
