/* fwcfg.h: what firmware asks about the machine: numbered items and named files, read through ports or by DMA.
 *
 * The interface is QEMU's, since firmware knows it (QEMU, docs/specs/fw_cfg).  A selector at port 0x510 (16 bits), a
 * byte of the selected item at each read of 0x511; at 0x514 and 0x518 the two halves, big-endian, of the address of a
 * request in RAM: control, length, address, big-endian too.  The items are made from the machine's definition alone, so
 * they are the same wherever it goes; the guest cannot write any.
 * Not locked: its user serializes. */
#ifndef VMM_FWCFG_H
#define VMM_FWCFG_H

#include "common/buf.h"
#include "common/err.h"
#include "vmm/config.h"
#include <stddef.h>
#include <stdint.h>

struct machine;

enum {
	FWCFG_PORT = 0x510,
	FWCFG_PORTS = 12,
	FWCFG_ITEMS = 24,
	FWCFG_NAME = 56,         /* bytes of a file's name, its NUL included */
	FWCFG_FIRST_FILE = 0x20, /* number of the first file */
	FWCFG_DMA_MAX = 1 << 20, /* bytes that one request may move or skip: far more than any item has */
	FWCFG_STATE_VERSION = 1,
	FWCFG_STATE_LEN = 14,
};

struct fwcfg_item {
	uint16_t key;
	char name[FWCFG_NAME]; /* of a file */
	struct buf data;
};

struct fwcfg {
	struct fwcfg_item item[FWCFG_ITEMS];
	unsigned items;
	uint16_t key;
	uint32_t offset; /* of the next byte, at most the item's length */
	uint64_t dma; /* the request's address, of which the upper half is kept until the lower one comes */
};

/* fwcfg_init(machine, config): the items, in machine->fwcfg.  fwcfg_free: also of a zeroed struct. */
void fwcfg_init(struct machine *machine, const struct vm_config *config);
void fwcfg_free(struct fwcfg *fwcfg);
void fwcfg_reset(struct fwcfg *fwcfg);

/* fwcfg_read, fwcfg_write: the guest's accesses; size 1, 2 or 4. */
uint32_t fwcfg_read(struct machine *machine, uint16_t port, unsigned size);
void fwcfg_write(struct machine *machine, uint16_t port, unsigned size, uint32_t value);

void fwcfg_save(const struct fwcfg *fwcfg, struct buf *out);
int fwcfg_load(struct fwcfg *fwcfg, const void *data, size_t len, struct err *err);

/* fwcfg_find: the content of a file; NULL: there is none of that name.  fwcfg_fill: another content for one that there is,
 * before the machine runs. */
const struct buf *fwcfg_find(const struct fwcfg *fwcfg, const char *name);
void fwcfg_fill(struct fwcfg *fwcfg, const char *name, const void *data, size_t len);

/* For fwcfg.c and fwcfg_items.c: an empty item or file, whose content is then put into it. */
struct buf *fwcfg_item(struct fwcfg *fwcfg, uint16_t key);
struct buf *fwcfg_file(struct fwcfg *fwcfg, const char *name);

#endif
