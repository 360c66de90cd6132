/* pci.c: configuration space, and which device answers at an address. */
#include "vmm/pci.h"
#include <string.h>

enum {
	ADDRESS_PORT = 0xcf8,
	DATA_PORT = 0xcfc,
	ADDRESS_ENABLE = 0x80000000u,
	ADDRESS_MASK = 0x80fffffcu,
	/* Of a vendor whose numbers virtual machines use: a bridge to a PCI bus, of which firmware and kernels know
	 * nothing in particular. */
	BRIDGE_VENDOR = 0x1b36,
	BRIDGE_DEVICE = 0x0008,
	BRIDGE_CLASS = 0x060000,
	SUBSYSTEM_VENDOR = 0x1af4,
};

/* ---- making devices -------------------------------------------------------------------------------------- */

static const struct pci_ops bridge_ops; /* it has no registers beside its configuration space */

void pci_device_init(struct pci_device *device, const struct pci_ops *ops, uint16_t vendor, uint16_t id,
		     uint16_t subsystem, uint32_t class_code)
{
	memset(device, 0, sizeof(*device));
	device->ops = ops;
	uint8_t *config = device->config;
	le16_put(config + PCI_VENDOR, vendor);
	le16_put(config + PCI_DEVICE, id);
	config[PCI_REVISION] = 1;
	config[PCI_CLASS] = (uint8_t)class_code;
	le16_put(config + PCI_CLASS + 1, (uint16_t)(class_code >> 8));
	le16_put(config + PCI_SUBSYSTEM_VENDOR, SUBSYSTEM_VENDOR);
	le16_put(config + PCI_SUBSYSTEM, subsystem);
	le16_put(device->writable + PCI_COMMAND,
		 PCI_COMMAND_MEMORY | PCI_COMMAND_MASTER | PCI_COMMAND_INTX_OFF);
	device->writable[PCI_INT_LINE] = 0xff;
	device->next_capability = PCI_FIRST_CAPABILITY;
	pthread_mutex_init(&device->msix.lock, NULL);
}

void pci_device_bar(struct pci_device *device, unsigned bar, uint32_t bytes)
{
	device->bar[bar].bytes = bytes;
	le32_put(device->writable + PCI_BAR0 + 4 * bar, ~(bytes - 1));
}

unsigned pci_device_capability(struct pci_device *device, uint8_t id, unsigned len)
{
	unsigned at = device->next_capability;
	device->config[at] = id;
	device->config[device->last_capability ? device->last_capability + 1 : PCI_CAPABILITIES] =
	    (uint8_t)at;
	le16_put(device->config + PCI_STATUS, PCI_STATUS_CAPABILITIES);
	device->last_capability = at;
	device->next_capability = (at + len + 3) & ~3u;
	return at;
}

int pci_add(struct pci_bus *bus, struct pci_device *device, unsigned slot, struct err *err)
{
	if (slot >= PCI_SLOTS || bus->device[slot])
		return err_set(err, ERR_USAGE, "PCI slot %u is %s; slots go from 1 to %d, one device each",
			       slot, slot < PCI_SLOTS ? "taken" : "not there", PCI_SLOTS - 1);
	device->bus = bus;
	device->slot = slot;
	bus->device[slot] = device;
	if (device->msix.count > 0 || device->bar[0].bytes > 0)
		device->config[PCI_INT_PIN] = 1;
	return 0;
}

void pci_device_destroy(struct pci_device *device)
{
	if (device->bus)
		device->bus->device[device->slot] = NULL;
	pci_msix_destroy(device);
	pthread_mutex_destroy(&device->msix.lock);
}

void pci_init(struct pci_bus *bus, const struct kvm *kvm, struct irq *irq)
{
	memset(bus, 0, sizeof(*bus));
	bus->kvm = kvm;
	bus->irq = irq;
	pthread_mutex_init(&bus->lock, NULL);
	pthread_mutex_init(&bus->lines, NULL);
	pci_device_init(&bus->bridge, &bridge_ops, BRIDGE_VENDOR, BRIDGE_DEVICE, 0x1100, BRIDGE_CLASS);
	bus->bridge.bus = bus;
	bus->device[0] = &bus->bridge;
}

void pci_destroy(struct pci_bus *bus)
{
	pci_device_destroy(&bus->bridge);
	pthread_mutex_destroy(&bus->lines);
	pthread_mutex_destroy(&bus->lock);
}

/* ---- where BARs are -------------------------------------------------------------------------------------- */

static void map_bar(struct pci_device *device, unsigned bar)
{
	struct pci_bar *b = &device->bar[bar];
	uint32_t base = le32_get(device->config + PCI_BAR0 + 4 * bar);
	bool on = b->bytes && le16_get(device->config + PCI_COMMAND) & PCI_COMMAND_MEMORY;
	/* All ones is what a guest writes to learn the size; at 0 there is RAM. */
	uint64_t gpa = on && base && (uint64_t)base + b->bytes <= 0xfffff000u ? base : 0;
	if (gpa == b->gpa)
		return;
	__atomic_store_n(&b->gpa, gpa, __ATOMIC_RELEASE);
	if (device->ops->mapped)
		device->ops->mapped(device, bar, gpa);
}

