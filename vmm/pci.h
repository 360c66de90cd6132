/* pci.h: the PCI bus: configuration space by mechanism 1 (ports 0xcf8 and 0xcfc), memory BARs, capabilities, MSI-X.
 *
 * One bus, functions 0 only.  A device has one slot for life, which its definition names, so that a machine looks the
 * same wherever it runs; slot 0 is the host bridge.  All BARs are 32-bit memory BARs.  pci_assign gives them their
 * addresses as firmware would, for guests that boot without one.  INTA of slot s is wired to interrupt
 * PCI_INTX_FIRST + s % PCI_INTX_LINES, for the 8259s and the IOAPIC alike.
 * Sources: PCI Local Bus Specification 3.0, chapter 6.
 *
 * Threads: pci_add and pci_assign before the machine runs; the guest's accesses come from vCPU threads, several at once.
 * Locks: the bus's, then the device's own; neither is held while another device is called. */
#ifndef VMM_PCI_H
#define VMM_PCI_H

#include "common/buf.h"
#include "common/err.h"
#include "vmm/irq.h"
#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
	PCI_SLOTS = 32,
	PCI_BARS = 2,
	PCI_CONFIG = 256,
	PCI_INTX_FIRST = 10,
	PCI_INTX_LINES = 2,
	PCI_VECTORS_MAX = 129, /* of one device */
	PCI_STATE_VERSION = 1,
};
#define PCI_HOLE_FIRST 0xe0000000u /* where BARs are put; RAM ends at 0xc0000000 at the latest */
#define PCI_HOLE_LAST  0xfebfffffu

/* Offsets in configuration space. */
enum {
	PCI_VENDOR = 0x00,
	PCI_DEVICE = 0x02,
	PCI_COMMAND = 0x04,
	PCI_STATUS = 0x06,
	PCI_REVISION = 0x08,
	PCI_CLASS = 0x09, /* three bytes: interface, sub-class, class */
	PCI_HEADER_TYPE = 0x0e,
	PCI_BAR0 = 0x10,
	PCI_SUBSYSTEM_VENDOR = 0x2c,
	PCI_SUBSYSTEM = 0x2e,
	PCI_CAPABILITIES = 0x34,
	PCI_INT_LINE = 0x3c,
	PCI_INT_PIN = 0x3d,
	PCI_FIRST_CAPABILITY = 0x40,

	PCI_COMMAND_IO = 1,
	PCI_COMMAND_MEMORY = 2,
	PCI_COMMAND_MASTER = 4,
	PCI_COMMAND_INTX_OFF = 0x400,
	PCI_STATUS_INTX = 8,
	PCI_STATUS_CAPABILITIES = 16,
};

struct pci_device;

struct pci_ops {
	/* The guest reads or writes len (1, 2, 4 or 8) bytes of a BAR, all within it; not of the MSI-X part. */
	void (*read)(struct pci_device *device, unsigned bar, uint32_t offset, void *data, unsigned len);
	void (*write)(struct pci_device *device, unsigned bar, uint32_t offset, const void *data,
		      unsigned len);
	/* A BAR is decoded at gpa now; gpa 0: nowhere.  The bus's lock is held.  May be NULL. */
	void (*mapped)(struct pci_device *device, unsigned bar, uint64_t gpa);
	/* The guest is about to read, or has written, len bytes of configuration space at offset, beside what the bus
	 * itself cares for.  The bus's lock is held.  May be NULL. */
	void (*config_read)(struct pci_device *device, unsigned offset, unsigned len);
	void (*config_written)(struct pci_device *device, unsigned offset, unsigned len);
};

struct pci_vector {
	uint64_t address;
	uint32_t data;
	bool masked, pending;
	int event_fd; /* -1: not made */
	unsigned gsi;
	bool attached;
};

struct pci_msix {
	unsigned count; /* 0: the device has no MSI-X */
	unsigned capability;
	unsigned bar; /* table at 0, pending bits behind it */
	pthread_mutex_t lock;
	struct pci_vector *vector;
};

struct pci_bar {
	uint32_t bytes; /* 0: not there; else a power of two, at least 4096 */
	uint64_t gpa;   /* where it is decoded, or 0 */
};

struct pci_bus;

