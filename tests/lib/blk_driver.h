/* blk_driver.h: requests to a virtio block device, by the driver of virtio_driver.h.  Written from the specification (VIRTIO
 * 1.2, 5.2). */
#ifndef TESTS_LIB_BLK_DRIVER_H
#define TESTS_LIB_BLK_DRIVER_H

#include "tests/lib/virtio_driver.h"

enum {
	BLK_IN = 0,
	BLK_OUT = 1,
	BLK_FLUSH = 4,
	BLK_GET_ID = 8,
	BLK_DISCARD = 11,
	BLK_WRITE_ZEROES = 13,

	BLK_OK = 0,
	BLK_IOERR = 1,
	BLK_UNSUPP = 2,
	BLK_NO_STATUS = 0xaa, /* what is there before the device wrote one */

	BLK_BLOCK = 4096,
	BLK_SLOT = 3,
	BLK_MEMORY = 1 << 20, /* where the driver's memory begins */
	BLK_RAM = 32 << 20,
};
#define BLK_ALL_FEATURES (~0ull)

/* blk_volume: a new volume.  blk_machine: a machine with that disk in BLK_SLOT; ram_fd -1: RAM of its own. */
void blk_volume(const char *path, uint64_t bytes);
struct vm_config blk_config(const char *path, enum disk_format format, bool read_only, unsigned queues);
struct machine *blk_machine(const struct vm_config *config);
/* blk_ready: the driver begun, its features agreed on, `queues` queues ready. */
void blk_ready(struct driver *driver, struct machine *machine, uint64_t features, unsigned queues);

/* A request of three buffers: header, data, status. */
struct blk_request {
	uint64_t header, data, status; /* guest-physical */
	uint32_t type, len;
};
/* blk_request: allocate it; data, if not NULL, is copied into it.  blk_send: offer it, without a kick; returns its head. */
struct blk_request blk_request(struct driver *driver, uint32_t type, uint64_t sector, const void *data,
			       uint32_t len);
uint16_t blk_send(struct driver *driver, unsigned queue, const struct blk_request *request);
uint8_t blk_status(const struct driver *driver, const struct blk_request *request);
/* blk_kick_if_wanted: after something was offered behind the entry `before` of the available ring: a kick where the device
 * has asked for one, and none where it has not. */
void blk_kick_if_wanted(struct driver *driver, unsigned queue, uint16_t before);
/* blk_send_buffers: any chain, in a table of its own if indirect. */
uint16_t blk_send_buffers(struct driver *driver, unsigned queue, const struct driver_buffer *buffers,
			  unsigned count, bool indirect);
/* blk_do: a request from beginning to end; data is read by it or filled.  Returns its status. */
uint8_t blk_do(struct driver *driver, unsigned queue, uint32_t type, uint64_t sector, void *data,
	       uint32_t len);

#endif
