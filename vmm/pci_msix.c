/* pci_msix.c: message-signalled interrupts: the table, the pending bits, and the eventfds behind them.
 *
 * A vector's eventfd is attached to KVM (irqfd) from its first message on.  While the vector or the function is
 * masked, nobody writes to the eventfd: a signal sets the pending bit, and unmasking sends it. */
#include "vmm/pci.h"
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

enum {
	CAPABILITY_MSIX = 0x11,
	CAPABILITY_LEN = 12,
	CONTROL = 2,
	CONTROL_ENABLE = 0x8000,
	CONTROL_MASK_ALL = 0x4000,
	TABLE = 4,
	PENDING = 8,
	ENTRY = 16,
	ENTRY_MASKED = 1,
	BAR_BYTES = 4096,
	PENDING_AT = 3072, /* behind 192 entries */
};

int pci_device_msix(struct pci_device *device, struct irq *irq, unsigned bar, unsigned vectors,
		    struct err *err)
{
	struct pci_msix *msix = &device->msix;
	if (vectors == 0 || vectors > PCI_VECTORS_MAX)
		return err_set(err, ERR_USAGE, "a device has at most %d interrupt vectors, not %u",
			       PCI_VECTORS_MAX, vectors);
	msix->vector = calloc(vectors, sizeof(msix->vector[0]));
	if (!msix->vector)
		return err_sys(err, "cannot make %u interrupt vectors", vectors);
	msix->count = vectors;
	msix->bar = bar;
	for (unsigned i = 0; i < vectors; i++)
		msix->vector[i].event_fd = -1;
	for (unsigned i = 0; i < vectors; i++) {
		struct pci_vector *vector = &msix->vector[i];
		vector->masked = true;
		vector->event_fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
		if (vector->event_fd < 0)
			return err_sys(err, "cannot make an interrupt vector");
		if (irq_new_message(irq, &vector->gsi, err))
			return -1;
	}
	pci_device_bar(device, bar, BAR_BYTES);
	unsigned at = msix->capability = pci_device_capability(device, CAPABILITY_MSIX, CAPABILITY_LEN);
	le16_put(device->config + at + CONTROL, (uint16_t)(vectors - 1));
	le16_put(device->writable + at + CONTROL, CONTROL_ENABLE | CONTROL_MASK_ALL);
	le32_put(device->config + at + TABLE, bar);
	le32_put(device->config + at + PENDING, PENDING_AT | bar);
	return 0;
}

void pci_msix_destroy(struct pci_device *device)
{
	struct pci_msix *msix = &device->msix;
	for (unsigned i = 0; i < msix->count; i++) {
		struct pci_vector *vector = &msix->vector[i];
		if (vector->attached)
			irq_detach(device->bus->irq, vector->gsi, vector->event_fd);
		if (vector->event_fd >= 0)
			close(vector->event_fd);
	}
	free(msix->vector);
	msix->vector = NULL;
	msix->count = 0;
}

static uint16_t control(const struct pci_device *device)
{
	uint16_t word;
	/* Read by device threads while a vCPU writes it; it is aligned, so they see the one or the other. */
	word = __atomic_load_n(
	    (const uint16_t *)(const void *)(device->config + device->msix.capability + CONTROL),
	    __ATOMIC_ACQUIRE);
	return word;
}

bool pci_msix_enabled(const struct pci_device *device)
{
	return device->msix.count && control(device) & CONTROL_ENABLE;
}

static bool function_masked(const struct pci_device *device)
{
	return (control(device) & (CONTROL_ENABLE | CONTROL_MASK_ALL)) != CONTROL_ENABLE;
}

/* Under msix.lock, the vector unmasked and the function too. */
static void send(struct pci_device *device, struct pci_vector *vector)
{
	struct irq *irq = device->bus->irq;
	/* What KVM does not take as a route is a message that reaches nobody, as on a real bus. */
	if (irq_route(irq, vector->gsi, vector->address, vector->data))
		return;
	if (!vector->attached)
		vector->attached = !irq_attach(irq, vector->gsi, vector->event_fd);
	(void)eventfd_write(vector->event_fd, 1);
}

static void send_pending(struct pci_device *device, struct pci_vector *vector)
{
	if (!vector->pending || vector->masked || function_masked(device))
		return;
	vector->pending = false;
	send(device, vector);
}

void pci_signal(struct pci_device *device, unsigned number)
{
	struct pci_msix *msix = &device->msix;
	if (number >= msix->count)
		return;
	struct pci_vector *vector = &msix->vector[number];
	pthread_mutex_lock(&msix->lock);
	if (vector->masked || function_masked(device))
		vector->pending = true;
	else
		send(device, vector);
	pthread_mutex_unlock(&msix->lock);
}

