/* devices.h: the kinds of devices on the PCI bus, one file each; devices.c has the table of them. */
#ifndef VMM_DEVICES_H
#define VMM_DEVICES_H

#include "common/err.h"
#include "vmm/config.h"
#include "vmm/virtio.h"

struct disk;
struct machine;

/* Each makes a device on the machine's bus, stopped, as its definition says; NULL with *err. */
struct virtio *virtio_rng_create(struct machine *machine, const struct device_config *config,
				 struct err *err);
struct virtio *virtio_net_create(struct machine *machine, const struct device_config *config,
				 struct err *err);
struct virtio *virtio_console_create(struct machine *machine, const struct device_config *config,
				     struct err *err);
struct virtio *virtio_balloon_create(struct machine *machine, const struct device_config *config,
				     struct err *err);
struct virtio *virtio_blk_create(struct machine *machine, const struct device_config *config,
				 struct err *err);

/* virtio_balloon_wake: the queues are looked at again (any thread); harmless for another device. */
void virtio_balloon_wake(struct virtio *dev);
/* virtio_blk_disk: what is behind a disk (vmm/disk.h), or NULL for another device. */
struct disk *virtio_blk_disk(struct virtio *dev);

#endif
