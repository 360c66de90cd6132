/* boot.c: the order of a boot: kernel, initrd, command line, tables. */
#include "vmm/boot.h"
#include "common/io.h"
#include "common/units.h"
#include "vmm/acpi.h"
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { CHUNK = 1 << 20 };

int boot_file_open(struct boot_file *file, const char *path, struct err *err)
{
	/* O_NONBLOCK: a FIFO must not keep us waiting until we know that it is one. */
	*file = (struct boot_file){.fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK)};
	struct stat st;
	if (file->fd < 0)
		return err_sys(err, "cannot open it");
	int failed = 0;
	if (fstat(file->fd, &st))
		failed = err_sys(err, "cannot look at it");
	else if (!S_ISREG(st.st_mode))
		failed = err_set(err, ERR_INPUT, "not a regular file");
	else if (st.st_size == 0)
		failed = err_set(err, ERR_INPUT, "the file is empty");
	if (failed)
		io_close(&file->fd);
	else
		file->size = (uint64_t)st.st_size;
	return failed;
}

void boot_file_close(struct boot_file *file)
{
	io_close(&file->fd);
}

int boot_file_read(const struct boot_file *file, uint64_t offset, void *data, size_t len, struct err *err)
{
	if (offset > file->size || len > file->size - offset)
		return err_set(err, ERR_INPUT,
			       "the file is cut short: bytes %llu to %llu are needed, but it has %llu",
			       (unsigned long long)offset, (unsigned long long)(offset + len),
			       (unsigned long long)file->size);
	uint8_t *at = data;
	while (len) {
		ssize_t n = pread(file->fd, at, len < CHUNK ? len : CHUNK, (off_t)offset);
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return err_sys(err, "cannot read it");
		if (n == 0)
			return err_set(err, ERR_INPUT, "it became shorter while it was read");
		at += n;
		offset += (uint64_t)n;
		len -= (size_t)n;
	}
	return 0;
}

int boot_file_load(const struct boot_file *file, uint64_t offset, const struct memory *ram, uint64_t gpa,
		   uint64_t len, struct err *err)
{
	void *at = memory_at(ram, gpa, len);
	if (!at)
		return err_set(err, ERR_INPUT, "0x%llx bytes at 0x%llx are not in the guest's RAM",
			       (unsigned long long)len, (unsigned long long)gpa);
	return boot_file_read(file, offset, at, len, err);
}

size_t boot_memory_map(const struct memory *ram, struct boot_range map[BOOT_MAP_MAX])
{
	size_t n = 0;
	map[n++] = (struct boot_range){0, BOOT_LOW_END, BOOT_MAP_RAM};
	map[n++] = (struct boot_range){BOOT_LOW_END, 0xa0000 - BOOT_LOW_END, BOOT_MAP_RESERVED};
	map[n++] = (struct boot_range){ACPI_GPA, BOOT_KERNEL_MIN - ACPI_GPA, BOOT_MAP_RESERVED};
	map[n++] = (struct boot_range){BOOT_KERNEL_MIN, ram->low - BOOT_KERNEL_MIN, BOOT_MAP_RAM};
	/* KVM's own pages, below the place of a BIOS. */
	map[n++] = (struct boot_range){0xfffbc000, 0x4000, BOOT_MAP_RESERVED};
	if (ram->size > ram->low)
		map[n++] = (struct boot_range){MEMORY_HIGH_BASE, ram->size - ram->low, BOOT_MAP_RAM};
	return n;
}

static int load_kernel(const struct memory *ram, const struct boot_file *file, struct boot_kernel *kernel,
		       struct err *err)
{
	uint8_t magic[4] = {0};
	size_t len = file->size < sizeof(magic) ? (size_t)file->size : sizeof(magic);
	if (boot_file_read(file, 0, magic, len, err))
		return -1;
	return memcmp(magic, "\177ELF", 4) ? boot_bzimage_load(file, ram, kernel, err)
					   : boot_elf_load(file, ram, kernel, err);
}

/* The initrd goes as high as it may, out of the way of whatever the kernel does after its own end. */
static int load_initrd(const struct memory *ram, const struct boot_file *file,
		       const struct boot_kernel *kernel, struct boot_handed *handed, struct err *err)
{
	uint64_t end =
	    (kernel->initrd_end < ram->low ? kernel->initrd_end : ram->low) / MEMORY_PAGE * MEMORY_PAGE;
	uint64_t first = (kernel->end + MEMORY_PAGE - 1) / MEMORY_PAGE * MEMORY_PAGE;
	uint64_t room = end > first ? end - first : 0; /* whole pages */
	if (file->size > room) {
		char size[16], left[16];
		return err_set(
		    err, ERR_INPUT,
		    "its %s do not fit beside the kernel, which leaves %s; give the VM more memory",
		    units_format_size(file->size, size), units_format_size(room, left));
	}
	handed->initrd = (end - file->size) / MEMORY_PAGE * MEMORY_PAGE;
	handed->initrd_len = file->size;
	return boot_file_load(file, 0, ram, handed->initrd, file->size, err);
}

static int load_files(const struct memory *ram, const struct vm_config *config, struct boot_kernel *kernel,
		      struct boot_handed *handed, struct err *err)
{
	struct boot_file file;
	int failed = boot_file_open(&file, config->kernel, err) || load_kernel(ram, &file, kernel, err);
	boot_file_close(&file);
	if (failed)
		return err_context(err, "kernel %s", config->kernel);
	if (!config->initrd)
		return 0;
	failed = boot_file_open(&file, config->initrd, err) || load_initrd(ram, &file, kernel, handed, err);
	boot_file_close(&file);
	if (failed)
		return err_context(err, "initrd %s", config->initrd);
	return 0;
}

static int load_cmdline(const struct memory *ram, const char *cmdline, const struct boot_kernel *kernel,
			struct boot_handed *handed, struct err *err)
{
	size_t len = strlen(cmdline);
	if (len > kernel->cmdline_max)
		return err_set(err, ERR_INPUT,
			       "command line: %zu characters, but this kernel takes at most %u", len,
			       kernel->cmdline_max);
	memcpy(memory_at(ram, BOOT_CMDLINE, len + 1), cmdline, len + 1);
	handed->cmdline_len = len;
	return 0;
}

int boot_load(const struct memory *ram, const struct vm_config *config, struct boot_start *start,
	      struct err *err)
{
	struct boot_kernel kernel = {.start = {0}};
	struct boot_handed handed = {.rsdp = ACPI_GPA};
	if (!config->kernel)
		return err_set(err, ERR_USAGE, "this VM has no kernel to boot; name one with --kernel");
	if (load_files(ram, config, &kernel, &handed, err) ||
	    load_cmdline(ram, config->cmdline ? config->cmdline : "", &kernel, &handed, err))
		return -1;
	acpi_build(memory_at(ram, ACPI_GPA, ACPI_MAX), ACPI_GPA, config->cpus, ACPI_GENERATION_GPA, NULL);
	if (kernel.start.long_mode)
		boot_linux_params(ram, &handed, &kernel);
	else
		boot_pvh_info(ram, &handed, &kernel);
	*start = kernel.start;
	return 0;
}
