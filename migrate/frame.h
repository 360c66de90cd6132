/* frame.h: the framing of the epoch stream: pure, no I/O.
 *
 * A frame is a header of 32 bytes and a payload.  Header, little-endian:
 *    0 u32 magic 0x31565244 ("DRV1")
 *    4 u16 type              meaning is the upper layer's
 *    6 u16 flags             likewise
 *    8 u32 payload length    at most FRAME_MAX
 *   12 u32 sequence          from 0 in each direction of a link; wraps
 *   16 u64 XXH3-64 of the payload
 *   24 u64 XXH3-64 of header bytes 0..23
 * The header's own checksum is verified before its length is believed. */
#ifndef MIGRATE_FRAME_H
#define MIGRATE_FRAME_H

#include "common/buf.h"
#include "common/err.h"
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define FRAME_MAGIC 0x31565244u
enum { FRAME_HEADER = 32, FRAME_MAX = 1 << 20 };

/* frame_begin(out): reserve a header at the end of out; returns its offset, for frame_seal.  Then append the
 * payload to out (buf_put…). */
size_t frame_begin(struct buf *out);
/* frame_seal(out, start, type, flags, sequence, err): everything in out after the header at `start` is the
 * payload: fill the header in.  Returns 0; or -1 (ERR_INPUT, out cut back to `start`) when the payload is
 * longer than FRAME_MAX. */
int frame_seal(struct buf *out, size_t start, uint16_t type, uint16_t flags, uint32_t sequence,
	       struct err *err);
/* frame_renumber(header, sequence): give an already sealed frame another sequence number.  Costs nanoseconds:
 * the payload is not read. */
void frame_renumber(uint8_t header[FRAME_HEADER], uint32_t sequence);

struct frame {
	uint16_t type;
	uint16_t flags;
	uint32_t sequence;
	const uint8_t *payload; /* inside the parser's buffer: valid until the next frame_parser_next or
				   _space(…, true) */
	size_t len;
};

/* A parser owns one read buffer, is filled from it and yields frames out of it without copying. */
struct frame_parser {
	uint8_t *data;
	size_t cap;
	size_t start; /* first byte not yet given out */
	size_t end;
	uint32_t sequence; /* expected next */
	bool checked;      /* the header at start was verified */
	bool failed;       /* an error was returned: the stream cannot be followed any more */
};

/* frame_parser_open: allocates the buffer; 0, or -1 with *err.  frame_parser_close: harmless on a zeroed
 * struct. */
int frame_parser_open(struct frame_parser *parser, struct err *err);
void frame_parser_close(struct frame_parser *parser);
/* frame_parser_space(parser, may_move, &room): where to put the next bytes and how many fit; then call
 * frame_parser_fed.  With may_move the buffer may be compacted (frames given out become invalid) and room is
 * never 0 once frame_parser_next has returned 0; without it room may be 0. */
uint8_t *frame_parser_space(struct frame_parser *parser, bool may_move, size_t *room);
void frame_parser_fed(struct frame_parser *parser, size_t len);
/* frame_parser_next(parser, &frame, err): 1 and a frame; 0 when more bytes are needed; -1 (ERR_INPUT) for a
 * wrong magic, checksum, length or sequence: one sentence that shows the first characters where they are text
 * (a shell's banner, "command not found").  After -1 it always returns -1. */
int frame_parser_next(struct frame_parser *parser, struct frame *frame, struct err *err);
/* frame_parser_pending(parser): bytes fed but not given out: non-zero at the end of a stream means cut in a
 * frame. */
size_t frame_parser_pending(const struct frame_parser *parser);

#endif
