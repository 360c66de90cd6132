/* delta.h: a page as what differs from one that the other side has.  Pure.
 *
 * A page is 64 blocks of 64 bytes, a cache line each.  Whoever sends it keeps 4 bytes of each block, its digest, instead of
 * the page: a sixteenth of what a copy takes.  A delta has the blocks whose digests have changed:
 *    0 u64 sum      XXH3-64 of the page that comes of it
 *    8 u64 blocks   bit b: block b is in it
 *   16 these blocks, in order
 * The sum makes a wrong page impossible: of a base that is not what the sender takes it for, or where two contents of a
 * block had the same digest, the sum tells, and nothing is made of it. */
#ifndef MIGRATE_DELTA_H
#define MIGRATE_DELTA_H

#include "common/buf.h"
#include <stdint.h>

enum {
	DELTA_PAGE = 4096,
	DELTA_BLOCK = 64,
	DELTA_BLOCKS = DELTA_PAGE / DELTA_BLOCK,
	DELTA_HEAD = 16,
	DELTA_BLOCKS_MAX = 32, /* in one that is sent: with more of them it does not pay */
	DELTA_MAX = DELTA_HEAD + DELTA_BLOCKS_MAX * DELTA_BLOCK,
};

/* delta_digest(page, seed, digest): seed: so that nobody who does not know it can make two blocks that have one digest. */
void delta_digest(const uint8_t *page, uint64_t seed, uint32_t digest[DELTA_BLOCKS]);
/* delta_update(digest, page, seed): the same for a page whose digest before is known; which blocks changed. */
uint64_t delta_update(uint32_t digest[DELTA_BLOCKS], const uint8_t *page, uint64_t seed);
/* delta_put(page, blocks, to): the delta with these blocks, at most DELTA_BLOCKS_MAX, into `to` (DELTA_MAX bytes).  Its length. */
size_t delta_put(const uint8_t *page, uint64_t blocks, uint8_t *to);

enum delta_result {
	DELTA_DONE,
	DELTA_BAD,   /* it ends inside of a delta */
	DELTA_OTHER, /* this is not the page that it was made for */
};
/* delta_take(reader, page): the next delta: page, which is its base, becomes what it was made from.  Not DELTA_DONE: what the
 * page holds means nothing. */
enum delta_result delta_take(struct reader *reader, uint8_t *page);

#endif
