/* virtio_driver.h: a virtio driver that runs in the test instead of in a guest: it reaches the device by the machine's own
 * entry points for ports and memory, and keeps its rings in the guest's RAM.  Written from the specification (VIRTIO 1.2,
 * 2.7 and 4.1), not from the device's code.  Every failure fails the test. */
#ifndef TESTS_LIB_VIRTIO_DRIVER_H
#define TESTS_LIB_VIRTIO_DRIVER_H

#include "vmm/machine_impl.h"
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { DRIVER_QUEUES = 8, DRIVER_QUEUE_SIZE = 64 };

struct driver_queue {
	uint16_t size, next_desc, next_avail, next_used;
	uint64_t desc, avail, used; /* guest-physical */
};

struct driver {
	struct machine *machine;
	unsigned slot;
	uint64_t common, isr, device, notify; /* guest-physical */
	uint32_t multiplier;
	uint64_t features; /* that both have */
	uint64_t memory;   /* guest-physical: next free byte for rings and buffers */
	struct driver_queue queue[DRIVER_QUEUES];
};

/* A buffer of a chain: guest-physical. */
struct driver_buffer {
	uint64_t gpa;
	uint32_t len;
	bool device_writes;
};

/* driver_machine(config, fd): a machine with the devices of config, its BARs assigned, its devices running; no vCPU runs. */
struct machine *driver_machine(const struct vm_config *config, int ram_fd);
/* driver_begin(driver, machine, slot, memory): find the device in the slot, its capabilities and registers; reset it.  Rings and
 * buffers are put at `memory` and behind.  driver_negotiate: as far as FEATURES_OK, with what is wanted of what is offered
 * (VERSION_1 always).  driver_ready: `queues` queues set up and enabled, and DRIVER_OK. */
void driver_begin(struct driver *driver, struct machine *machine, unsigned slot, uint64_t memory);
void driver_negotiate(struct driver *driver, uint64_t wanted);
void driver_ready(struct driver *driver, unsigned queues);

/* Registers. */
uint64_t driver_get(const struct driver *driver, uint64_t gpa, unsigned len);
void driver_put(const struct driver *driver, uint64_t gpa, uint64_t value, unsigned len);
uint32_t driver_config_get(const struct driver *driver, unsigned offset,
			   unsigned len); /* PCI configuration space */
void driver_config_put(const struct driver *driver, unsigned offset, uint32_t value, unsigned len);
uint8_t driver_status(const struct driver *driver);

/* driver_alloc: guest memory of that size, zeroed, 16-aligned.  driver_at: where it is in this process. */
uint64_t driver_alloc(struct driver *driver, size_t len);
void *driver_at(const struct driver *driver, uint64_t gpa, size_t len);

/* driver_put_desc: write one descriptor as it is.  driver_offer: put a chain's head into the available ring.  driver_add: both, for a
 * proper chain; returns its head.  driver_kick.  driver_wait: the next used entry, within five seconds: its head and length. */
void driver_put_desc(struct driver *driver, unsigned queue, uint16_t number, uint64_t gpa, uint32_t len,
		     uint16_t flags, uint16_t next);
void driver_offer(struct driver *driver, unsigned queue, uint16_t head);
uint16_t driver_add(struct driver *driver, unsigned queue, const struct driver_buffer *buffers,
		    unsigned count);
void driver_kick(struct driver *driver, unsigned queue);
uint16_t driver_wait(struct driver *driver, unsigned queue, uint32_t *len);
/* driver_idle: nothing was used meanwhile.  driver_wait_broken: within five seconds the device wants to be reset. */
bool driver_idle(const struct driver *driver, unsigned queue);
void driver_wait_broken(const struct driver *driver);

/* MSI-X: driver_vectors: enable it, queue q to vector q + 1, configuration changes to vector 0; all masked, so that what the
 * device sends stays to be seen.  driver_pending: the vector has been sent; false afterwards until it is sent again. */
void driver_vectors(struct driver *driver, unsigned queues);
bool driver_pending(struct driver *driver, unsigned vector);

#endif
