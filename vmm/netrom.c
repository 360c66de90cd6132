/* netrom.c: see netrom.h.  What a ROM looks like: PCI Firmware Specification, chapter 5. */
#include "vmm/netrom.h"
#include "vmm/boot.h"
#include "vmm/machine_impl.h"
#include <string.h>

enum {
	SECTOR = 512,
	ROM_SECTORS = 2,     /* byte: its length */
	ROM_PCI_DATA = 0x18, /* u16: where what follows is */
	PCI_DATA_VENDOR = 4, /* u16, and then the device */
	PCI_DATA_LEN = 24,   /* of the part that is always there */
};

int netrom_check(const void *data, size_t len, struct err *err)
{
	static const uint8_t wanted[4] = {0xf4, 0x1a, 0x41, 0x10}; /* vendor and device */
	const uint8_t *rom = data;
	uint8_t sum = 0;
	if (len < SECTOR || rom[0] != 0x55 || rom[1] != 0xaa)
		return err_set(err, ERR_INPUT, "it is no option ROM");
	size_t bytes = (size_t)rom[ROM_SECTORS] * SECTOR, at = le16_get(rom + ROM_PCI_DATA);
	if (!bytes || bytes > len)
		return err_set(err, ERR_INPUT, "it has %zu bytes, but says that it has %zu", len, bytes);
	if (at + PCI_DATA_LEN > bytes || memcmp(rom + at, "PCIR", 4) ||
	    memcmp(rom + at + PCI_DATA_VENDOR, wanted, sizeof(wanted)))
		return err_set(err, ERR_INPUT,
			       "it is for another device than virtio network cards (1af4:1041)");
	for (size_t i = 0; i < bytes; i++)
		sum = (uint8_t)(sum + rom[i]);
	return sum ? err_set(err, ERR_INPUT, "its checksum is wrong") : 0;
}

static int read_rom(const struct boot_file *file, struct buf *rom, struct err *err)
{
	if (file->size > NETROM_MAX)
		return err_set(err, ERR_INPUT, "%llu bytes are more than the %d of an option ROM",
			       (unsigned long long)file->size, NETROM_MAX);
	if (boot_file_read(file, 0, buf_reserve(rom, file->size), file->size, err))
		return -1;
	rom->len = file->size;
	return netrom_check(rom->data, rom->len, err);
}

int netrom_load(struct machine *machine, const char *path, struct err *err)
{
	struct boot_file file;
	struct buf rom = {0};
	struct err why = {0};
	if (!netrom_get(machine))
		return 0;
	int failed = boot_file_open(&file, path, &why);
	if (!failed) {
		failed = read_rom(&file, &rom, &why);
		boot_file_close(&file);
	}
	if (!failed)
		fwcfg_fill(&machine->fwcfg, NETROM_FILE, rom.data, rom.len);
	buf_free(&rom);
	return failed ? err_set(err, why.kind,
				"network boot: %s: %s; a VM boots from its network by this ROM: install the "
				"package '" NETROM_PACKAGE "'",
				path, why.text)
		      : 0;
}

const struct buf *netrom_get(struct machine *machine)
{
	return fwcfg_find(&machine->fwcfg, NETROM_FILE);
}

int netrom_restore(struct machine *machine, const void *data, size_t len, struct err *err)
{
	if (!data != !netrom_get(machine))
		return err_set(err, ERR_INPUT,
			       "machine state: it has %s to boot from its network, unlike here",
			       data ? "the ROM" : "no ROM");
	if (!data)
		return 0;
	if (netrom_check(data, len, err))
		return err_context(err, "machine state: ROM for booting from the network");
	fwcfg_fill(&machine->fwcfg, NETROM_FILE, data, len);
	return 0;
}
