/* blk_driver.c: see blk_driver.h. */
#include "tests/lib/blk_driver.h"
#include "imagefmt/dvol.h"
#include "tests/lib/test.h"

#include <stdio.h>
#include <string.h>

enum { DESC_NEXT = 1, DESC_WRITE = 2, DESC_INDIRECT = 4 };

void blk_volume(const char *path, uint64_t bytes)
{
	struct err err = {0};
	const struct dvol_create_options options = {.size_bytes = bytes};
	if (dvol_create(path, &options, &err))
		fail_msg("%s", err.text);
}

struct vm_config blk_config(const char *path, enum disk_format format, bool read_only, unsigned queues)
{
	struct vm_config config = {.name = "blk", .memory_bytes = BLK_RAM, .cpus = 1};
	config_new_uuid(config.uuid);
	struct device_config *device = config_add_device(&config, DEVICE_DISK);
	device->slot = BLK_SLOT;
	device->disk.path = strdup(path);
	device->disk.format = format;
	device->disk.read_only = read_only;
	device->disk.queues = queues;
	strcpy(device->disk.serial, "serial-0123456789abc"); /* as long as it may be */
	return config;
}

struct machine *blk_machine(const struct vm_config *config)
{
	return driver_machine(config, -1);
}

void blk_ready(struct driver *d, struct machine *machine, uint64_t features, unsigned queues)
{
	driver_begin(d, machine, BLK_SLOT, BLK_MEMORY);
	driver_negotiate(d, features);
	driver_ready(d, queues);
}

struct blk_request blk_request(struct driver *d, uint32_t type, uint64_t sector, const void *data,
			       uint32_t len)
{
	struct blk_request r = {.type = type, .len = len};
	r.header = driver_alloc(d, 16);
	le32_put(driver_at(d, r.header, 4), type);
	le64_put(driver_at(d, r.header + 8, 8), sector);
	/* Whole blocks begin at one, as any driver's pages do. */
	if (len % BLK_BLOCK == 0)
		d->memory = (d->memory + BLK_BLOCK - 1) & -(uint64_t)BLK_BLOCK;
	r.data = driver_alloc(d, len);
	if (data)
		memcpy(driver_at(d, r.data, len), data, len);
	r.status = driver_alloc(d, 1);
	*(uint8_t *)driver_at(d, r.status, 1) = BLK_NO_STATUS;
	return r;
}

static bool fills(uint32_t type)
{
	return type == BLK_IN || type == BLK_GET_ID;
}

uint16_t blk_send(struct driver *d, unsigned queue, const struct blk_request *r)
{
	struct driver_buffer buffers[3] = {{r->header, 16, false}};
	unsigned count = 1;
	if (r->len)
		buffers[count++] = (struct driver_buffer){r->data, r->len, fills(r->type)};
	buffers[count++] = (struct driver_buffer){r->status, 1, true};
	return driver_add(d, queue, buffers, count);
}

uint8_t blk_status(const struct driver *d, const struct blk_request *r)
{
	return *(uint8_t *)driver_at(d, r->status, 1);
}

static uint16_t load16(const void *at)
{
	return __atomic_load_n((const uint16_t *)at, __ATOMIC_SEQ_CST);
}

void blk_kick_if_wanted(struct driver *d, unsigned queue, uint16_t before)
{
	const struct driver_queue *q = &d->queue[queue];
	const uint8_t *used = driver_at(d, q->used, 6u + 8u * q->size);
	__atomic_thread_fence(__ATOMIC_SEQ_CST);
	uint16_t event = load16(used + 4 + 8u * q->size);
	bool wanted = d->features & VIRTIO_BIT(VIRTIO_F_EVENT_IDX)
			  ? (uint16_t)(q->next_avail - event - 1) < (uint16_t)(q->next_avail - before)
			  : !(load16(used) & 1);
	if (wanted)
		driver_kick(d, queue);
}

uint16_t blk_send_buffers(struct driver *d, unsigned queue, const struct driver_buffer *buffers,
			  unsigned count, bool indirect)
{
	if (!indirect)
		return driver_add(d, queue, buffers, count);
	uint64_t table = driver_alloc(d, 16u * count);
	for (unsigned i = 0; i < count; i++) {
		uint8_t *at = driver_at(d, table + 16u * i, 16);
		le64_put(at, buffers[i].gpa);
		le32_put(at + 8, buffers[i].len);
		le16_put(at + 12, (uint16_t)((i + 1 < count ? DESC_NEXT : 0) |
					     (buffers[i].device_writes ? DESC_WRITE : 0)));
		le16_put(at + 14, (uint16_t)(i + 1));
	}
	uint16_t head = d->queue[queue].next_desc++ % d->queue[queue].size;
	driver_put_desc(d, queue, head, table, 16u * count, DESC_INDIRECT, 0);
	driver_offer(d, queue, head);
	return head;
}

uint8_t blk_do(struct driver *d, unsigned queue, uint32_t type, uint64_t sector, void *data, uint32_t len)
{
	uint64_t memory = d->memory;
	uint32_t used;
	struct blk_request r = blk_request(d, type, sector, data, len);
	uint16_t head = blk_send(d, queue, &r);
	driver_kick(d, queue);
	assert_int_equal(driver_wait(d, queue, &used), head);
	uint8_t status = blk_status(d, &r);
	if (fills(type) && status == BLK_OK) {
		assert_int_equal(used, len + 1);
		memcpy(data, driver_at(d, r.data, len), len);
	} else if (!fills(type)) {
		assert_int_equal(used, 1);
	}
	d->memory = memory; /* it is all done with */
	return status;
}