static void map_bars(struct pci_device *device)
{
	for (unsigned i = 0; i < PCI_BARS; i++)
		map_bar(device, i);
}

int pci_assign(struct pci_bus *bus, struct err *err)
{
	uint64_t next = PCI_HOLE_FIRST;
	for (unsigned slot = 0; slot < PCI_SLOTS; slot++) {
		struct pci_device *device = bus->device[slot];
		if (!device)
			continue;
		for (unsigned i = 0; i < PCI_BARS; i++) {
			uint32_t bytes = device->bar[i].bytes;
			if (!bytes)
				continue;
			next = (next + bytes - 1) / bytes * bytes;
			if (next + bytes - 1 > PCI_HOLE_LAST)
				return err_set(err, ERR_USAGE,
					       "the devices' registers do not fit below 4 GiB");
			le32_put(device->config + PCI_BAR0 + 4 * i, (uint32_t)next);
			next += bytes;
		}
		if (device->config[PCI_INT_PIN])
			device->config[PCI_INT_LINE] = (uint8_t)(PCI_INTX_FIRST + slot % PCI_INTX_LINES);
		device->config[PCI_COMMAND] |= PCI_COMMAND_MEMORY;
		map_bars(device);
	}
	return 0;
}

/* find: the device whose BAR has gpa, and where in it.  A BAR that moves meanwhile was at either place. */
static struct pci_device *find(const struct pci_bus *bus, uint64_t gpa, unsigned len, unsigned *bar,
			       uint32_t *offset)
{
	for (unsigned slot = 1; slot < PCI_SLOTS; slot++) {
		struct pci_device *device = bus->device[slot];
		for (unsigned i = 0; device && i < PCI_BARS; i++) {
			uint64_t base = __atomic_load_n(&device->bar[i].gpa, __ATOMIC_ACQUIRE);
			if (!base || gpa < base || gpa - base >= device->bar[i].bytes ||
			    device->bar[i].bytes - (gpa - base) < len)
				continue;
			*bar = i;
			*offset = (uint32_t)(gpa - base);
			return device;
		}
	}
	return NULL;
}

bool pci_memory_access(struct pci_bus *bus, uint64_t gpa, void *data, unsigned len, bool write)
{
	unsigned bar;
	uint32_t offset;
	struct pci_device *device = find(bus, gpa, len, &bar, &offset);
	if (!device)
		return false;
	if (device->msix.count && bar == device->msix.bar)
		pci_msix_access(device, offset, data, len, write);
	else if (write)
		device->ops->write(device, bar, offset, data, len);
	else
		device->ops->read(device, bar, offset, data, len);
	return true;
}

/* ---- configuration space ----------------------------------------------------------------------------------- */

/* The device that the address port names, or NULL; the offset of its register. */
static struct pci_device *addressed(const struct pci_bus *bus, unsigned *offset)
{
	uint32_t address = bus->address;
	*offset = address & 0xfc;
	/* Bus 0, function 0. */
	if (!(address & ADDRESS_ENABLE) || address & 0x00ff0700)
		return NULL;
	return bus->device[address >> 11 & 0x1f];
}

static bool touches(unsigned offset, unsigned len, unsigned first, unsigned bytes)
{
	return offset < first + bytes && first < offset + len;
}

static void config_write(struct pci_device *device, unsigned offset, unsigned len, uint32_t value)
{
	for (unsigned i = 0; i < len; i++) {
		uint8_t mask = device->writable[offset + i], *at = &device->config[offset + i];
		*at = (uint8_t)((*at & ~mask) | ((value >> 8 * i) & mask));
	}
	if (touches(offset, len, PCI_COMMAND, 2) || touches(offset, len, PCI_BAR0, 4 * PCI_BARS))
		map_bars(device);
	if (touches(offset, len, PCI_COMMAND, 2))
		pci_line(device, device->intx);
	if (device->msix.count && touches(offset, len, device->msix.capability + 2, 2))
		pci_msix_changed(device);
	if (device->ops->config_written)
		device->ops->config_written(device, offset, len);
}

static uint32_t config_read(struct pci_device *device, unsigned offset, unsigned len)
{
	uint8_t bytes[4] = {0};
	if (device->ops->config_read)
		device->ops->config_read(device, offset, len);
	memcpy(bytes, device->config + offset, len);
	if (touches(offset, len, PCI_STATUS, 1) && __atomic_load_n(&device->intx, __ATOMIC_RELAXED))
		bytes[PCI_STATUS - offset] |= PCI_STATUS_INTX;
	return le32_get(bytes);
}

uint32_t pci_port_read(struct pci_bus *bus, uint16_t port, unsigned size)
{
	uint32_t value = ~0u;
	unsigned offset, within = port % 4;
	pthread_mutex_lock(&bus->lock);
	if (port >= DATA_PORT) {
		struct pci_device *device = addressed(bus, &offset);
		if (device && within + size <= 4)
			value = config_read(device, offset + within, size);
	} else if (port == ADDRESS_PORT && size == 4) {
		value = bus->address;
	}
	pthread_mutex_unlock(&bus->lock);
	return value;
}

