/* fwcfg_items.c: what firmware finds: items with a number of their own, and files, of which the directory is an item too.
 * Sources: QEMU, docs/specs/fw_cfg; SeaBIOS, docs/Runtime_config.md, src/fw/romfile_loader.h. */
#include "vmm/acpi.h"
#include "vmm/boot.h"
#include "vmm/machine_impl.h"
#include "vmm/netrom.h"
#include <endian.h>
#include <stdio.h>
#include <string.h>

enum {
	KEY_SIGNATURE = 0x00,
	KEY_ID = 0x01,
	KEY_UUID = 0x02,
	KEY_RAM_SIZE = 0x03,
	KEY_NO_GRAPHIC = 0x04,
	KEY_CPUS = 0x05,
	KEY_MAX_CPUS = 0x0f,
	KEY_DIRECTORY = 0x19,
	ID_PORTS_AND_DMA = 3,
	SERIAL_PORT = 0x3f8,
	/* commands of the table loader: struct of 128 bytes each */
	LOADER_ALLOCATE = 1,
	LOADER_ADD_POINTER = 2,
	LOADER_ADD_CHECKSUM = 3,
	LOADER_ENTRY = 128,
	LOADER_NAME = 56,
	ZONE_HIGH = 1,
	ZONE_FSEG = 2,
};

static const char rsdp_file[] = "etc/acpi/rsdp", tables_file[] = "etc/acpi/tables";

/* ---- numbered items -------------------------------------------------------------------------------------- */

static void put_uuid(struct buf *out, const char *uuid)
{
	unsigned byte;
	for (const char *c = uuid; *c; c++)
		if (*c != '-' && sscanf(c, "%2x", &byte) == 1) {
			buf_put_u8(out, (uint8_t)byte);
			c++;
		}
}

static void numbered(struct fwcfg *fwcfg, const struct vm_config *config)
{
	buf_put(fwcfg_item(fwcfg, KEY_SIGNATURE), "QEMU", 4);
	buf_put_u32(fwcfg_item(fwcfg, KEY_ID), ID_PORTS_AND_DMA);
	put_uuid(fwcfg_item(fwcfg, KEY_UUID), config->uuid);
	buf_put_u64(fwcfg_item(fwcfg, KEY_RAM_SIZE), config->memory_bytes);
	buf_put_u16(fwcfg_item(fwcfg, KEY_NO_GRAPHIC), 1);
	buf_put_u16(fwcfg_item(fwcfg, KEY_CPUS), (uint16_t)config->cpus);
	buf_put_u16(fwcfg_item(fwcfg, KEY_MAX_CPUS), (uint16_t)config->cpus);
}

/* The directory: number of files, and of each its length, number and name; big-endian. */
static void directory(const struct fwcfg *fwcfg, struct buf *out)
{
	uint32_t files = 0;
	buf_clear(out);
	for (unsigned i = 0; i < fwcfg->items; i++)
		files += fwcfg->item[i].name[0] != 0;
	buf_put_u32(out, htobe32(files));
	for (unsigned i = 0; i < fwcfg->items; i++) {
		const struct fwcfg_item *item = &fwcfg->item[i];
		if (!item->name[0])
			continue;
		buf_put_u32(out, htobe32((uint32_t)item->data.len));
		buf_put_u16(out, htobe16(item->key));
		buf_put_u16(out, 0);
		buf_put(out, item->name, sizeof(item->name));
	}
}

const struct buf *fwcfg_find(const struct fwcfg *fwcfg, const char *name)
{
	for (unsigned i = 0; i < fwcfg->items; i++)
		if (!strcmp(fwcfg->item[i].name, name))
			return &fwcfg->item[i].data;
	return NULL;
}

void fwcfg_fill(struct fwcfg *fwcfg, const char *name, const void *data, size_t len)
{
	for (unsigned i = 0; i < fwcfg->items; i++) {
		struct fwcfg_item *item = &fwcfg->item[i];
		if (!strcmp(item->name, name)) {
			buf_clear(&item->data);
			buf_put(&item->data, data, len);
		}
	}
	/* It has the files' lengths. */
	for (unsigned i = 0; i < fwcfg->items; i++)
		if (fwcfg->item[i].key == KEY_DIRECTORY)
			directory(fwcfg, &fwcfg->item[i].data);
}

/* ---- files ----------------------------------------------------------------------------------------------- */

/* RAM less the page that holds the generation's id, KVM's own pages.  The holes below 1 MiB are the firmware's to know. */
static void put_memory_map(struct machine *machine, struct buf *out)
{
	const struct memory *ram = &machine->ram;
	const struct boot_range map[] = {
	    {0, ram->low - MEMORY_PAGE, BOOT_MAP_RAM},
	    {ram->low - MEMORY_PAGE, MEMORY_PAGE, BOOT_MAP_RESERVED},
	    {0xfffbc000, 0x4000, BOOT_MAP_RESERVED},
	    {MEMORY_HIGH_BASE, ram->size - ram->low, BOOT_MAP_RAM},
	};
	for (unsigned i = 0; i < sizeof(map) / sizeof(map[0]); i++) {
		if (!map[i].len)
			continue;
		buf_put_u64(out, map[i].gpa);
		buf_put_u64(out, map[i].len);
		buf_put_u32(out, map[i].type);
	}
}

