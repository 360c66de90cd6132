/* boot_linux.c: struct boot_params, page tables and GDT for Linux's 64-bit entry.
 * Source: Linux, Documentation/arch/x86/boot.rst (64-bit boot protocol) and zero-page.rst. */
#include "common/buf.h"
#include "vmm/boot.h"
#include <string.h>

enum {
	/* offsets in struct boot_params */
	ACPI_RSDP_ADDR = 0x070,
	E820_ENTRIES = 0x1e8,
	SETUP_HEADER = 0x1f1,
	TYPE_OF_LOADER = 0x210,
	RAMDISK_IMAGE = 0x218,
	RAMDISK_SIZE = 0x21c,
	CMD_LINE_PTR = 0x228,
	E820_TABLE = 0x2d0,
	E820_ENTRY = 20,
	LOADER_UNDEFINED = 0xff,
	/* page table entries */
	PRESENT = 0x01,
	WRITABLE = 0x02,
	LARGE = 0x80,
};

/* Level 4, level 3, and four tables of 2 MiB pages. */
static void build_page_tables(const struct memory *ram)
{
	enum { TABLE = 4096, ENTRIES = 512 };
	uint8_t *at = memory_at(ram, BOOT_PAGE_TABLES, 6 * TABLE);
	le64_put(at, (BOOT_PAGE_TABLES + TABLE) | PRESENT | WRITABLE);
	for (unsigned i = 0; i < 4; i++)
		le64_put(at + TABLE + i * 8, (BOOT_PAGE_TABLES + (2u + i) * TABLE) | PRESENT | WRITABLE);
	for (uint64_t i = 0; i < 4ull * ENTRIES; i++)
		le64_put(at + 2 * TABLE + i * 8, i << 21 | PRESENT | WRITABLE | LARGE);
}

/* The protocol's descriptors: __BOOT_CS 0x10, __BOOT_DS 0x18; boot_set_cpu loads the same into the CPU. */
static void build_gdt(const struct memory *ram)
{
	uint8_t *at = memory_at(ram, BOOT_GDT, 32);
	le64_put(at + 0x10, 0x00af9b000000ffff);
	le64_put(at + 0x18, 0x00cf93000000ffff);
}

void boot_linux_params(const struct memory *ram, const struct boot_handed *handed, struct boot_kernel *kernel)
{
	struct boot_range map[BOOT_MAP_MAX];
	size_t ranges = boot_memory_map(ram, map);
	uint8_t *params = memory_at(ram, BOOT_PARAMS, MEMORY_PAGE);
	memcpy(params + SETUP_HEADER, kernel->setup, sizeof(kernel->setup));
	params[TYPE_OF_LOADER] = LOADER_UNDEFINED;
	le32_put(params + RAMDISK_IMAGE, (uint32_t)handed->initrd);
	le32_put(params + RAMDISK_SIZE, (uint32_t)handed->initrd_len);
	le32_put(params + CMD_LINE_PTR, BOOT_CMDLINE);
	le64_put(params + ACPI_RSDP_ADDR, handed->rsdp);
	params[E820_ENTRIES] = (uint8_t)ranges;
	for (size_t i = 0; i < ranges; i++) {
		uint8_t *entry = params + E820_TABLE + i * E820_ENTRY;
		le64_put(entry, map[i].gpa);
		le64_put(entry + 8, map[i].len);
		le32_put(entry + 16, map[i].type);
	}
	build_page_tables(ram);
	build_gdt(ram);
	kernel->start.info = BOOT_PARAMS;
}
