/* virtio_driver.c: see virtio_driver.h. */
#include "tests/lib/virtio_driver.h"
#include "common/io.h"
#include "tests/lib/test.h"

#include <string.h>
#include <time.h>

enum {
	CONFIG_PORT = 0xcf8,
	DATA_PORT = 0xcfc,
	CAP_VENDOR = 9,
	CAP_MSIX = 0x11,
	DESC_NEXT = 1,
	DESC_WRITE = 2,
	PATIENCE_MS = 5000,
};

/* ---- registers ---------------------------------------------------------------------------------------------------- */

uint32_t driver_config_get(const struct driver *d, unsigned offset, unsigned len)
{
	pci_port_write(&d->machine->pci, CONFIG_PORT, 4, 0x80000000u | d->slot << 11 | (offset & 0xfc));
	return pci_port_read(&d->machine->pci, (uint16_t)(DATA_PORT + offset % 4), len);
}

void driver_config_put(const struct driver *d, unsigned offset, uint32_t value, unsigned len)
{
	pci_port_write(&d->machine->pci, CONFIG_PORT, 4, 0x80000000u | d->slot << 11 | (offset & 0xfc));
	pci_port_write(&d->machine->pci, (uint16_t)(DATA_PORT + offset % 4), len, value);
}

uint64_t driver_get(const struct driver *d, uint64_t gpa, unsigned len)
{
	uint8_t bytes[8] = {0};
	assert_true(pci_memory_access(&d->machine->pci, gpa, bytes, len, false));
	return le64_get(bytes);
}

void driver_put(const struct driver *d, uint64_t gpa, uint64_t value, unsigned len)
{
	uint8_t bytes[8];
	le64_put(bytes, value);
	assert_true(pci_memory_access(&d->machine->pci, gpa, bytes, len, true));
}

uint8_t driver_status(const struct driver *d)
{
	return (uint8_t)driver_get(d, d->common + 20, 1);
}

static uint64_t bar(const struct driver *d, unsigned number)
{
	uint32_t value = driver_config_get(d, 0x10 + 4 * number, 4);
	assert_int_equal(value & 0xf, 0); /* 32-bit memory */
	assert_int_not_equal(value, 0);
	return value;
}

static unsigned next_capability(const struct driver *d, unsigned at, uint8_t id)
{
	unsigned next = driver_config_get(d, at ? at + 1 : 0x34, 1);
	while (next && driver_config_get(d, next, 1) != id)
		next = driver_config_get(d, next + 1, 1);
	return next;
}

/* ---- setting up ------------------------------------------------------------------------------------------------------ */

struct machine *driver_machine(const struct vm_config *config, int ram_fd)
{
	struct err err = {0};
	struct machine *machine = machine_create(config, ram_fd, NULL, &err);
	if (!machine)
		fail_msg("%s", err.text);
	assert_int_equal(pci_assign(&machine->pci, &err), 0);
	devices_resume(machine);
	return machine;
}

void driver_begin(struct driver *d, struct machine *machine, unsigned slot, uint64_t memory)
{
	*d = (struct driver){.machine = machine, .slot = slot, .memory = memory};
	assert_int_equal(driver_config_get(d, 0, 2), 0x1af4);
	for (unsigned at = 0; (at = next_capability(d, at, CAP_VENDOR)) != 0;) {
		uint64_t where = bar(d, driver_config_get(d, at + 4, 1)) + driver_config_get(d, at + 8, 4);
		switch (driver_config_get(d, at + 3, 1)) {
		case 1:
			d->common = where;
			break;
		case 2:
			d->notify = where;
			d->multiplier = driver_config_get(d, at + 16, 4);
			break;
		case 3:
			d->isr = where;
			break;
		case 4:
			d->device = where;
			break;
		default:
			break;
		}
	}
	assert_true(d->common && d->notify && d->isr && d->device);
	driver_put(d, d->common + 20, 0, 1);
	assert_int_equal(driver_status(d), 0);
	driver_put(d, d->common + 20, 1, 1);
	driver_put(d, d->common + 20, 1 | 2, 1);
}

