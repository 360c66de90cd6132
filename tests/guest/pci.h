/* PCI bus 0 by configuration mechanism 1. */
#ifndef GUEST_PCI_H
#define GUEST_PCI_H

#include <stdbool.h>
#include <stdint.h>

#define PCI_BARS 6

struct pci_device {
	unsigned slot;
	uint32_t bar[PCI_BARS]; /* addresses, all below 4 GiB; 0: none */
};

/* Finds the first device of this vendor and device id, gives its BARs addresses where nobody has, and switches
 * its memory and bus mastering on.  Returns false where there is none. */
bool pci_find(struct pci_device *device, uint16_t vendor, uint16_t id);

/* Configuration space of the device; pci_read32 at a multiple of 4. */
uint32_t pci_read32(const struct pci_device *device, unsigned offset);
uint8_t pci_read8(const struct pci_device *device, unsigned offset);

/* Message 0 of the device's MSI-X table becomes VECTOR_WAKE at CPU 0, and the table is switched on.  Stops the machine
 * where the device has none. */
void pci_wake(struct pci_device *device);

#endif
