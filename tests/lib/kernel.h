/* kernel.h: small kernels made in a test: files that machine_boot accepts, with code given as bytes, and the
 * offsets at which a test damages them. */
#ifndef TESTS_LIB_KERNEL_H
#define TESTS_LIB_KERNEL_H

#include <stddef.h>
#include <stdint.h>

enum {
	KERNEL_MAX = 16384,
	KERNEL_ADDRESS = 0x100000, /* where the code runs */

	/* ELF, 64 bits: the headers' places in the file */
	KERNEL_ELF_PHDR = 64, /* first the loaded segment, then the notes */
	KERNEL_ELF_PHDR_LEN = 56,
	KERNEL_ELF_NOTE = 256,
	KERNEL_ELF_CODE = 512,

	/* bzImage */
	KERNEL_BZ_CODE = 1024,          /* one setup sector */
	KERNEL_BZ_ENTRY = 1024 + 0x200, /* the 64-bit entry: the code */
};

struct kernel {
	uint8_t data[KERNEL_MAX];
	size_t len;
};

/* kernel_elf: PVH, the code in 32-bit protected mode; kernel_elf32: the same in a 32-bit file.
 * kernel_bzimage: the code in long mode. */
void kernel_elf(struct kernel *kernel, const uint8_t *code, size_t len);
void kernel_elf32(struct kernel *kernel, const uint8_t *code, size_t len);
void kernel_bzimage(struct kernel *kernel, const uint8_t *code, size_t len);

/* kernel_write(kernel, folder, path): into a file there; its path into path[4096]. */
void kernel_write(const struct kernel *kernel, const char *folder, char *path);
/* kernel_write_file: any bytes, under a name. */
void kernel_write_file(const char *folder, const char *name, const void *data, size_t len, char *path);

#endif
