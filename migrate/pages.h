/* pages.h: memory pages as the payload of a frame: zero pages as ranges, those that were sent before as what has changed, all
 * compressed together.
 *
 * Payload, little-endian:
 *    0 u16 volume           which memory; ids are the upper layer's
 *    2 u16 encoding         0 raw, 1 packed
 *    4 u32 runs             1 .. PAGES_RUNS_MAX
 *    8 u32 decoded length   of the data: 4096 x data pages, and the deltas; at most that of PAGES_BATCH_MAX pages
 *   12 runs: { u64 first page, u32 count (not 0), u32 kind: 0 data, 1 zero, 2 delta }, ascending, none overlapping
 *   then the data: the pages of all data runs in order, then a delta (delta.h) for each page of all delta runs in order
 *     raw: as it is
 *     packed: in blocks of PACKER_BLOCK bytes (the last one may have fewer), as in packer.h
 * Nothing follows.  What the upper layer needs besides (epoch, round) goes before it, in a header of its own.
 */
#ifndef MIGRATE_PAGES_H
#define MIGRATE_PAGES_H

#include "common/buf.h"
#include "common/err.h"
#include "migrate/packer.h"
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
	PAGES_SIZE = 4096,
	PAGES_BATCH = 64,      /* pages that are not zero the encoder puts into a frame */
	PAGES_BLOCK = 16,      /* pages packed together */
	PAGES_BATCH_MAX = 128, /* of these a decoder takes */
	PAGES_RUNS_MAX = 1024,
	PAGES_HEADER = 12,
	PAGES_RUN = 16,

	PAGES_RAW = 0, /* encodings */
	PAGES_PACKED = 1,
	PAGES_RUN_DATA = 0, /* kinds of runs */
	PAGES_RUN_ZERO = 1,
	PAGES_RUN_DELTA = 2,
};

/* What was encoded or decoded since the coder was opened. */
struct pages_stats {
	uint64_t pages; /* all, zero pages too */
	uint64_t zero_pages;
	uint64_t delta_pages;
	uint64_t raw_bytes;     /* pages x 4096 */
	uint64_t encoded_bytes; /* payload bytes */
	uint64_t frames;
	uint64_t frames_raw; /* frames with data of which no packing made less */
};

/* ---- encoder: one thread at a time; one per link ---- */

/* What pages are read from: memory that somebody else writes meanwhile, a guest's RAM; or a closed epoch of a disk, whose last
 * page may reach past its end, with zeroes. */
struct dvol;
struct sentpages;
struct pages_source {
	uint16_t volume;
	int fd;            /* RAM: its memfd; stays the caller's */
	struct dvol *disk; /* NULL: RAM; stays the caller's */
	uint64_t pages;    /* its size */
	struct sentpages *
	    sent; /* RAM: what was sent of it before: then deltas go out; NULL: none do.  Stays the caller's */
};
struct pages_encoder;
/* pages_encoder_open(mode, err): NULL with *err when out of memory.  pages_encoder_close(NULL) is harmless. */
struct pages_encoder *pages_encoder_open(enum packer_mode mode, struct err *err);
void pages_encoder_close(struct pages_encoder *encoder);
/* pages_encode(encoder, source, pages, n, out, err): append one payload to out, with the first so many of the
 * n pages (numbers strictly ascending, all below source->pages) as make one frame of at most PAGES_BATCH data
 * pages; call again with the rest.  A page that is written while it is read is sent torn, which is harmless
 * when it is in the dirty set again: take it out of the dirty set BEFORE this call.  Each page is read once.
 * Holes of the memfd are not filled by reading them. With source->sent the payload counts as sent: for pages of one that is not
 * sent, or that may not arrive, sentpages_drop is due. Returns how many pages went in (at least 1), or -1 with
 * *err: ERR_SYSTEM reading the memfd failed (of a disk: dvol_read's errors), ERR_STATE pages not ascending or past the end. */
int64_t pages_encode(struct pages_encoder *encoder, const struct pages_source *source, const uint64_t *pages,
		     size_t n, struct buf *out, struct err *err);
/* pages_encoder_link(encoder, ns, bytes): what the link has taken so far to send so many bytes (link_send_ns,
 * link_bytes_sent); call it now and then.  From then on what costs more time to compress than it saves on the link goes
 * raw, so that compression never makes a transfer slower.  Before the first call everything that shrinks is worth it. */
void pages_encoder_link(struct pages_encoder *encoder, uint64_t ns, uint64_t bytes);
const struct pages_stats *pages_encoder_stats(const struct pages_encoder *encoder);

/* ---- decoder: several decoders (one a thread) may write one target at the same time, as long as no page is
 * in two payloads at once ---- */

struct pages_target {
	uint16_t volume;
	int fd;            /* RAM: the memfd; stays the caller's */
	struct dvol *disk; /* NULL: RAM; a handle for writing, which stays the caller's */
	uint64_t pages;
	uint64_t *filled; /* of RAM; bit p: page p may be other than zero */
	/* Not NULL: pages go here instead of into the memfd, zeroes too, as its guest runs already: 0, or -1 with *err. */
	int (*place)(void *arg, uint64_t page, uint64_t count, const uint8_t *data, struct err *err);
	void *place_arg;
};
/* pages_target_open(target, volume, fd, pages, err): checks that fd has exactly this size.  A memfd without
 * any allocated page is known to be zero, so that zero runs cost nothing; of any other nothing is assumed. 0,
 * or -1 with *err.  _close frees the bitmap (harmless on a zeroed struct).
 * pages_target_disk: the head of a volume; what of its last page is past its end is dropped. */
int pages_target_open(struct pages_target *target, uint16_t volume, int fd, uint64_t pages, struct err *err);
void pages_target_disk(struct pages_target *target, uint16_t volume, struct dvol *disk);
void pages_target_close(struct pages_target *target);
/* pages_target_punch(target, first, count, err): these pages, which are inside of it, become a hole. */
int pages_target_punch(struct pages_target *target, uint64_t first, uint64_t count, struct err *err);

struct pages_decoder;
struct pages_decoder *pages_decoder_open(struct err *err);
void pages_decoder_close(struct pages_decoder *decoder);
/* pages_decode(decoder, targets, ntargets, payload, len, err): check the whole payload, then apply it to the
 * target with its volume id.  Returns how many pages it had, or -1 with *err: ERR_INPUT the payload is not
 * valid (the target was not touched), ERR_SYSTEM writing the memfd failed (of a disk: dvol_write's errors), ERR_LINK a
 * delta is for another content than the page has there: the target was not touched, the page must come whole. */
int64_t pages_decode(struct pages_decoder *decoder, struct pages_target *targets, size_t ntargets,
		     const void *payload, size_t len, struct err *err);
const struct pages_stats *pages_decoder_stats(const struct pages_decoder *decoder);

#endif
