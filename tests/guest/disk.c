#include "disk.h"
#include "arch.h"
#include "params.h"
#include "ram.h"
#include "stop.h"
#include "virtio.h"

#define F_FLUSH    9
#define SLOT_DESCS 3 /* header, data, status */
#define STATUS_OK  0
#define STATUS_NOT 0xff /* not written yet */

struct request {
	uint32_t type, reserved;
	uint64_t sector;
	volatile uint8_t status;
	uint8_t pad[47]; /* a cache line each, and none shared with the data */
};

static struct virtio_device device;
static struct virtio_queue queue;
static struct request *requests;
static uint8_t *data;
static uint32_t data_bytes;
static uint64_t capacity;

void disk_open(unsigned slots, uint32_t bytes)
{
	volatile uint32_t *config;

	virtio_open(&device, VIRTIO_TYPE_BLK, 1ull << F_FLUSH);
	virtio_queue_open(&device, &queue, 0);
	if (queue.size < slots * SLOT_DESCS)
		stop_error("the disk's queue is too short for so many requests", NULL);
	requests = ram_alloc(slots * sizeof(*requests));
	data = ram_alloc((uint64_t)slots * bytes);
	data_bytes = bytes;
	for (unsigned i = 0; i < slots; i++) {
		struct virtio_desc *desc = &queue.desc[i * SLOT_DESCS];

		desc[0].addr = (uintptr_t)&requests[i];
		desc[0].len = 16;
		desc[0].flags = VIRTIO_DESC_NEXT;
		desc[1].addr = (uintptr_t)disk_data(i);
		desc[1].len = bytes;
		desc[1].next = (uint16_t)(i * SLOT_DESCS + 2);
		desc[2].addr = (uintptr_t)&requests[i].status;
		desc[2].len = 1;
		desc[2].flags = VIRTIO_DESC_WRITE;
	}
	virtio_ready(&device);
	config = (volatile uint32_t *)device.config;
	capacity = ((uint64_t)config[1] << 32 | config[0]) * DISK_SECTOR;
}

uint64_t disk_bytes(void)
{
	return capacity;
}

bool disk_flushes(void)
{
	return device.features >> F_FLUSH & 1;
}

void *disk_data(unsigned slot)
{
	return data + (uint64_t)slot * data_bytes;
}

void disk_queue(unsigned slot, enum disk_type type, uint64_t offset)
{
	struct virtio_desc *desc = &queue.desc[slot * SLOT_DESCS];

	requests[slot].type = type;
	requests[slot].sector = type == DISK_FLUSH ? 0 : offset / DISK_SECTOR;
	requests[slot].status = STATUS_NOT;
	desc[0].next = (uint16_t)(slot * SLOT_DESCS + (type == DISK_FLUSH ? 2 : 1));
	desc[1].flags = (uint16_t)(VIRTIO_DESC_NEXT | (type == DISK_READ ? VIRTIO_DESC_WRITE : 0));
	virtio_add(&queue, (uint16_t)(slot * SLOT_DESCS));
}

void disk_kick(void)
{
	virtio_kick(&queue);
}

bool disk_done(unsigned *slot, bool *good)
{
	uint16_t head;
	uint32_t len;

	if (!virtio_take(&queue, &head, &len))
		return false;
	if (head % SLOT_DESCS)
		stop_error("the disk gave back what it never had", NULL);
	*slot = head / SLOT_DESCS;
	*good = requests[*slot].status == STATUS_OK;
	return true;
}

bool disk_do(unsigned slot, enum disk_type type, uint64_t offset)
{
	unsigned done;
	bool good;

	disk_queue(slot, type, offset);
	disk_kick();
	while (!disk_done(&done, &good))
		cpu_relax();
	return good;
}

uint64_t disk_kicks(void)
{
	return queue.kicks;
}
