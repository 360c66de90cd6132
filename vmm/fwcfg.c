/* fwcfg.c: ports, requests by DMA, state; what there is to read is fwcfg_items.c's. */
#include "vmm/fwcfg.h"
#include "vmm/machine_impl.h"
#include <assert.h>
#include <endian.h>
#include <stdio.h>
#include <string.h>

enum {
	SELECTOR = 0x510,
	DATA = 0x511,
	DMA_HIGH = 0x514,
	DMA_LOW = 0x518,
	/* control of a request */
	DMA_ERROR = 0x01,
	DMA_READ = 0x02,
	DMA_SKIP = 0x04,
	DMA_SELECT = 0x08, /* the item in the upper 16 bits first */
	DMA_WRITE = 0x10,
	DMA_REQUEST = 16, /* bytes of it: control, length, address */
};

struct buf *fwcfg_item(struct fwcfg *fwcfg, uint16_t key)
{
	assert(fwcfg->items < FWCFG_ITEMS);
	struct fwcfg_item *item = &fwcfg->item[fwcfg->items++];
	*item = (struct fwcfg_item){.key = key};
	return &item->data;
}

struct buf *fwcfg_file(struct fwcfg *fwcfg, const char *name)
{
	unsigned files = 0;
	for (unsigned i = 0; i < fwcfg->items; i++)
		files += fwcfg->item[i].name[0] != 0;
	struct buf *data = fwcfg_item(fwcfg, (uint16_t)(FWCFG_FIRST_FILE + files));
	struct fwcfg_item *item = &fwcfg->item[fwcfg->items - 1];
	snprintf(item->name, sizeof(item->name), "%s", name);
	return data;
}

void fwcfg_free(struct fwcfg *fwcfg)
{
	for (unsigned i = 0; i < fwcfg->items; i++)
		buf_free(&fwcfg->item[i].data);
	*fwcfg = (struct fwcfg){0};
}

void fwcfg_reset(struct fwcfg *fwcfg)
{
	fwcfg->key = 0;
	fwcfg->offset = 0;
	fwcfg->dma = 0;
}

static void choose(struct fwcfg *fwcfg, uint16_t key)
{
	fwcfg->key = key;
	fwcfg->offset = 0;
}

/* peek: what is left of the selected item; *len may be 0. */
static const uint8_t *peek(const struct fwcfg *fwcfg, uint32_t *len)
{
	*len = 0;
	for (unsigned i = 0; i < fwcfg->items; i++) {
		const struct fwcfg_item *item = &fwcfg->item[i];
		if (item->key != fwcfg->key || fwcfg->offset >= item->data.len)
			continue;
		*len = (uint32_t)item->data.len - fwcfg->offset;
		return item->data.data + fwcfg->offset;
	}
	return NULL;
}

/* transfer: `len` bytes of the item to gpa, and behind its end zeroes.  -1: not RAM. */
static int transfer(struct machine *machine, uint64_t gpa, uint32_t len)
{
	static const uint8_t zeroes[4096];
	struct fwcfg *fwcfg = &machine->fwcfg;
	uint32_t left;
	const uint8_t *data = peek(fwcfg, &left);
	uint32_t now = left < len ? left : len;
	if (!memory_at(&machine->ram, gpa, len))
		return -1;
	if (now)
		(void)machine_write_ram(machine, gpa, data, now);
	fwcfg->offset += now;
	for (uint32_t done = now; done < len; done += now) {
		now = len - done < sizeof(zeroes) ? len - done : (uint32_t)sizeof(zeroes);
		(void)machine_write_ram(machine, gpa + done, zeroes, now);
	}
	return 0;
}

static void skip(struct fwcfg *fwcfg, uint32_t len)
{
	uint32_t left;
	(void)peek(fwcfg, &left);
	fwcfg->offset += left < len ? left : len;
}

/* The request at fwcfg->dma; what came of it goes where its control word was.  One that is not in RAM is dropped. */
static void request(struct machine *machine)
{
	struct fwcfg *fwcfg = &machine->fwcfg;
	uint64_t at = fwcfg->dma;
	uint32_t words[DMA_REQUEST / 4], result = 0;
	fwcfg->dma = 0;
	const void *asked = memory_at(&machine->ram, at, DMA_REQUEST);
	if (!asked)
		return;
	memcpy(words, asked, sizeof(words)); /* once: the guest may change it meanwhile */
	uint32_t control = be32toh(words[0]), len = be32toh(words[1]);
	uint64_t gpa = (uint64_t)be32toh(words[2]) << 32 | be32toh(words[3]);
	if (control & DMA_SELECT)
		choose(fwcfg, (uint16_t)(control >> 16));
	if (control & (DMA_READ | DMA_WRITE | DMA_SKIP) && len > FWCFG_DMA_MAX)
		result = DMA_ERROR;
	else if (control & DMA_READ)
		result = len && transfer(machine, gpa, len) ? DMA_ERROR : 0;
	else if (control & DMA_WRITE)
		result = DMA_ERROR; /* no item may be written */
	else if (control & DMA_SKIP)
		skip(fwcfg, len);
	result = htobe32(result);
	(void)machine_write_ram(machine, at, &result, sizeof(result));
}

uint32_t fwcfg_read(struct machine *machine, uint16_t port, unsigned size)
{
	static const uint8_t signature[8] = "QEMU CFG"; /* at the DMA registers */
	struct fwcfg *fwcfg = &machine->fwcfg;
	uint8_t value[4] = {0};
	for (unsigned i = 0; i < size; i++) {
		uint32_t left;
		const uint8_t *next = peek(fwcfg, &left);
		if (port == DATA && left) {
			value[i] = *next;
			fwcfg->offset++;
		} else if (port >= DMA_HIGH && port + i < DMA_HIGH + sizeof(signature)) {
			value[i] = signature[port + i - DMA_HIGH];
		}
	}
	return le32_get(value);
}

void fwcfg_write(struct machine *machine, uint16_t port, unsigned size, uint32_t value)
{
	struct fwcfg *fwcfg = &machine->fwcfg;
	if (port == SELECTOR && size == 2) {
		choose(fwcfg, (uint16_t)value);
	} else if (port == DMA_HIGH && size == 4) {
		fwcfg->dma = (uint64_t)be32toh(value) << 32;
	} else if (port == DMA_LOW && size == 4) {
		fwcfg->dma |= be32toh(value);
		request(machine);
	}
}

void fwcfg_save(const struct fwcfg *fwcfg, struct buf *out)
{
	buf_put_u16(out, fwcfg->key);
	buf_put_u32(out, fwcfg->offset);
	buf_put_u64(out, fwcfg->dma);
}

int fwcfg_load(struct fwcfg *fwcfg, const void *data, size_t len, struct err *err)
{
	struct reader r = reader_of(data, len);
	uint16_t key = reader_u16(&r);
	uint32_t offset = reader_u32(&r); /* of any size: peek compares it */
	uint64_t dma = reader_u64(&r);
	if (r.bad || r.left)
		return err_set(err, ERR_INPUT,
			       "firmware configuration state: its length of %zu bytes is wrong", len);
	fwcfg->key = key;
	fwcfg->offset = offset;
	fwcfg->dma = dma;
	return 0;
}
