/* firmware.c: the image and its two places. */
#include "vmm/firmware.h"
#include "vmm/boot.h"
#include "vmm/machine_impl.h"
#include <string.h>
#include <sys/mman.h>

#define TOP (1ull << 32) /* the image ends here, and with it the reset vector's page */

static int make_room(struct firmware *firmware, uint32_t bytes, struct err *err)
{
	void *image = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (image == MAP_FAILED)
		return err_sys(err, "firmware: cannot take %u bytes", bytes);
	*firmware = (struct firmware){.image = image, .bytes = bytes};
	return 0;
}

static int place(struct machine *machine, struct err *err)
{
	const struct firmware *firmware = &machine->firmware;
	if (kvm_set_slot(&machine->kvm, SLOT_FIRMWARE, KVM_MEM_READONLY, TOP - firmware->bytes,
			 firmware->bytes, firmware->image))
		return err_sys(err, "KVM: cannot place the firmware");
	return 0;
}

static bool size_fits(uint64_t bytes)
{
	return bytes == FIRMWARE_MIN || bytes == FIRMWARE_MAX;
}

static int read_image(struct machine *machine, const struct boot_file *file, struct err *err)
{
	if (!size_fits(file->size))
		return err_set(err, ERR_INPUT,
			       "it has %llu bytes, but a PC BIOS has %d or %d; package " FIRMWARE_PACKAGE
			       " has one (%s)",
			       (unsigned long long)file->size, FIRMWARE_MIN, FIRMWARE_MAX, FIRMWARE_DEFAULT);
	if (make_room(&machine->firmware, (uint32_t)file->size, err) ||
	    boot_file_read(file, 0, machine->firmware.image, file->size, err))
		return -1;
	return place(machine, err);
}

int firmware_load(struct machine *machine, const char *path, struct err *err)
{
	const char *name = path ? path : FIRMWARE_DEFAULT;
	struct boot_file file;
	struct err why = {0};
	if (machine->firmware.image)
		return err_set(err, ERR_STATE, "this machine has its firmware already");
	if (boot_file_open(&file, name, &why))
		return err_set(err, why.kind,
			       "firmware %s: %s; a VM without a kernel starts by it: install the package "
			       "'" FIRMWARE_PACKAGE "', or name a kernel",
			       name, why.text);
	int failed = read_image(machine, &file, err);
	boot_file_close(&file);
	return failed ? err_context(err, "firmware %s", name) : 0;
}

void firmware_shadow(struct machine *machine)
{
	const struct firmware *firmware = &machine->firmware;
	/* RAM is 4 MiB at least: this is part of it. */
	(void)machine_write_ram(machine, FIRMWARE_SHADOW_END - firmware->bytes, firmware->image,
				firmware->bytes);
}

void firmware_free(struct firmware *firmware)
{
	if (firmware->image)
		munmap(firmware->image, firmware->bytes);
	*firmware = (struct firmware){0};
}

/* The first part of an image is empty: it is not sent. */
void firmware_save(const struct firmware *firmware, struct buf *out)
{
	uint32_t first = 0;
	while (first < firmware->bytes && !firmware->image[first])
		first++;
	buf_put_u32(out, firmware->bytes);
	buf_put_u32(out, first);
	buf_put(out, firmware->image + first, firmware->bytes - first);
}

int firmware_restore(struct machine *machine, const void *data, size_t len, struct err *err)
{
	struct reader r = reader_of(data, len);
	uint32_t bytes = reader_u32(&r), first = reader_u32(&r);
	if (r.bad || !size_fits(bytes) || first > bytes || r.left != bytes - first)
		return err_set(err, ERR_INPUT, "firmware state: its %zu bytes are not valid", len);
	if (machine->firmware.image)
		return err_set(err, ERR_STATE, "this machine has its firmware already");
	if (make_room(&machine->firmware, bytes, err))
		return -1;
	memcpy(machine->firmware.image + first, reader_bytes(&r, bytes - first), bytes - first);
	return place(machine, err);
}