void pci_msix_changed(struct pci_device *device)
{
	struct pci_msix *msix = &device->msix;
	pthread_mutex_lock(&msix->lock);
	for (unsigned i = 0; i < msix->count; i++)
		send_pending(device, &msix->vector[i]);
	pthread_mutex_unlock(&msix->lock);
}

/* ---- the guest's view ---------------------------------------------------------------------------------------- */

static void entry_get(const struct pci_vector *vector, uint8_t entry[ENTRY])
{
	le64_put(entry, vector->address);
	le32_put(entry + 8, vector->data);
	le32_put(entry + 12, vector->masked ? ENTRY_MASKED : 0);
}

static void entry_set(struct pci_device *device, struct pci_vector *vector, const uint8_t entry[ENTRY])
{
	vector->address = le64_get(entry) & ~3ull;
	vector->data = le32_get(entry + 8);
	vector->masked = le32_get(entry + 12) & ENTRY_MASKED;
	send_pending(device, vector);
}

static uint8_t pending_byte(const struct pci_msix *msix, uint32_t at)
{
	uint8_t bits = 0;
	for (unsigned i = 0; i < 8 && at * 8 + i < msix->count; i++)
		bits |= (uint8_t)((unsigned)msix->vector[at * 8 + i].pending << i);
	return bits;
}

void pci_msix_access(struct pci_device *device, uint32_t offset, void *data, unsigned len, bool write)
{
	struct pci_msix *msix = &device->msix;
	uint8_t entry[ENTRY], *bytes = data;
	unsigned number = offset / ENTRY, within = offset % ENTRY;
	pthread_mutex_lock(&msix->lock);
	if (number < msix->count && within + len <= ENTRY) {
		entry_get(&msix->vector[number], entry);
		if (write) {
			memcpy(entry + within, bytes, len);
			entry_set(device, &msix->vector[number], entry);
		} else {
			memcpy(bytes, entry + within, len);
		}
	} else if (!write) {
		for (unsigned i = 0; i < len; i++)
			bytes[i] = offset + i >= PENDING_AT ? pending_byte(msix, offset + i - PENDING_AT) : 0;
	}
	pthread_mutex_unlock(&msix->lock);
}

void pci_msix_reset(struct pci_device *device)
{
	struct pci_msix *msix = &device->msix;
	if (!msix->count)
		return;
	pthread_mutex_lock(&msix->lock);
	le16_put(device->config + msix->capability + CONTROL, (uint16_t)(msix->count - 1));
	for (unsigned i = 0; i < msix->count; i++) {
		struct pci_vector *vector = &msix->vector[i];
		vector->address = 0;
		vector->data = 0;
		vector->masked = true;
		vector->pending = false;
	}
	pthread_mutex_unlock(&msix->lock);
}

/* KVM may still be about to deliver what was written to an eventfd.  Taking it off waits for that, so that the local APIC
 * has it before that is saved. */
static void settle(struct pci_device *device, struct pci_vector *vector)
{
	if (vector->attached)
		irq_detach(device->bus->irq, vector->gsi, vector->event_fd);
	vector->attached = false;
}

void pci_msix_settle(struct pci_device *device)
{
	struct pci_msix *msix = &device->msix;
	pthread_mutex_lock(&msix->lock);
	for (unsigned i = 0; i < msix->count; i++)
		settle(device, &msix->vector[i]);
	pthread_mutex_unlock(&msix->lock);
}

void pci_msix_save(struct pci_device *device, struct buf *out)
{
	struct pci_msix *msix = &device->msix;
	pthread_mutex_lock(&msix->lock);
	buf_put_u16(out, (uint16_t)msix->count);
	for (unsigned i = 0; i < msix->count; i++) {
		const struct pci_vector *vector = &msix->vector[i];
		buf_put_u64(out, vector->address);
		buf_put_u32(out, vector->data);
		buf_put_u8(out, (uint8_t)(vector->masked | vector->pending << 1));
	}
	pthread_mutex_unlock(&msix->lock);
}

int pci_msix_load(struct pci_device *device, struct reader *reader, struct err *err)
{
	struct pci_msix *msix = &device->msix;
	unsigned count = reader_u16(reader);
	if (reader->bad || count != msix->count)
		return err_set(err, ERR_INPUT,
			       "machine state: the device in slot %u has %u interrupt vectors, not %u",
			       device->slot, msix->count, count);
	pthread_mutex_lock(&msix->lock);
	for (unsigned i = 0; i < count; i++) {
		struct pci_vector *vector = &msix->vector[i];
		vector->address = reader_u64(reader) & ~3ull;
		vector->data = reader_u32(reader);
		uint8_t flags = reader_u8(reader);
		vector->masked = flags & 1;
		vector->pending = flags & 2;
	}
	pthread_mutex_unlock(&msix->lock);
	return reader->bad
		   ? err_set(err, ERR_INPUT, "machine state: the interrupt vectors of slot %u are cut short",
			     device->slot)
		   : 0;
}