void driver_negotiate(struct driver *d, uint64_t wanted)
{
	uint64_t offered = 0;
	for (unsigned half = 0; half < 2; half++) {
		driver_put(d, d->common, half, 4);
		offered |= driver_get(d, d->common + 4, 4) << 32 * half;
	}
	assert_true(offered & VIRTIO_BIT(VIRTIO_F_VERSION_1));
	d->features = (wanted | VIRTIO_BIT(VIRTIO_F_VERSION_1)) & offered;
	for (unsigned half = 0; half < 2; half++) {
		driver_put(d, d->common + 8, half, 4);
		driver_put(d, d->common + 12, d->features >> 32 * half & 0xffffffff, 4);
	}
	driver_put(d, d->common + 20, 1 | 2 | 8, 1);
	assert_int_equal(driver_status(d) & 8, 8);
}

static void make_queue(struct driver *d, unsigned number)
{
	struct driver_queue *q = &d->queue[number];
	driver_put(d, d->common + 22, number, 2);
	uint16_t most = (uint16_t)driver_get(d, d->common + 24, 2);
	assert_int_not_equal(most, 0);
	*q = (struct driver_queue){.size = most < DRIVER_QUEUE_SIZE ? most : DRIVER_QUEUE_SIZE};
	q->desc = driver_alloc(d, 16u * q->size);
	q->avail = driver_alloc(d, 6u + 2u * q->size);
	q->used = driver_alloc(d, 6u + 8u * q->size);
	driver_put(d, d->common + 24, q->size, 2);
	/* As drivers do: two halves. */
	const uint64_t rings[3] = {q->desc, q->avail, q->used};
	for (unsigned i = 0; i < 3; i++) {
		driver_put(d, d->common + 32 + 8 * i, rings[i] & 0xffffffff, 4);
		driver_put(d, d->common + 36 + 8 * i, rings[i] >> 32, 4);
	}
	driver_put(d, d->common + 28, 1, 2);
	assert_int_equal(driver_get(d, d->common + 28, 2), 1);
}

void driver_ready(struct driver *d, unsigned queues)
{
	assert_true(driver_get(d, d->common + 18, 2) >= queues);
	for (unsigned i = 0; i < queues; i++)
		make_queue(d, i);
	driver_put(d, d->common + 20, 1 | 2 | 8 | 4, 1);
	assert_int_equal(driver_status(d), 1 | 2 | 8 | 4);
}

/* ---- memory and rings -------------------------------------------------------------------------------------------------- */

uint64_t driver_alloc(struct driver *d, size_t len)
{
	uint64_t gpa = (d->memory + 15) & ~15ull;
	d->memory = gpa + len;
	memset(driver_at(d, gpa, len), 0, len);
	return gpa;
}

void *driver_at(const struct driver *d, uint64_t gpa, size_t len)
{
	void *at = memory_at(&d->machine->ram, gpa, len);
	assert_non_null(at);
	return at;
}

void driver_put_desc(struct driver *d, unsigned queue, uint16_t number, uint64_t gpa, uint32_t len,
		     uint16_t flags, uint16_t next)
{
	uint8_t *at = driver_at(d, d->queue[queue].desc + 16u * number, 16);
	le64_put(at, gpa);
	le32_put(at + 8, len);
	le16_put(at + 12, flags);
	le16_put(at + 14, next);
}

void driver_offer(struct driver *d, unsigned queue, uint16_t head)
{
	struct driver_queue *q = &d->queue[queue];
	uint8_t *avail = driver_at(d, q->avail, 6u + 2u * q->size);
	le16_put(avail + 4 + 2u * (q->next_avail % q->size), head);
	q->next_avail++;
	__atomic_store_n((uint16_t *)(void *)(avail + 2), q->next_avail, __ATOMIC_SEQ_CST);
}

