/* boot.h: from a kernel file to a machine that is about to execute its first instruction.
 *
 * boot_load works on RAM only and so does everything behind it; boot_set_cpu is the one that needs KVM.
 * Files are not trusted: every offset, size and address in them is checked against the file and the RAM. */
#ifndef VMM_BOOT_H
#define VMM_BOOT_H

#include "common/err.h"
#include "vmm/config.h"
#include "vmm/kvm.h"
#include "vmm/memory.h"
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Guest-physical places of what we hand to the kernel, all in the first 640 KiB.  Kernels load from 1 MiB up. */
enum {
	BOOT_GDT = 0x1000,
	BOOT_START_INFO = 0x2000,  /* PVH: hvm_start_info, module list, memory map */
	BOOT_PARAMS = 0x3000,      /* Linux: struct boot_params, one page */
	BOOT_PAGE_TABLES = 0x4000, /* Linux: identity map of the first 4 GiB, 6 pages */
	BOOT_CMDLINE = 0x20000,
	BOOT_LOW_END = 0x9fc00, /* end of conventional RAM: the extended BIOS data area of old */
	BOOT_KERNEL_MIN = 0x100000,
};

/* Where the boot CPU starts. */
struct boot_start {
	bool long_mode; /* Linux's 64-bit protocol; else PVH: 32-bit protected mode, no paging */
	uint64_t rip;
	uint64_t info; /* rsi (Linux) or rbx (PVH) */
};

/* A kernel that is in RAM. */
struct boot_kernel {
	struct boot_start start;
	uint64_t end;                 /* first byte after it and the room that it needs to unpack itself */
	uint64_t initrd_end;          /* an initrd must end at or below this address */
	uint32_t cmdline_max;         /* characters */
	uint8_t setup[0x290 - 0x1f1]; /* bzImage: its setup header, as it goes into boot_params */
};

/* A file that is read piece by piece. */
struct boot_file {
	int fd;
	uint64_t size;
};

/* boot_load(ram, config, start, err): kernel, initrd, command line, memory map and ACPI tables into RAM, which
 * must be all zeroes. */
int boot_load(const struct memory *ram, const struct vm_config *config, struct boot_start *start,
	      struct err *err);
/* boot_set_cpu(vcpu_fd, start, err): the registers with which the kernel is entered. */
int boot_set_cpu(int vcpu_fd, const struct boot_start *start, struct err *err);

/* The parts, one file each.  Their errors do not name the file: boot_load does. */
int boot_file_open(struct boot_file *file, const char *path, struct err *err);
void boot_file_close(struct boot_file *file);
/* boot_file_read(file, offset, data, len, err): all of it, or an error that says that the file is too short. */
int boot_file_read(const struct boot_file *file, uint64_t offset, void *data, size_t len, struct err *err);
/* boot_file_load(file, offset, ram, gpa, len, err): the same into RAM, which must be there. */
int boot_file_load(const struct boot_file *file, uint64_t offset, const struct memory *ram, uint64_t gpa,
		   uint64_t len, struct err *err);

/* boot_elf_load: ELF with a PVH entry note (boot_elf.c).  boot_bzimage_load: Linux's format (boot_bzimage.c). */
int boot_elf_load(const struct boot_file *file, const struct memory *ram, struct boot_kernel *kernel,
		  struct err *err);
int boot_bzimage_load(const struct boot_file *file, const struct memory *ram, struct boot_kernel *kernel,
		      struct err *err);

/* What the kernel is told; boot_pvh.c and boot_linux.c put it into RAM in their own form. */
struct boot_handed {
	uint64_t initrd, initrd_len; /* 0, 0: none */
	uint64_t cmdline_len;        /* at BOOT_CMDLINE, NUL after its end */
	uint64_t rsdp;
};
/* boot_pvh_info, boot_linux_params: fill BOOT_START_INFO or BOOT_PARAMS and complete kernel->start. */
void boot_pvh_info(const struct memory *ram, const struct boot_handed *handed, struct boot_kernel *kernel);
void boot_linux_params(const struct memory *ram, const struct boot_handed *handed,
		       struct boot_kernel *kernel);

/* The memory map, the same for both: types are those of E820. */
enum { BOOT_MAP_MAX = 8, BOOT_MAP_RAM = 1, BOOT_MAP_RESERVED = 2 };
struct boot_range {
	uint64_t gpa, len;
	uint32_t type;
};
size_t boot_memory_map(const struct memory *ram, struct boot_range map[BOOT_MAP_MAX]);

#endif
