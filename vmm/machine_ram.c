/* machine_ram.c: RAM and volumes for those who copy them beside the running guest. */
#include "vmm/devices.h"
#include "vmm/disk.h"
#include "vmm/machine_impl.h"
#include <errno.h>
#include <unistd.h>

int machine_ram_fd(const struct machine *machine)
{
	return machine->ram.fd;
}

void *machine_ram(const struct machine *machine, uint64_t *bytes)
{
	*bytes = machine->ram.size;
	return machine->ram.base;
}

void machine_use_huge_pages(struct machine *machine)
{
	memory_use_huge_pages(&machine->ram);
}

void machine_keep_ram(struct machine *machine, bool keep)
{
	__atomic_store_n(&machine->ram_kept, keep, __ATOMIC_SEQ_CST);
	for (unsigned slot = 0; slot < PCI_SLOTS && !keep; slot++)
		if (machine->virtio[slot])
			virtio_balloon_wake(machine->virtio[slot]);
}

int machine_touched_ram(const struct machine *machine, struct buf *list, struct err *err)
{
	off_t data = 0, hole;
	errno = ENXIO;
	while ((uint64_t)data < machine->ram.size && (data = lseek(machine->ram.fd, data, SEEK_DATA)) >= 0) {
		hole = lseek(machine->ram.fd, data, SEEK_HOLE);
		if (hole < 0)
			break;
		buf_put_u64(list, (uint64_t)data);
		buf_put_u64(list, (uint64_t)(hole - data));
		data = hole;
		errno = ENXIO;
	}
	return errno == ENXIO ? 0 : err_sys(err, "cannot find the guest's pages");
}

unsigned machine_volumes(const struct machine *machine, struct dvol *list[], unsigned slots[])
{
	unsigned count = 0;
	for (unsigned slot = 0; slot < PCI_SLOTS; slot++) {
		const struct disk *disk = virtio_blk_disk(machine->virtio[slot]);
		if (!disk || !disk->volume || disk->read_only)
			continue;
		if (slots)
			slots[count] = slot;
		list[count++] = disk->volume;
	}
	return count;
}

int machine_attach_disks(struct machine *machine, struct err *err)
{
	for (unsigned slot = 0; slot < PCI_SLOTS; slot++) {
		struct disk *disk = virtio_blk_disk(machine->virtio[slot]);
		if (disk && disk_attach(disk, err))
			return err_context(err, "disk in slot %u", slot);
	}
	return 0;
}
