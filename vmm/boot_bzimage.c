/* boot_bzimage.c: loading a Linux bzImage for its 64-bit entry.
 * Source: Linux, Documentation/arch/x86/boot.rst; offsets below are those of its table. */
#include "common/buf.h"
#include "vmm/boot.h"
#include <string.h>

enum {
	SETUP_FIRST = 0x1f1, /* the setup header begins */
	SETUP_SECTS = 0x1f1,
	SYSSIZE = 0x1f4,
	BOOT_FLAG = 0x1fe,
	JUMP_LENGTH = 0x201,
	HEADER_MAGIC = 0x202,
	PROTOCOL = 0x206,
	LOADFLAGS = 0x211,
	INITRD_ADDR_MAX = 0x22c,
	KERNEL_ALIGNMENT = 0x230,
	RELOCATABLE = 0x234,
	XLOADFLAGS = 0x236,
	CMDLINE_SIZE = 0x238,
	PREF_ADDRESS = 0x258,
	INIT_SIZE = 0x260,
	HEADER_MIN = 0x264, /* up to init_size, which protocol 2.10 brought */
	HEADER_MAX = 0x290, /* boot_params has other things from there on */
	PROTOCOL_MIN = 0x20c,
	LOADED_HIGH = 0x01,
	XLF_KERNEL_64 = 0x01,
	ENTRY_64 = 0x200,
	SECTOR = 512,
};

/* The setup header: head holds the file's first bytes.  Returns how far it reaches, 0 with *err when unfit. */
static size_t check_header(const uint8_t *head, size_t len, struct err *err)
{
	if (len < HEADER_MIN || le16_get(head + BOOT_FLAG) != 0xaa55 ||
	    memcmp(head + HEADER_MAGIC, "HdrS", 4)) {
		err_set(err, ERR_INPUT, "neither an ELF file nor a Linux bzImage");
		return 0;
	}
	unsigned protocol = le16_get(head + PROTOCOL);
	if (protocol < PROTOCOL_MIN) {
		err_set(err, ERR_INPUT, "its boot protocol is %u.%02u; 2.12 (Linux 3.8) or later is needed",
			protocol >> 8, protocol & 0xff);
		return 0;
	}
	if (!(head[LOADFLAGS] & LOADED_HIGH) || !(le16_get(head + XLOADFLAGS) & XLF_KERNEL_64)) {
		err_set(err, ERR_INPUT, "it has no 64-bit entry point");
		return 0;
	}
	size_t end = HEADER_MAGIC + (size_t)head[JUMP_LENGTH];
	if (end < HEADER_MIN || end > HEADER_MAX) {
		err_set(err, ERR_INPUT, "its setup header ends at 0x%zx, expected 0x%x to 0x%x", end,
			HEADER_MIN, HEADER_MAX);
		return 0;
	}
	return end;
}

/* Where it is to be loaded; 0 with *err when nowhere. */
static uint64_t place(const uint8_t *head, const struct memory *ram, uint64_t image_len, uint64_t *need,
		      struct err *err)
{
	uint64_t at = le64_get(head + PREF_ADDRESS);
	uint64_t align = le32_get(head + KERNEL_ALIGNMENT);
	uint64_t room = le32_get(head + INIT_SIZE);
	if (at > UINT32_MAX || (align & (align - 1))) {
		err_set(err, ERR_INPUT, "its preferred address 0x%llx or alignment 0x%llx is impossible",
			(unsigned long long)at, (unsigned long long)align);
		return 0;
	}
	/* Loaded lower, it would move itself up to its preferred address anyway. */
	if (head[RELOCATABLE] && align)
		at = ((at < BOOT_KERNEL_MIN ? BOOT_KERNEL_MIN : at) + align - 1) & ~(align - 1);
	*need = room > image_len ? room : image_len;
	if (at < BOOT_KERNEL_MIN) {
		err_set(err, ERR_INPUT,
			"it wants to be loaded at 0x%llx, below 1 MiB, where the boot data goes",
			(unsigned long long)at);
		return 0;
	}
	if (at > ram->low || *need > ram->low - at) {
		err_set(err, ERR_INPUT,
			"it needs RAM up to 0x%llx, but the guest's ends at 0x%llx; give the VM more memory",
			(unsigned long long)(at + *need), (unsigned long long)ram->low);
		return 0;
	}
	return at;
}

int boot_bzimage_load(const struct boot_file *file, const struct memory *ram, struct boot_kernel *kernel,
		      struct err *err)
{
	uint8_t head[HEADER_MAX] = {0};
	size_t have = file->size < sizeof(head) ? (size_t)file->size : sizeof(head);
	if (boot_file_read(file, 0, head, have, err))
		return -1;
	size_t end = check_header(head, have, err);
	if (!end)
		return -1;
	/* 0 stands for 4, for the sake of very old kernels. */
	uint64_t code = ((head[SETUP_SECTS] ? head[SETUP_SECTS] : 4) + 1ull) * SECTOR;
	uint64_t len = le32_get(head + SYSSIZE) * 16ull;
	if (len <= ENTRY_64)
		return err_set(err, ERR_INPUT, "its code has %llu bytes only", (unsigned long long)len);
	uint64_t need = 0;
	uint64_t at = place(head, ram, len, &need, err);
	if (!at || boot_file_load(file, code, ram, at, len, err))
		return -1;
	*kernel = (struct boot_kernel){
	    .start = {.long_mode = true, .rip = at + ENTRY_64},
	    .end = at + need,
	    .initrd_end = le32_get(head + INITRD_ADDR_MAX) + 1ull,
	    .cmdline_max = le32_get(head + CMDLINE_SIZE),
	};
	memcpy(kernel->setup, head + SETUP_FIRST, end - SETUP_FIRST);
	return 0;
}