uint16_t driver_add(struct driver *d, unsigned queue, const struct driver_buffer *buffers, unsigned count)
{
	struct driver_queue *q = &d->queue[queue];
	uint16_t head = q->next_desc % q->size;
	for (unsigned i = 0; i < count; i++) {
		uint16_t number = q->next_desc++ % q->size;
		uint16_t flags =
		    (uint16_t)((i + 1 < count ? DESC_NEXT : 0) | (buffers[i].device_writes ? DESC_WRITE : 0));
		driver_put_desc(d, queue, number, buffers[i].gpa, buffers[i].len, flags,
				q->next_desc % q->size);
	}
	driver_offer(d, queue, head);
	return head;
}

void driver_kick(struct driver *d, unsigned queue)
{
	driver_put(d, d->common + 22, queue, 2);
	uint64_t off = driver_get(d, d->common + 30, 2);
	driver_put(d, d->notify + off * d->multiplier, queue, 2);
}

bool driver_idle(const struct driver *d, unsigned queue)
{
	const struct driver_queue *q = &d->queue[queue];
	const uint8_t *used = driver_at(d, q->used, 6u + 8u * q->size);
	return __atomic_load_n((const uint16_t *)(const void *)(used + 2), __ATOMIC_SEQ_CST) == q->next_used;
}

static bool patience(uint64_t began)
{
	const struct timespec moment = {.tv_nsec = 200000};
	nanosleep(&moment, NULL);
	return clock_mono_ns() - began < PATIENCE_MS * 1000000ull;
}

uint16_t driver_wait(struct driver *d, unsigned queue, uint32_t *len)
{
	struct driver_queue *q = &d->queue[queue];
	uint64_t began = clock_mono_ns();
	while (driver_idle(d, queue))
		if (!patience(began))
			fail_msg("queue %u of the device in slot %u gave nothing back", queue, d->slot);
	const uint8_t *used = driver_at(d, q->used, 6u + 8u * q->size);
	const uint8_t *entry = used + 4 + 8u * (q->next_used % q->size);
	q->next_used++;
	if (len)
		*len = le32_get(entry + 4);
	return (uint16_t)le32_get(entry);
}

void driver_wait_broken(const struct driver *d)
{
	uint64_t began = clock_mono_ns();
	while (!(driver_status(d) & VIRTIO_NEEDS_RESET))
		if (!patience(began))
			fail_msg("the device in slot %u does not say that it needs a reset", d->slot);
}

/* ---- interrupts ------------------------------------------------------------------------------------------------------------ */

static uint64_t msix_at(const struct driver *d, unsigned offset)
{
	unsigned at = next_capability(d, 0, CAP_MSIX);
	assert_int_not_equal(at, 0);
	uint32_t where = driver_config_get(d, at + offset, 4);
	return bar(d, where & 7) + (where & ~7u);
}

void driver_vectors(struct driver *d, unsigned queues)
{
	unsigned at = next_capability(d, 0, CAP_MSIX);
	assert_int_not_equal(at, 0);
	unsigned vectors = (driver_config_get(d, at + 2, 2) & 0x7ff) + 1;
	assert_true(vectors > queues);
	uint64_t table = msix_at(d, 4);
	for (unsigned i = 0; i < vectors; i++) {
		driver_put(d, table + 16 * i, 0xfee00000, 8);
		driver_put(d, table + 16 * i + 8, 0x40 + i, 4);
		driver_put(d, table + 16 * i + 12, 1, 4);
	}
	driver_config_put(d, at + 2, 0x8000, 2);
	driver_put(d, d->common + 16, 0, 2);
	for (unsigned i = 0; i < queues; i++) {
		driver_put(d, d->common + 22, i, 2);
		driver_put(d, d->common + 26, i + 1, 2);
		assert_int_equal(driver_get(d, d->common + 26, 2), i + 1);
	}
}

bool driver_pending(struct driver *d, unsigned vector)
{
	uint64_t bits = driver_get(d, msix_at(d, 8) + vector / 64 * 8, 8);
	if (!(bits >> vector % 64 & 1))
		return false;
	/* Unmasked for a moment: it is sent, to a local APIC that ignores it, and pending no more. */
	uint64_t mask = msix_at(d, 4) + 16 * vector + 12;
	driver_put(d, mask, 0, 4);
	driver_put(d, mask, 1, 4);
	return true;
}