static void put_devices(const struct vm_config *config, enum device_kind kind, const char *name,
			const char *rest, struct buf *out)
{
	for (unsigned i = 0; i < config->ndevices; i++) {
		char line[64];
		if (config->devices[i].kind != kind)
			continue;
		int len =
		    snprintf(line, sizeof(line), "/pci@i0cf8/%s@%x%s\n", name, config->devices[i].slot, rest);
		buf_put(out, line, (size_t)len);
	}
}

/* Disks in the order in which the definition names them; before them network cards where it says so. */
static void boot_order(const struct vm_config *config, struct buf *out)
{
	if (config->boot == BOOT_NETWORK)
		put_devices(config, DEVICE_NET, "ethernet", "", out);
	put_devices(config, DEVICE_DISK, "scsi", "/disk@0,0", out);
	if (out->len)
		out->data[out->len - 1] = 0; /* a NUL ends the last one */
}

/* One of the loader's commands; fields beside the names are put in by its caller. */
static uint8_t *loader_entry(struct buf *out, uint32_t command, const char *first, const char *second)
{
	uint8_t *at = buf_reserve(out, LOADER_ENTRY);
	memset(at, 0, LOADER_ENTRY);
	out->len += LOADER_ENTRY;
	le32_put(at, command);
	strcpy((char *)at + 4, first);
	if (second)
		strcpy((char *)at + 4 + LOADER_NAME, second);
	return at + 4 + (second ? 2 : 1) * LOADER_NAME;
}

static void loader_allocate(struct buf *out, const char *file, uint32_t align, uint8_t zone)
{
	uint8_t *fields = loader_entry(out, LOADER_ALLOCATE, file, NULL);
	le32_put(fields, align);
	fields[4] = zone;
}

/* acpi_build puts the RSDP first and the tables behind it; here they are two files, since the firmware puts them in two
 * places, and all addresses are offsets in the second one until the firmware adds where that is. */
static void acpi_files(struct machine *machine, unsigned cpus)
{
	static const uint64_t base = 0ull - ACPI_RSDP_ROOM;
	struct fwcfg *fwcfg = &machine->fwcfg;
	uint8_t all[ACPI_MAX];
	struct acpi_links links;
	size_t len = acpi_build(all, base, cpus, machine->ram.low - MEMORY_PAGE, &links);
	buf_put(fwcfg_file(fwcfg, rsdp_file), all, ACPI_RSDP_LEN);
	buf_put(fwcfg_file(fwcfg, tables_file), all + ACPI_RSDP_ROOM, len - ACPI_RSDP_ROOM);
	struct buf *out = fwcfg_file(fwcfg, "etc/table-loader");
	loader_allocate(out, rsdp_file, 16, ZONE_FSEG);
	loader_allocate(out, tables_file, 64, ZONE_HIGH);
	for (unsigned i = 0; i < links.pointers; i++) {
		uint32_t at = links.pointer[i].offset;
		bool in_rsdp = at < ACPI_RSDP_ROOM;
		uint8_t *fields =
		    loader_entry(out, LOADER_ADD_POINTER, in_rsdp ? rsdp_file : tables_file, tables_file);
		le32_put(fields, in_rsdp ? at : at - ACPI_RSDP_ROOM);
		fields[4] = links.pointer[i].size;
	}
	for (unsigned i = 0; i < links.sums; i++) {
		uint32_t start = links.sum[i].start, shift = start < ACPI_RSDP_ROOM ? 0 : ACPI_RSDP_ROOM;
		uint8_t *fields =
		    loader_entry(out, LOADER_ADD_CHECKSUM, shift ? tables_file : rsdp_file, NULL);
		le32_put(fields, links.sum[i].offset - shift);
		le32_put(fields + 4, start - shift);
		le32_put(fields + 8, links.sum[i].len);
	}
}

void fwcfg_init(struct machine *machine, const struct vm_config *config)
{
	/* Which of S0 to S5 there are (bit 7), and their types: no suspending, only power-off. */
	static const uint8_t states[6] = {0x80, 0, 0, 1, 2, 0x80 | POWER_SLEEP_TYPE_OFF};
	struct fwcfg *fwcfg = &machine->fwcfg;
	numbered(fwcfg, config);
	put_memory_map(machine, fwcfg_file(fwcfg, "etc/e820"));
	buf_put_u16(fwcfg_file(fwcfg, "etc/sercon-port"), SERIAL_PORT);
	buf_put(fwcfg_file(fwcfg, "etc/system-states"), states, sizeof(states));
	boot_order(config, fwcfg_file(fwcfg, "bootorder"));
	acpi_files(machine, config->cpus);
	if (config->boot == BOOT_NETWORK)
		(void)fwcfg_file(fwcfg, NETROM_FILE); /* netrom_load and netrom_restore fill it */
	directory(fwcfg, fwcfg_item(fwcfg, KEY_DIRECTORY));
}
