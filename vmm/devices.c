/* devices.c: the devices on the PCI bus: which there are, and what is done to all of them. */
#include "vmm/devices.h"
#include "vmm/machine_impl.h"
#include "vmm/state.h"

static struct virtio *(*const create[DEVICE_KINDS])(struct machine *, const struct device_config *,
						    struct err *) = {
    [DEVICE_DISK] = virtio_blk_create,        [DEVICE_NET] = virtio_net_create,
    [DEVICE_RNG] = virtio_rng_create,         [DEVICE_CONSOLE] = virtio_console_create,
    [DEVICE_BALLOON] = virtio_balloon_create,
};

int devices_create(struct machine *machine, const struct vm_config *config, struct err *err)
{
	for (unsigned i = 0; i < config->ndevices; i++) {
		const struct device_config *device = &config->devices[i];
		if (!create[device->kind])
			return err_set(err, ERR_INPUT,
				       "this version of drover has no device of the kind that the definition "
				       "names for slot %u",
				       device->slot);
		machine->virtio[device->slot] = create[device->kind](machine, device, err);
		if (!machine->virtio[device->slot])
			return -1;
	}
	return 0;
}

void devices_pause(struct machine *machine)
{
	for (unsigned slot = 0; slot < PCI_SLOTS; slot++)
		if (machine->virtio[slot])
			virtio_pause(machine->virtio[slot]);
}

void devices_resume(struct machine *machine)
{
	for (unsigned slot = 0; slot < PCI_SLOTS; slot++)
		if (machine->virtio[slot])
			virtio_resume(machine->virtio[slot]);
}

void devices_reset(struct machine *machine)
{
	for (unsigned slot = 0; slot < PCI_SLOTS; slot++)
		if (machine->virtio[slot])
			virtio_reset(machine->virtio[slot]);
	pci_reset(&machine->pci);
}

void devices_destroy(struct machine *machine)
{
	for (unsigned slot = 0; slot < PCI_SLOTS; slot++) {
		struct virtio *dev = machine->virtio[slot];
		if (!dev)
			continue;
		machine->virtio[slot] = NULL;
		machine->pci.device[slot] = NULL;
		virtio_release(dev);
		dev->ops->destroy(dev);
	}
}

void devices_settle(struct machine *machine)
{
	for (unsigned slot = 0; slot < PCI_SLOTS; slot++)
		if (machine->virtio[slot])
			pci_msix_settle(&machine->virtio[slot]->pci);
}

void devices_save(struct machine *machine, struct state_writer *writer)
{
	state_open(writer, STATE_PCI, 0);
	pci_bus_save(&machine->pci, writer->out);
	state_close(writer);
	for (unsigned slot = 0; slot < PCI_SLOTS; slot++) {
		if (!machine->virtio[slot])
			continue;
		state_open(writer, STATE_VIRTIO, slot);
		virtio_save(machine->virtio[slot], writer->out);
		state_close(writer);
	}
}

int devices_load(struct machine *machine, const struct state *state, struct err *err)
{
	const struct state_section *bus = state_get(state, STATE_PCI, 0);
	if (pci_bus_load(&machine->pci, bus->data, bus->len, err))
		return -1;
	for (unsigned slot = 0; slot < PCI_SLOTS; slot++) {
		const struct state_section *section = state_get(state, STATE_VIRTIO, slot);
		struct virtio *dev = machine->virtio[slot];
		if (!dev != !section->data)
			return err_set(err, ERR_INPUT,
				       "machine state: there is %s device in PCI slot %u, unlike here",
				       dev ? "no" : "a", slot);
		if (dev && virtio_load(dev, section->data, section->len, err))
			return -1;
	}
	return 0;
}
