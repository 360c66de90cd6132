/* kernel.c: making small kernels. */
#include "tests/lib/kernel.h"
#include "common/buf.h"
#include "tests/lib/test.h"

#include <elf.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

enum { NOTE_LEN = 20, ENTRY_NOTE = 18 };

static void put_note(uint8_t *at)
{
	le32_put(at, 4);
	le32_put(at + 4, 4);
	le32_put(at + 8, ENTRY_NOTE);
	memcpy(at + 12, "Xen", 4);
	le32_put(at + 16, KERNEL_ADDRESS);
}

void kernel_elf(struct kernel *kernel, const uint8_t *code, size_t len)
{
	Elf64_Ehdr header = {
	    .e_ident = {0x7f, 'E', 'L', 'F', ELFCLASS64, ELFDATA2LSB, EV_CURRENT},
	    .e_type = ET_EXEC,
	    .e_machine = EM_X86_64,
	    .e_version = EV_CURRENT,
	    .e_entry = KERNEL_ADDRESS,
	    .e_phoff = KERNEL_ELF_PHDR,
	    .e_ehsize = sizeof(Elf64_Ehdr),
	    .e_phentsize = sizeof(Elf64_Phdr),
	    .e_phnum = 2,
	};
	const Elf64_Phdr load = {.p_type = PT_LOAD,
				 .p_offset = KERNEL_ELF_CODE,
				 .p_vaddr = KERNEL_ADDRESS,
				 .p_paddr = KERNEL_ADDRESS,
				 .p_filesz = len,
				 .p_memsz = len + 4096,
				 .p_align = 4};
	const Elf64_Phdr note = {.p_type = PT_NOTE,
				 .p_offset = KERNEL_ELF_NOTE,
				 .p_filesz = NOTE_LEN,
				 .p_memsz = NOTE_LEN,
				 .p_align = 4};
	assert_true(KERNEL_ELF_CODE + len <= KERNEL_MAX);
	memset(kernel, 0, sizeof(*kernel));
	memcpy(kernel->data, &header, sizeof(header));
	memcpy(kernel->data + KERNEL_ELF_PHDR, &load, sizeof(load));
	memcpy(kernel->data + KERNEL_ELF_PHDR + KERNEL_ELF_PHDR_LEN, &note, sizeof(note));
	put_note(kernel->data + KERNEL_ELF_NOTE);
	memcpy(kernel->data + KERNEL_ELF_CODE, code, len);
	kernel->len = KERNEL_ELF_CODE + len;
}

void kernel_elf32(struct kernel *kernel, const uint8_t *code, size_t len)
{
	Elf32_Ehdr header = {
	    .e_ident = {0x7f, 'E', 'L', 'F', ELFCLASS32, ELFDATA2LSB, EV_CURRENT},
	    .e_type = ET_EXEC,
	    .e_machine = EM_386,
	    .e_version = EV_CURRENT,
	    .e_entry = KERNEL_ADDRESS,
	    .e_phoff = sizeof(Elf32_Ehdr),
	    .e_ehsize = sizeof(Elf32_Ehdr),
	    .e_phentsize = sizeof(Elf32_Phdr),
	    .e_phnum = 2,
	};
	const Elf32_Phdr load = {.p_type = PT_LOAD,
				 .p_offset = KERNEL_ELF_CODE,
				 .p_paddr = KERNEL_ADDRESS,
				 .p_filesz = (uint32_t)len,
				 .p_memsz = (uint32_t)len};
	const Elf32_Phdr note = {.p_type = PT_NOTE, .p_offset = KERNEL_ELF_NOTE, .p_filesz = NOTE_LEN};
	assert_true(KERNEL_ELF_CODE + len <= KERNEL_MAX);
	memset(kernel, 0, sizeof(*kernel));
	memcpy(kernel->data, &header, sizeof(header));
	memcpy(kernel->data + sizeof(header), &load, sizeof(load));
	memcpy(kernel->data + sizeof(header) + sizeof(load), &note, sizeof(note));
	put_note(kernel->data + KERNEL_ELF_NOTE);
	memcpy(kernel->data + KERNEL_ELF_CODE, code, len);
	kernel->len = KERNEL_ELF_CODE + len;
}

void kernel_bzimage(struct kernel *kernel, const uint8_t *code, size_t len)
{
	uint8_t *d = kernel->data;
	size_t image = (0x200 + len + 15) / 16 * 16;
	assert_true(KERNEL_BZ_CODE + image <= KERNEL_MAX);
	memset(kernel, 0, sizeof(*kernel));
	d[0x1f1] = 1; /* setup_sects */
	le32_put(d + 0x1f4, (uint32_t)(image / 16));
	le16_put(d + 0x1fe, 0xaa55);
	d[0x201] = 0x66; /* the header ends at 0x268 */
	memcpy(d + 0x202, "HdrS", 4);
	le16_put(d + 0x206, 0x20f);
	d[0x211] = 1; /* LOADED_HIGH */
	le32_put(d + 0x22c, 0x7fffffff);
	le32_put(d + 0x230, 0x1000); /* alignment */
	d[0x234] = 1;                /* relocatable */
	le16_put(d + 0x236, 1);      /* XLF_KERNEL_64 */
	le32_put(d + 0x238, 2047);
	le64_put(d + 0x258, KERNEL_ADDRESS);
	le32_put(d + 0x260, 0x10000); /* init_size */
	memcpy(d + KERNEL_BZ_ENTRY, code, len);
	kernel->len = KERNEL_BZ_CODE + image;
}

void kernel_write_file(const char *folder, const char *name, const void *data, size_t len, char *path)
{
	FILE *file;

	assert_true(snprintf(path, 4096, "%s/%s", folder, name) < 4096);
	unlink(path); /* ext4 writes a file out at once that was cut and filled anew */
	file = fopen(path, "we");
	assert_non_null(file);
	assert_int_equal(fwrite(data, 1, len, file), len);
	assert_int_equal(fclose(file), 0);
}

void kernel_write(const struct kernel *kernel, const char *folder, char *path)
{
	kernel_write_file(folder, "kernel", kernel->data, kernel->len, path);
}
