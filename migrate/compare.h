/* compare.h: the messages by which what a receiver has of a disk is compared with the sender's, block by block (docs/stream.md). */
#ifndef MIGRATE_COMPARE_H
#define MIGRATE_COMPARE_H

#include "common/err.h"
#include "imagefmt/dvol.h"
#include "migrate/link.h"
#include <stddef.h>
#include <stdint.h>

enum { COMPARE_BLOCKS = 16384 }; /* in one message at most: 64 MiB; their digests fit a frame */

/* A range of blocks of a disk. */
struct compare_range {
	uint16_t volume; /* in the stream */
	uint32_t blocks;
	uint64_t first;
};

/* What the receiver has there: which blocks are other than zeroes (bit i % 8 of byte i / 8), and the digests of these, in their order. */
struct compare_digests {
	struct compare_range range;
	const uint8_t *present;
	const uint8_t (*digest)[DVOL_BLOCK_DIGEST]; /* the frame's */
};

/* Sending: one frame, flushed.  digests: one for each block, zeroes for zeroes. */
int compare_send(struct link *link, const struct compare_range *range, struct err *err);
int compare_send_digests(struct link *link, const struct compare_range *range,
			 const uint8_t (*digests)[DVOL_BLOCK_DIGEST], struct err *err);
/* Reading payloads: 0, or -1 with ERR_INPUT.  The range is not empty and not too long; whether it lies in a disk is the caller's to check. */
int compare_read(const struct frame *frame, struct compare_range *range, struct err *err);
int compare_read_digests(const struct frame *frame, struct compare_digests *digests, struct err *err);

#endif
