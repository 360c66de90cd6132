#include "bootinfo.h"
#include "layout.h"
#include "stop.h"
#include <stddef.h>

#define MAPPED_BYTES  (4ull << 30)
#define TYPE_RAM      1
#define PVH_MAGIC     0x336ec578
#define PVH_MEMMAP_V1 1

struct pvh_start {
	uint32_t magic, version, flags, n_modules;
	uint64_t modules, cmdline, rsdp, memmap;
	uint32_t n_memmap, reserved;
};

struct pvh_range {
	uint64_t start, size;
	uint32_t type, reserved;
};

struct linux_range {
	uint64_t start, size;
	uint32_t type;
} __attribute__((packed));

/* Offsets in struct boot_params. */
#define LINUX_EXT_CMDLINE 0x0c8
#define LINUX_N_E820      0x1e8
#define LINUX_CMDLINE     0x228
#define LINUX_E820        0x2d0
#define LINUX_PARAMS      4096

static const void *loader_data(uint64_t pointer, uint64_t size)
{
	if (pointer == 0 || pointer + size > MAPPED_BYTES || pointer + size < pointer)
		stop_error("boot data missing or above 4 GiB", NULL);
	return (const void *)(uintptr_t)pointer;
}

static void read_cmdline(struct bootinfo *info, uint64_t pointer)
{
	const char *from;
	size_t n = 0;

	if (pointer == 0)
		return;
	from = loader_data(pointer, sizeof(info->cmdline));
	while (n < sizeof(info->cmdline) - 1 && from[n]) {
		info->cmdline[n] = from[n];
		n++;
	}
	if (from[n])
		stop_error("command line too long", NULL);
	info->cmdline[n] = '\0';
}

static void add_range(struct bootinfo *info, uint64_t start, uint64_t size, uint32_t type)
{
	if (type != TYPE_RAM || size == 0)
		return;
	if (info->n_ram == BOOTINFO_RANGES || start + size < start)
		stop_error("bad memory map", NULL);
	info->ram[info->n_ram++] = (struct ram_range){start, start + size};
}

static void read_pvh(struct bootinfo *info, uint64_t pointer)
{
	const struct pvh_start *start = loader_data(pointer, sizeof(*start));
	const struct pvh_range *range;

	if (start->magic != PVH_MAGIC || start->version < PVH_MEMMAP_V1)
		stop_error("no PVH start info with a memory map", NULL);
	read_cmdline(info, start->cmdline);
	range = loader_data(start->memmap, start->n_memmap * sizeof(*range));
	for (uint32_t i = 0; i < start->n_memmap; i++)
		add_range(info, range[i].start, range[i].size, range[i].type);
}

static void read_linux(struct bootinfo *info, uint64_t pointer)
{
	const uint8_t *params = loader_data(pointer, LINUX_PARAMS);
	const struct linux_range *range = (const void *)(params + LINUX_E820);
	uint32_t low, high;

	__builtin_memcpy(&low, params + LINUX_CMDLINE, sizeof(low));
	__builtin_memcpy(&high, params + LINUX_EXT_CMDLINE, sizeof(high));
	read_cmdline(info, (uint64_t)high << 32 | low);
	for (unsigned i = 0; i < params[LINUX_N_E820]; i++)
		add_range(info, range[i].start, range[i].size, range[i].type);
}

void bootinfo_read(struct bootinfo *info, unsigned boot, uint64_t pointer)
{
	if (boot == BOOT_PVH)
		read_pvh(info, pointer);
	else
		read_linux(info, pointer);
	if (info->n_ram == 0)
		stop_error("no RAM in the memory map", NULL);
}