void pci_port_write(struct pci_bus *bus, uint16_t port, unsigned size, uint32_t value)
{
	unsigned offset, within = port % 4;
	pthread_mutex_lock(&bus->lock);
	if (port >= DATA_PORT) {
		struct pci_device *device = addressed(bus, &offset);
		if (device && within + size <= 4)
			config_write(device, offset + within, size, value);
	} else if (port == ADDRESS_PORT && size == 4) {
		bus->address = value & ADDRESS_MASK;
	}
	pthread_mutex_unlock(&bus->lock);
}

/* ---- interrupt lines --------------------------------------------------------------------------------------- */

static bool wants_line(const struct pci_device *device)
{
	return device->intx && !(le16_get(device->config + PCI_COMMAND) & PCI_COMMAND_INTX_OFF);
}

void pci_line(struct pci_device *device, bool level)
{
	struct pci_bus *bus = device->bus;
	unsigned line = device->slot % PCI_INTX_LINES;
	bool up = false;
	pthread_mutex_lock(&bus->lines);
	__atomic_store_n(&device->intx, level, __ATOMIC_RELAXED);
	/* The line is shared: it is up as long as anybody on it wants it. */
	for (unsigned slot = line; slot < PCI_SLOTS; slot += PCI_INTX_LINES)
		up = up || (bus->device[slot] && wants_line(bus->device[slot]));
	kvm_irq_line(bus->kvm, PCI_INTX_FIRST + line, up);
	pthread_mutex_unlock(&bus->lines);
}

/* ---- reset, save, load --------------------------------------------------------------------------------------- */

static void reset_device(struct pci_device *device)
{
	uint8_t *config = device->config;
	/* Capabilities' own registers are their devices' to reset; what is common is done here. */
	le16_put(config + PCI_COMMAND, 0);
	config[PCI_INT_LINE] = 0;
	memset(config + PCI_BAR0, 0, 4 * PCI_BARS);
	map_bars(device);
	pci_msix_reset(device);
	pci_line(device, false);
}

void pci_reset(struct pci_bus *bus)
{
	pthread_mutex_lock(&bus->lock);
	bus->address = 0;
	for (unsigned slot = 0; slot < PCI_SLOTS; slot++)
		if (bus->device[slot])
			reset_device(bus->device[slot]);
	pthread_mutex_unlock(&bus->lock);
}

void pci_device_save(struct pci_device *device, struct buf *out)
{
	pthread_mutex_lock(&device->bus->lock);
	buf_put_u16(out, le16_get(device->config + PCI_VENDOR));
	buf_put_u16(out, le16_get(device->config + PCI_DEVICE));
	buf_put(out, device->config, PCI_CONFIG);
	buf_put_u8(out, device->intx);
	pthread_mutex_unlock(&device->bus->lock);
	pci_msix_save(device, out);
}

int pci_device_load(struct pci_device *device, struct reader *reader, struct err *err)
{
	uint16_t vendor = reader_u16(reader), id = reader_u16(reader);
	const uint8_t *config = reader_bytes(reader, PCI_CONFIG);
	bool intx = reader_u8(reader) != 0;
	if (reader->bad)
		return err_set(err, ERR_INPUT, "machine state: the PCI device in slot %u is cut short",
			       device->slot);
	if (vendor != le16_get(device->config + PCI_VENDOR) || id != le16_get(device->config + PCI_DEVICE))
		return err_set(err, ERR_INPUT,
			       "machine state: slot %u holds PCI device %04x:%04x, not %04x:%04x",
			       device->slot, vendor, id, le16_get(device->config + PCI_VENDOR),
			       le16_get(device->config + PCI_DEVICE));
	pthread_mutex_lock(&device->bus->lock);
	/* What a guest may change, and nothing else. */
	for (unsigned i = 0; i < PCI_CONFIG; i++)
		device->config[i] =
		    (uint8_t)((device->config[i] & ~device->writable[i]) | (config[i] & device->writable[i]));
	map_bars(device);
	pthread_mutex_unlock(&device->bus->lock);
	if (pci_msix_load(device, reader, err))
		return -1;
	if (device->msix.count)
		pci_msix_changed(device);
	pci_line(device, intx);
	return 0;
}

void pci_bus_save(struct pci_bus *bus, struct buf *out)
{
	buf_put_u32(out, bus->address);
	pci_device_save(&bus->bridge, out);
}

int pci_bus_load(struct pci_bus *bus, const void *data, size_t len, struct err *err)
{
	struct reader reader = reader_of(data, len);
	bus->address = reader_u32(&reader) & ADDRESS_MASK;
	if (pci_device_load(&bus->bridge, &reader, err))
		return -1;
	if (reader.bad || reader.left)
		return err_set(err, ERR_INPUT, "machine state: the PCI bus has a wrong length");
	return 0;
}
