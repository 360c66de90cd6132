/* fuzz_virtio_blk: hostile rings, descriptors and requests for the block device, on a volume in a file that has no name
 * any more: no crash, no hang, nothing outside of guest RAM. */
#include "imagefmt/dvol.h"
#include "tests/fuzz/virtio.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { SECTORS = 512, PIECE = 259 };

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t max_size, unsigned seed);
size_t LLVMFuzzerMutate(uint8_t *data, size_t size, size_t max_size);

static struct machine *machine;

static void open_machine(void)
{
	char folder[] = "/tmp/fuzz-XXXXXX", path[64];
	const struct dvol_create_options options = {.size_bytes = SECTORS * 512, .journal_blocks = 16};
	struct device_config config = {.kind = DEVICE_DISK};
	struct err err = {0};
	if (!mkdtemp(folder))
		abort();
	snprintf(path, sizeof(path), "%s/disk", folder);
	config.disk.path = path;
	config.disk.queues = 2;
	if (dvol_create(path, &options, &err))
		abort();
	machine = fuzz_virtio_open(virtio_blk_create, &config);
	unlink(path);
	rmdir(folder);
}

/* piece: put len bytes at `at` of RAM, in the form of an input. */
static size_t piece(uint8_t *to, uint32_t at, const void *data, size_t len)
{
	to[0] = (uint8_t)(at >> 8);
	to[1] = (uint8_t)at;
	to[2] = (uint8_t)(len - 1);
	memcpy(to + 3, data, len);
	return len + 3;
}

static void desc(uint8_t *to, uint64_t gpa, uint32_t len, uint16_t flags, uint16_t next)
{
	le64_put(to, gpa);
	le32_put(to + 8, len);
	le16_put(to + 12, flags);
	le16_put(to + 14, next);
}

/* Now and then a request that makes sense is put behind an input, for the fuzzer to spoil; by itself it would not find
 * one. */
size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t max_size, unsigned seed)
{
	static const uint8_t types[8] = {0, 1, 0, 1, 4, 8, 11, 13};
	uint8_t header[16] = {0}, table[48], avail[12] = {0}, type = types[seed >> 5 & 7];
	unsigned slot = seed >> 2 & 3;
	uint32_t rings = FUZZ_RINGS * (1 + (seed >> 4 & 1)), at = 0x8000 + 0x1000 * slot;
	if (seed % 4 || size + 3 * PIECE > max_size)
		return LLVMFuzzerMutate(data, size, max_size);
	while (size < FUZZ_PLAIN)
		data[size++] = 0;
	header[0] = type;
	header[8] = (uint8_t)(seed >> 8);
	desc(table, at, 16, 1, (uint16_t)(3 * slot + 1));
	desc(table + 16, at + 16, type > 8 ? 16 : 512u << (seed >> 16 & 3), type % 8 == 0 ? 3 : 1,
	     (uint16_t)(3 * slot + 2));
	desc(table + 32, at + 0xfff, 1, 2, 0);
	le16_put(avail + 2, (uint16_t)(seed >> 18 & 3));
	for (unsigned i = 0; i < 4; i++)
		le16_put(avail + 4 + 2 * i, (uint16_t)(3 * ((slot + i) % 4)));
	size += piece(data + size, at, header, sizeof(header));
	size += piece(data + size, rings + 48 * slot, table, sizeof(table));
	size += piece(data + size, rings + FUZZ_AVAIL, avail, sizeof(avail));
	return size;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	if (!machine)
		open_machine();
	fuzz_virtio_run(machine, data, size);
	return 0;
}