struct pci_device {
	const struct pci_ops *ops;
	struct pci_bus *bus;
	unsigned slot;
	uint8_t config[PCI_CONFIG];
	uint8_t writable[PCI_CONFIG]; /* bits that the guest may change */
	unsigned next_capability;     /* where the next one goes */
	unsigned last_capability;     /* whose link that is */
	struct pci_bar bar[PCI_BARS];
	struct pci_msix msix;
	bool intx; /* it wants its interrupt line up; under bus->lines */
};

struct pci_bus {
	const struct kvm *kvm;
	struct irq *irq;
	pthread_mutex_t lock; /* of all configuration spaces and of where BARs are */
	uint32_t address;     /* port 0xcf8 */
	struct pci_device *device[PCI_SLOTS];
	struct pci_device bridge;
	pthread_mutex_t lines; /* innermost */
};

/* pci_init: a bus with its host bridge; keeps kvm and irq.  pci_destroy: of the bus; its devices are their makers'. */
void pci_init(struct pci_bus *bus, const struct kvm *kvm, struct irq *irq);
void pci_destroy(struct pci_bus *bus);

/* What a device is made of, in this order: pci_device_init zeroes it and sets its identity (subsystem ids too);
 * pci_device_bar; pci_device_capability returns the offset of `len` bytes, id and link included, of which the guest may
 * change those bits that the maker then sets in device->writable; pci_device_msix: vectors in a BAR of their own;
 * pci_add: into its slot.  pci_device_destroy: what these made; its slot is empty. */
void pci_device_init(struct pci_device *device, const struct pci_ops *ops, uint16_t vendor, uint16_t id,
		     uint16_t subsystem, uint32_t class_code);
void pci_device_bar(struct pci_device *device, unsigned bar, uint32_t bytes);
unsigned pci_device_capability(struct pci_device *device, uint8_t id, unsigned len);
int pci_device_msix(struct pci_device *device, struct irq *irq, unsigned bar, unsigned vectors,
		    struct err *err);
int pci_add(struct pci_bus *bus, struct pci_device *device, unsigned slot, struct err *err);
void pci_device_destroy(struct pci_device *device);

/* pci_assign: addresses for all BARs, interrupt lines, and decoding on. */
int pci_assign(struct pci_bus *bus, struct err *err);
/* pci_reset: configuration space as after power-on, BARs decoded nowhere, interrupts off.  The machine is paused. */
void pci_reset(struct pci_bus *bus);

/* pci_port_read, pci_port_write: ports 0xcf8 to 0xcff, size 1, 2 or 4. */
uint32_t pci_port_read(struct pci_bus *bus, uint16_t port, unsigned size);
void pci_port_write(struct pci_bus *bus, uint16_t port, unsigned size, uint32_t value);
/* pci_memory_access: the guest's access to an address that is not RAM; false when no BAR is there. */
bool pci_memory_access(struct pci_bus *bus, uint64_t gpa, void *data, unsigned len, bool write);

/* pci_signal: the device's vector `number` fires: sent, or kept pending while it is masked.  Only while pci_msix_enabled.
 * pci_line: the level that the device wants on INTA.  Any thread. */
bool pci_msix_enabled(const struct pci_device *device);
void pci_signal(struct pci_device *device, unsigned number);
void pci_line(struct pci_device *device, bool level);

/* pci_msix_settle: every message sent so far has reached its local APIC; the machine stands still.  Before these are saved. */
void pci_msix_settle(struct pci_device *device);

/* What the guest set, of the bus with its bridge, and of one device: configuration space and vectors.  load: data is not
 * trusted; 0, or -1 with *err.  Decodes BARs and routes vectors. */
void pci_bus_save(struct pci_bus *bus, struct buf *out);
int pci_bus_load(struct pci_bus *bus, const void *data, size_t len, struct err *err);
void pci_device_save(struct pci_device *device, struct buf *out);
int pci_device_load(struct pci_device *device, struct reader *reader, struct err *err);

/* For pci.c and pci_msix.c. */
void pci_msix_access(struct pci_device *device, uint32_t offset, void *data, unsigned len, bool write);
void pci_msix_changed(struct pci_device *device); /* the capability's control word was written */
void pci_msix_reset(struct pci_device *device);
void pci_msix_save(struct pci_device *device, struct buf *out);
int pci_msix_load(struct pci_device *device, struct reader *reader, struct err *err);
void pci_msix_destroy(struct pci_device *device);

#endif
