/* A driver for modern virtio devices on PCI (VIRTIO 1.2, 2.7 and 4.1).  It polls, and asks for an interrupt only to
 * sleep (virtio_sleep); it notifies the device only where that wants it (EVENT_IDX where it is offered, else the ring's
 * flag).
 *
 * The caller owns the descriptors and fills them in as it likes; a chain is named by its first descriptor. */
#ifndef GUEST_VIRTIO_H
#define GUEST_VIRTIO_H

#include "pci.h"
#include <stdbool.h>
#include <stdint.h>

#define VIRTIO_TYPE_NET   1
#define VIRTIO_TYPE_BLK   2
#define VIRTIO_QUEUE_MAX  256

#define VIRTIO_DESC_NEXT  1
#define VIRTIO_DESC_WRITE 2

struct virtio_desc {
	uint64_t addr;
	uint32_t len;
	uint16_t flags, next;
};

struct virtio_avail {
	uint16_t flags, idx;
	uint16_t ring[]; /* of the size of the queue, then used_event */
};

struct virtio_used {
	uint16_t flags, idx;
	struct {
		uint32_t id, len;
	} ring[]; /* of the size of the queue, then avail_event */
};

struct virtio_queue {
	uint16_t size;
	bool event_idx;
	struct virtio_desc *desc;
	volatile struct virtio_avail *avail;
	volatile struct virtio_used *used;
	volatile uint16_t *doorbell;
	uint16_t number;
	uint16_t added; /* chains added so far */
	uint16_t shown; /* that the device has been told of */
	uint16_t taken; /* chains taken back so far */
	uint64_t kicks; /* notifications */
};

struct virtio_device {
	struct pci_device pci;
	uint64_t features;
	volatile uint8_t *common, *config;
	uintptr_t notify;
	uint32_t notify_multiplier;
};

/* Finds the first device of the type and agrees on those of `wanted` features that it offers, on VERSION_1 and
 * EVENT_IDX.  Stops the machine where there is none, or it does not agree. */
void virtio_open(struct virtio_device *device, unsigned type, uint64_t wanted);
/* Sets up queue `number`, before virtio_ready(), which switches the device on. */
void virtio_queue_open(struct virtio_device *device, struct virtio_queue *queue, uint16_t number);
/* The queue, set up and the device not yet ready, may be slept on; after pci_wake().  virtio_sleep() returns when the
 * device has done a chain, or something else woke this CPU. */
void virtio_queue_wakes(struct virtio_device *device, const struct virtio_queue *queue);
void virtio_sleep(struct virtio_queue *queue);
void virtio_ready(struct virtio_device *device);

/* Queues the chain that begins with the descriptor.  virtio_kick() shows the device all that were queued. */
void virtio_add(struct virtio_queue *queue, uint16_t head);
void virtio_kick(struct virtio_queue *queue);
/* The next chain that the device has done, into *head and *len.  Returns false where there is none yet. */
bool virtio_take(struct virtio_queue *queue, uint16_t *head, uint32_t *len);

#endif
