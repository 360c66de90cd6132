#include "virtio.h"
#include "arch.h"
#include "cpu.h"
#include "ram.h"
#include "stop.h"

#define VENDOR            0x1af4
#define DEVICE_BASE       0x1040
#define OFFSET_CAPABILITY 0x34
#define CAPABILITY_VENDOR 9
#define TYPE_COMMON       1
#define TYPE_NOTIFY       2
#define TYPE_DEVICE       4

/* The common configuration structure. */
#define FEATURE_SELECT     0
#define FEATURE            4
#define DRIVER_SELECT      8
#define DRIVER_FEATURE     12
#define STATUS             20
#define QUEUE_SELECT       22
#define QUEUE_SIZE         24
#define QUEUE_VECTOR       26
#define QUEUE_ENABLE       28
#define QUEUE_NOTIFY       30
#define QUEUE_DESC         32
#define QUEUE_DRIVER       40
#define QUEUE_DEVICE       48

#define STATUS_DRIVER      3 /* and ACKNOWLEDGE */
#define STATUS_DRIVER_OK   4
#define STATUS_FEATURES_OK 8

#define F_EVENT_IDX        29
#define F_VERSION_1        32
#define NO_INTERRUPT       1
#define NO_NOTIFY          1

static volatile uint16_t *at16(volatile uint8_t *base, unsigned offset)
{
	return (volatile uint16_t *)(base + offset);
}

static volatile uint32_t *at32(volatile uint8_t *base, unsigned offset)
{
	return (volatile uint32_t *)(base + offset);
}

static void put64(volatile uint8_t *base, unsigned offset, const void *pointer)
{
	*at32(base, offset) = (uint32_t)(uintptr_t)pointer;
	*at32(base, offset + 4) = (uint32_t)((uintptr_t)pointer >> 32);
}

/* The structures' places in the BARs, from the capabilities. */
static void find_structures(struct virtio_device *device)
{
	const struct pci_device *pci = &device->pci;

	for (unsigned at = pci_read8(pci, OFFSET_CAPABILITY); at; at = pci_read8(pci, at + 1)) {
		uintptr_t address;
		unsigned bar, type;

		if (pci_read8(pci, at) != CAPABILITY_VENDOR)
			continue;
		type = pci_read8(pci, at + 3);
		bar = pci_read8(pci, at + 4);
		if (bar >= PCI_BARS || !pci->bar[bar])
			continue;
		address = pci->bar[bar] + (uintptr_t)pci_read32(pci, at + 8);
		if (type == TYPE_COMMON) {
			device->common = (volatile uint8_t *)address;
		} else if (type == TYPE_DEVICE) {
			device->config = (volatile uint8_t *)address;
		} else if (type == TYPE_NOTIFY) {
			device->notify = address;
			device->notify_multiplier = pci_read32(pci, at + 16);
		}
	}
	if (!device->common || !device->config || !device->notify)
		stop_error("the virtio device has no modern interface", NULL);
}

static void negotiate(struct virtio_device *device, uint64_t wanted)
{
	volatile uint8_t *common = device->common;
	uint64_t offered;

	common[STATUS] = 0;
	while (common[STATUS])
		cpu_relax();
	common[STATUS] = STATUS_DRIVER;
	*at32(common, FEATURE_SELECT) = 0;
	offered = *at32(common, FEATURE);
	*at32(common, FEATURE_SELECT) = 1;
	offered |= (uint64_t)*at32(common, FEATURE) << 32;
	device->features = offered & (wanted | 1ull << F_VERSION_1 | 1ull << F_EVENT_IDX);
	*at32(common, DRIVER_SELECT) = 0;
	*at32(common, DRIVER_FEATURE) = (uint32_t)device->features;
	*at32(common, DRIVER_SELECT) = 1;
	*at32(common, DRIVER_FEATURE) = (uint32_t)(device->features >> 32);
	common[STATUS] = STATUS_DRIVER | STATUS_FEATURES_OK;
	if (!(device->features >> F_VERSION_1 & 1) || !(common[STATUS] & STATUS_FEATURES_OK))
		stop_error("the virtio device does not agree on features", NULL);
}

void virtio_open(struct virtio_device *device, unsigned type, uint64_t wanted)
{
	*device = (struct virtio_device){0};
	if (!pci_find(&device->pci, VENDOR, (uint16_t)(DEVICE_BASE + type)))
		stop_error(type == VIRTIO_TYPE_BLK ? "no virtio disk" : "no virtio network device", NULL);
	find_structures(device);
	negotiate(device, wanted);
}

