/* boot_pvh.c: what a PVH kernel is handed: struct hvm_start_info, version 1, with module list and memory map.
 * Source: Xen, public/arch-x86/hvm/start_info.h and docs/misc/pvh.pandoc. */
#include "common/buf.h"
#include "vmm/boot.h"

enum {
	MAGIC = 0x336ec578,
	VERSION = 1,
	/* struct hvm_start_info */
	INFO_VERSION = 4,
	INFO_MODULES = 12,
	INFO_MODULE_LIST = 16,
	INFO_CMDLINE = 24,
	INFO_RSDP = 32,
	INFO_MAP = 40,
	INFO_MAP_ENTRIES = 48,
	INFO_LEN = 56,
	/* struct hvm_modlist_entry */
	MODULE_ADDRESS = 0,
	MODULE_SIZE = 8,
	MODULE_LEN = 32,
	/* struct hvm_memmap_table_entry */
	MAP_LEN = 24,
};

void boot_pvh_info(const struct memory *ram, const struct boot_handed *handed, struct boot_kernel *kernel)
{
	struct boot_range map[BOOT_MAP_MAX];
	size_t ranges = boot_memory_map(ram, map);
	uint8_t *info = memory_at(ram, BOOT_START_INFO, MEMORY_PAGE);
	uint8_t *module = info + INFO_LEN;
	uint8_t *entry = module + MODULE_LEN;
	le32_put(info, MAGIC);
	le32_put(info + INFO_VERSION, VERSION);
	le64_put(info + INFO_CMDLINE, BOOT_CMDLINE);
	le64_put(info + INFO_RSDP, handed->rsdp);
	if (handed->initrd_len) {
		le32_put(info + INFO_MODULES, 1);
		le64_put(info + INFO_MODULE_LIST, BOOT_START_INFO + INFO_LEN);
		le64_put(module + MODULE_ADDRESS, handed->initrd);
		le64_put(module + MODULE_SIZE, handed->initrd_len);
	}
	le64_put(info + INFO_MAP, BOOT_START_INFO + INFO_LEN + MODULE_LEN);
	le32_put(info + INFO_MAP_ENTRIES, (uint32_t)ranges);
	for (size_t i = 0; i < ranges; i++, entry += MAP_LEN) {
		le64_put(entry, map[i].gpa);
		le64_put(entry + 8, map[i].len);
		le32_put(entry + 16, map[i].type);
	}
	kernel->start.info = BOOT_START_INFO;
}
