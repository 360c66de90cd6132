/* What the boot loader said, copied out of its structures, which may lie in memory that is filled later. */
#ifndef GUEST_BOOTINFO_H
#define GUEST_BOOTINFO_H

#include <stdint.h>

#define BOOTINFO_CMDLINE 2048
#define BOOTINFO_RANGES  64

struct ram_range {
	uint64_t start, end; /* bytes, end exclusive */
};

struct bootinfo {
	char cmdline[BOOTINFO_CMDLINE];
	unsigned n_ram;
	struct ram_range ram[BOOTINFO_RANGES]; /* as the loader lists it */
};

/* Fills *info from the structure at `pointer`, of the kind `boot` (BOOT_* of layout.h).  Stops the machine
 * where that is not what it should be or where it lies above the 4 GiB that are mapped so far. */
void bootinfo_read(struct bootinfo *info, unsigned boot, uint64_t pointer);

#endif
