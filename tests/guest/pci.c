#include "pci.h"
#include "arch.h"
#include "stop.h"
#include <stddef.h>

#define CONFIG_ADDRESS    0xcf8
#define CONFIG_DATA       0xcfc
#define CONFIG_ENABLE     0x80000000u
#define SLOTS             32

#define CAPABILITY_MSIX   0x11
#define MSIX_ENABLE       (1u << 31)
#define MESSAGE_ADDRESS   0xfee00000u

#define OFFSET_CAPABILITY 0x34
#define OFFSET_ID         0x00
#define OFFSET_COMMAND    0x04
#define OFFSET_BAR        0x10
#define COMMAND_MEMORY    2u
#define COMMAND_MASTER    4u
#define BAR_IO            1u
#define BAR_TYPE          6u
#define BAR_64            4u

/* Where BARs go that have no address yet: free on any PC with no more than 3 GiB of RAM below 4 GiB. */
#define WINDOW_START 0xe0000000u

static uint32_t next_address = WINDOW_START;

static void select(const struct pci_device *device, unsigned offset)
{
	outl(CONFIG_ADDRESS, CONFIG_ENABLE | device->slot << 11 | (offset & 0xfc));
}

uint32_t pci_read32(const struct pci_device *device, unsigned offset)
{
	select(device, offset);
	return inl(CONFIG_DATA);
}

uint8_t pci_read8(const struct pci_device *device, unsigned offset)
{
	return (uint8_t)(pci_read32(device, offset) >> 8 * (offset & 3));
}

static void write32(const struct pci_device *device, unsigned offset, uint32_t value)
{
	select(device, offset);
	outl(CONFIG_DATA, value);
}

/* Asks how large the BAR is and gives it the next address that fits. */
static uint32_t place(const struct pci_device *device, unsigned offset)
{
	uint32_t size;

	write32(device, offset, 0xffffffff);
	size = -(pci_read32(device, offset) & ~0xfu);
	next_address = (next_address + size - 1) & -size;
	write32(device, offset, next_address);
	next_address += size;
	return next_address - size;
}

/* Firmware that set the device up has switched its memory on; else all of it is done here. */
static void set_up(struct pci_device *device)
{
	uint32_t command = pci_read32(device, OFFSET_COMMAND) & 0xffff;
	bool placed = command & COMMAND_MEMORY;

	for (unsigned i = 0; i < PCI_BARS; i++) {
		unsigned offset = OFFSET_BAR + 4 * i;
		uint32_t value = pci_read32(device, offset);

		device->bar[i] = 0;
		if (value & BAR_IO)
			continue;
		if (placed) {
			device->bar[i] = value & ~0xfu;
		} else {
			write32(device, offset, 0xffffffff);
			if (pci_read32(device, offset) & ~0xfu)
				device->bar[i] = place(device, offset);
		}
		if ((value & BAR_TYPE) == BAR_64 && ++i < PCI_BARS) {
			if (!placed)
				write32(device, offset + 4, 0);
			device->bar[i] = 0;
		}
	}
	write32(device, OFFSET_COMMAND, command | COMMAND_MEMORY | COMMAND_MASTER);
}

static unsigned capability(const struct pci_device *device, uint8_t id)
{
	unsigned at = pci_read8(device, OFFSET_CAPABILITY);

	while (at && pci_read8(device, at) != id)
		at = pci_read8(device, at + 1);
	return at;
}

void pci_wake(struct pci_device *device)
{
	unsigned at = capability(device, CAPABILITY_MSIX);
	uint32_t table = at ? pci_read32(device, at + 4) : 0;
	unsigned bar = table & 7;
	volatile uint32_t *entry;

	if (!at || bar >= PCI_BARS || !device->bar[bar])
		stop_error("the device has no MSI-X", NULL);
	entry = (volatile uint32_t *)((uintptr_t)device->bar[bar] + (table & ~7u));
	entry[0] = MESSAGE_ADDRESS;
	entry[1] = 0;
	entry[2] = VECTOR_WAKE;
	entry[3] = 0;
	write32(device, at, pci_read32(device, at) | MSIX_ENABLE);
}

bool pci_find(struct pci_device *device, uint16_t vendor, uint16_t id)
{
	for (device->slot = 0; device->slot < SLOTS; device->slot++) {
		if (pci_read32(device, OFFSET_ID) == ((uint32_t)id << 16 | vendor)) {
			set_up(device);
			return true;
		}
	}
	return false;
}
