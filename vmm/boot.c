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

int boot_file_open(struct boot_file *file, const char *what, const char *path, struct err *err)
{
	*file = (struct boot_file){
	    .fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK), .what = what, .path = path};
	struct stat st;
	if (file->fd < 0 || fstat(file->fd, &st)) {
		err_sys(err, "%s %s", what, path);
		io_close(&file->fd);
		return -1;
	}
	if (!S_ISREG(st.st_mode)) {
		io_close(&file->fd);
		return err_set(err, ERR_INPUT, "%s %s: not a regular file", what, path);
	}
	if (st.st_size == 0) {
		io_close(&file->fd);
		return err_set(err, ERR_INPUT, "%s %s: the file is empty", what, path);
	}
	file->size = (uint64_t)st.st_size;
	return 0;
}

void boot_file_close(struct boot_file *file)
{
	io_close(&file->fd);
}

int boot_file_read(const struct boot_file *file, uint64_t offset, void *data, size_t len, struct err *err)
{
	if (offset > file->size || len > file->size - offset)
		return err_set(err, ERR_INPUT,
			       "%s %s: the file is cut short: bytes %llu to %llu are needed, but it has %llu",
			       file->what, file->path, (unsigned long long)offset,
			       (unsigned long long)(offset + len), (unsigned long long)file->size);
	uint8_t *at = data;
	while (len) {
		ssize_t n = pread(file->fd, at, len < CHUNK ? len : CHUNK, (off_t)offset);
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return err_sys(err, "%s %s: cannot read it", file->what, file->path);
		if (n == 0)
			return err_set(err, ERR_INPUT, "%s %s: it became shorter while it was read",
				       file->what, file->path);
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
		return err_set(err, ERR_INPUT, "%s %s: 0x%llx bytes at 0x%llx are not in the guest's RAM",
			       file->what, file->path, (unsigned long long)len, (unsigned long long)gpa);
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

static int load_kernel(const struct memory *ram, const char *path, struct boot_kernel *kernel,
		       struct err *err)
{
	struct boot_file file;
	uint8_t magic[4] = {0};
	if (boot_file_open(&file, "kernel", path, err))
		return -1;
	int failed = boot_file_read(&file, 0, magic,
				    file.size < sizeof(magic) ? (size_t)file.size : sizeof(magic), err);
	if (!failed)
		failed = memcmp(magic, "\177ELF", 4) ? boot_bzimage_load(&file, ram, kernel, err)
						     : boot_elf_load(&file, ram, kernel, err);
	boot_file_close(&file);
	return failed;
}

/* The initrd goes as high as it may, out of the way of whatever the kernel does after its own end. */
static int load_initrd(const struct memory *ram, const char *path, const struct boot_kernel *kernel,
		       struct boot_handed *handed, struct err *err)
{
	struct boot_file file;
	if (boot_file_open(&file, "initrd", path, err))
		return -1;
	uint64_t end =
	    (kernel->initrd_end < ram->low ? kernel->initrd_end : ram->low) / MEMORY_PAGE * MEMORY_PAGE;
	uint64_t first = (kernel->end + MEMORY_PAGE - 1) / MEMORY_PAGE * MEMORY_PAGE;
	uint64_t room = end > first ? end - first : 0; /* whole pages */
	int failed;
	if (file.size > room) {
		char size[16], left[16];
		failed = err_set(err, ERR_INPUT,
				 "initrd %s: its %s do not fit beside the kernel, which leaves %s; give the "
				 "VM more memory",
				 path, units_format_size(file.size, size), units_format_size(room, left));
	} else {
		handed->initrd = (end - file.size) / MEMORY_PAGE * MEMORY_PAGE;
		handed->initrd_len = file.size;
		failed = boot_file_load(&file, 0, ram, handed->initrd, file.size, err);
	}
	boot_file_close(&file);
	return failed;
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
	if (load_kernel(ram, config->kernel, &kernel, err) ||
	    load_cmdline(ram, config->cmdline ? config->cmdline : "", &kernel, &handed, err))
		return -1;
	if (config->initrd && load_initrd(ram, config->initrd, &kernel, &handed, err))
		return -1;
	acpi_build(memory_at(ram, ACPI_GPA, ACPI_MAX), ACPI_GPA, config->cpus);
	if (kernel.start.long_mode)
		boot_linux_params(ram, &handed, &kernel);
	else
		boot_pvh_info(ram, &handed, &kernel);
	*start = kernel.start;
	return 0;
}
