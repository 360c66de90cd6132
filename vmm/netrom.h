/* netrom.h: what boots a machine from its network: iPXE, as the option ROM of its virtio network cards.
 *
 * The firmware finds it as a file of fw_cfg, which is there in machines that boot from the network and in no others.  Like the
 * firmware it is part of the machine and travels with its state, so that a reset elsewhere boots by the very same one. */
#ifndef VMM_NETROM_H
#define VMM_NETROM_H

#include "common/buf.h"
#include "common/err.h"
#include <stddef.h>

struct machine;

#define NETROM_DEFAULT "/usr/lib/ipxe/qemu/pxe-virtio.rom"
#define NETROM_PACKAGE "ipxe-qemu"
#define NETROM_FILE    "pci1af4,1041.rom" /* as SeaBIOS asks for the ROM of a virtio network card */

enum { NETROM_MAX = 255 * 512, NETROM_STATE_VERSION = 1 };

/* netrom_check(data, len, err): a ROM for this machine's network cards, whole and with a right checksum. */
int netrom_check(const void *data, size_t len, struct err *err);
/* netrom_load(machine, path, err): the file becomes the ROM of a machine that boots from its network; nothing for another
 * one.  Once, before it runs. */
int netrom_load(struct machine *machine, const char *path, struct err *err);

/* netrom_get: the machine's ROM, NULL: it boots from no network.  netrom_restore: into a machine that never ran; data (NULL:
 * there is none) is not trusted; 0, or -1 with *err. */
const struct buf *netrom_get(struct machine *machine);
int netrom_restore(struct machine *machine, const void *data, size_t len, struct err *err);

#endif