void virtio_ready(struct virtio_device *device)
{
	device->common[STATUS] = STATUS_DRIVER | STATUS_FEATURES_OK | STATUS_DRIVER_OK;
}

/* used_event, the last word of the available ring. */
static volatile uint16_t *used_event(const struct virtio_queue *queue)
{
	return &queue->avail->ring[queue->size];
}

static uint16_t avail_event(const struct virtio_queue *queue)
{
	return *(volatile uint16_t *)&queue->used->ring[queue->size];
}

/* By the flag, or by an event that lies as far ahead as can be. */
static void no_interrupts(struct virtio_queue *queue)
{
	queue->avail->flags = NO_INTERRUPT;
	*used_event(queue) = (uint16_t)(queue->taken + 0x7fff);
}

void virtio_queue_open(struct virtio_device *device, struct virtio_queue *queue, uint16_t number)
{
	volatile uint8_t *common = device->common;

	*queue = (struct virtio_queue){.number = number};
	*at16(common, QUEUE_SELECT) = number;
	queue->size = *at16(common, QUEUE_SIZE);
	if (queue->size == 0)
		stop_error("the virtio device lacks a queue", NULL);
	if (queue->size > VIRTIO_QUEUE_MAX) {
		queue->size = VIRTIO_QUEUE_MAX;
		*at16(common, QUEUE_SIZE) = queue->size;
	}
	queue->event_idx = device->features >> F_EVENT_IDX & 1;
	queue->desc = ram_alloc(sizeof(*queue->desc) * queue->size);
	queue->avail = ram_alloc(sizeof(*queue->avail) + 2 * queue->size + 2);
	queue->used = ram_alloc(sizeof(*queue->used) + 8 * queue->size + 2);
	queue->doorbell =
	    (volatile uint16_t *)(device->notify + *at16(common, QUEUE_NOTIFY) * device->notify_multiplier);
	no_interrupts(queue);
	put64(common, QUEUE_DESC, queue->desc);
	put64(common, QUEUE_DRIVER, (const void *)queue->avail);
	put64(common, QUEUE_DEVICE, (const void *)queue->used);
	*at16(common, QUEUE_ENABLE) = 1;
}

void virtio_queue_wakes(struct virtio_device *device, const struct virtio_queue *queue)
{
	*at16(device->common, QUEUE_SELECT) = queue->number;
	*at16(device->common, QUEUE_VECTOR) = 0;
}

void virtio_sleep(struct virtio_queue *queue)
{
	queue->avail->flags = 0;
	*used_event(queue) = queue->taken;
	/* The device shows what it did and then looks whether that is wanted; so the other way round here. */
	__atomic_thread_fence(__ATOMIC_SEQ_CST);
	if (queue->used->idx == queue->taken)
		cpu_sleep();
	no_interrupts(queue);
}

void virtio_add(struct virtio_queue *queue, uint16_t head)
{
	queue->avail->ring[queue->added++ % queue->size] = head;
}

void virtio_kick(struct virtio_queue *queue)
{
	uint16_t before = queue->shown, now = queue->added;
	bool wanted;

	if (before == now)
		return;
	__atomic_thread_fence(__ATOMIC_RELEASE);
	queue->avail->idx = now;
	queue->shown = now;
	/* The device says what it wants and then looks for more; so the other way round here. */
	__atomic_thread_fence(__ATOMIC_SEQ_CST);
	wanted = queue->event_idx ? (uint16_t)(now - avail_event(queue) - 1) < (uint16_t)(now - before)
				  : !(queue->used->flags & NO_NOTIFY);
	if (wanted) {
		*queue->doorbell = queue->number;
		queue->kicks++;
	}
}

bool virtio_take(struct virtio_queue *queue, uint16_t *head, uint32_t *len)
{
	uint16_t at = queue->taken % queue->size;

	if (queue->used->idx == queue->taken)
		return false;
	__atomic_thread_fence(__ATOMIC_ACQUIRE);
	*head = (uint16_t)queue->used->ring[at].id;
	*len = queue->used->ring[at].len;
	queue->taken++;
	if (*head >= queue->size)
		stop_error("the virtio device gave back what it never had", NULL);
	if (queue->event_idx && queue->taken % 0x1000 == 0)
		no_interrupts(queue);
	return true;
}
