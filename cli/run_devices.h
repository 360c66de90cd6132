/* run_devices.h: the devices of `drover run`: from options to a VM's definition. */
#ifndef CLI_RUN_DEVICES_H
#define CLI_RUN_DEVICES_H

#include "cli/options.h"
#include "vmm/config.h"

/* run_devices(args, config, err): disks and network cards, in the order given; paths as they were given.  0, or -1 with a
 * sentence about the options. */
int run_devices(const struct args *args, struct vm_config *config, struct err *err);
/* run_limits(args, config, err): the limits, after the devices. */
int run_limits(const struct args *args, struct vm_config *config, struct err *err);
/* run_disk_format(disk, err): whether the file at disk->disk.path is a volume or a raw image, which can only be read. */
int run_disk_format(struct device_config *disk, struct err *err);

#endif
