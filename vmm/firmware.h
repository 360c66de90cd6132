/* firmware.h: a machine that is started by firmware: a PC BIOS (SeaBIOS) at the reset vector.
 *
 * The image lies below 4 GiB in memory that the guest can only read, and a copy of it in RAM below 1 MiB, where it
 * runs and keeps its variables.  (A PC's bridge would have it make that copy; this machine's has no such registers.)
 * It is part of the machine and travels with its state: a destination needs no such file, and a reset there starts the
 * very same firmware. */
#ifndef VMM_FIRMWARE_H
#define VMM_FIRMWARE_H

#include "common/buf.h"
#include "common/err.h"
#include <stddef.h>
#include <stdint.h>

struct machine;

#define FIRMWARE_DEFAULT "/usr/share/seabios/bios-256k.bin"
#define FIRMWARE_PACKAGE "seabios"

enum {
	FIRMWARE_MAX = 256 << 10,
	FIRMWARE_MIN = 128 << 10, /* the two sizes that there are */
	FIRMWARE_SHADOW_END = 1 << 20,
	FIRMWARE_STATE_VERSION = 1,
	FIRMWARE_STATE_HEADER = 8,
};

struct firmware {
	uint8_t *image; /* NULL: the machine has none */
	uint32_t bytes;
};

/* firmware_load(machine, path, err): the file (NULL: FIRMWARE_DEFAULT) becomes the machine's firmware, its copy not yet
 * made.  Once, before the machine runs.  firmware_shadow: the copy in RAM, as after power-on; any thread while no vCPU
 * runs.  firmware_free: also of none; the machine's vCPUs are gone. */
int firmware_load(struct machine *machine, const char *path, struct err *err);
void firmware_shadow(struct machine *machine);
void firmware_free(struct firmware *firmware);

/* firmware_save: of a machine that has one.  firmware_restore: into a machine that never ran; data is not trusted; 0, or
 * -1 with *err. */
void firmware_save(const struct firmware *firmware, struct buf *out);
int firmware_restore(struct machine *machine, const void *data, size_t len, struct err *err);

#endif
