/* packer.h: blocks of at most 64 KiB made smaller for a link, by the codec that pays there.
 *
 * A packed block is a u32, little-endian, and as many bytes as its lower 30 bits say: bit 31: the block as it is; bit 30: a
 * zstd frame; neither: an lz4 block. */
#ifndef MIGRATE_PACKER_H
#define MIGRATE_PACKER_H

#include "common/buf.h"
#include "common/err.h"
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { PACKER_BLOCK = 65536, PACKER_HEAD = 4 };

enum packer_mode {
	PACKER_AUTO, /* what takes the least time, packing and sending together, as measured */
	PACKER_NONE,
	PACKER_LZ4,
	PACKER_ZSTD,
};
extern const char *const packer_modes[]; /* "auto", "none", …; NULL at the end */

/* packer_open: NULL when out of memory.  packer_close(NULL) is harmless.  One thread at a time. */
struct packer *packer_open(enum packer_mode mode);
void packer_close(struct packer *packer);
/* packer_link(packer, mib_ns): what a MiB takes on the link; 0: not known, all that shrinks is worth it. */
void packer_link(struct packer *packer, uint64_t mib_ns);
/* packer_block_ns(packer): what a block costs at present, packing and sending; 0: not known. */
uint64_t packer_block_ns(const struct packer *packer);
/* packer_pack(packer, block, len, to): the block behind its u32 at `to`, which has room for PACKER_HEAD + len.  Returns how many
 * bytes that are, or 0: nothing shrinks it, or that would not pay, as of what is shorter than a page (packer_store keeps it as it is). */
size_t packer_pack(struct packer *packer, const uint8_t *block, size_t len, uint8_t *to);
size_t packer_store(const uint8_t *block, size_t len, uint8_t *to);

/* An unpacker, of one thread at a time.  unpacker_take(unpacker, reader, to, len): the next packed block, which must have
 * exactly len bytes.  NULL, or what is wrong with it (then what `to` holds means nothing). */
struct unpacker *unpacker_open(void);
void unpacker_close(struct unpacker *unpacker);
const char *unpacker_take(struct unpacker *unpacker, struct reader *reader, uint8_t *to, size_t len);

#endif
