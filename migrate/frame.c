/* frame.c: building frames in place, and finding them again in a stream of bytes. */
#include "migrate/frame.h"

#include "common/text.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <xxhash.h>

enum {
	AT_MAGIC = 0,
	AT_TYPE = 4,
	AT_FLAGS = 6,
	AT_LENGTH = 8,
	AT_SEQUENCE = 12,
	AT_PAYLOAD_SUM = 16,
	AT_HEADER_SUM = 24,

	PARSER_CAP = 2 * (FRAME_MAX + FRAME_HEADER),
	PARSER_ROOM = 256 << 10, /* with less behind the data than this, it is moved to the front */
	PARSER_CHEAP_MOVE =
	    32 << 10, /* so little is moved at once, to stay in the part of the buffer that is cached */
	TEXT_MIN = 8, /* fewer characters before something else are chance */
	TEXT_SHOWN = 120,
};

size_t frame_begin(struct buf *out)
{
	size_t start = out->len;

	buf_reserve(out, FRAME_HEADER);
	out->len += FRAME_HEADER;
	return start;
}

static void seal_header(uint8_t *header)
{
	le64_put(header + AT_HEADER_SUM, XXH3_64bits(header, AT_HEADER_SUM));
}

int frame_seal(struct buf *out, size_t start, uint16_t type, uint16_t flags, uint32_t sequence,
	       struct err *err)
{
	uint8_t *header = out->data + start;
	size_t len = out->len - start - FRAME_HEADER;

	if (len > FRAME_MAX) {
		out->len = start;
		return err_set(err, ERR_INPUT, "a message of type %u has %zu bytes; the stream allows %d",
			       type, len, FRAME_MAX);
	}
	le32_put(header + AT_MAGIC, FRAME_MAGIC);
	le16_put(header + AT_TYPE, type);
	le16_put(header + AT_FLAGS, flags);
	le32_put(header + AT_LENGTH, (uint32_t)len);
	le32_put(header + AT_SEQUENCE, sequence);
	le64_put(header + AT_PAYLOAD_SUM, XXH3_64bits(header + FRAME_HEADER, len));
	seal_header(header);
	return 0;
}

void frame_renumber(uint8_t header[FRAME_HEADER], uint32_t sequence)
{
	le32_put(header + AT_SEQUENCE, sequence);
	seal_header(header);
}

int frame_parser_open(struct frame_parser *parser, struct err *err)
{
	*parser = (struct frame_parser){.cap = PARSER_CAP};
	parser->data = malloc(parser->cap);
	if (!parser->data)
		return err_sys(err, "cannot allocate the buffer of a link");
	return 0;
}

void frame_parser_close(struct frame_parser *parser)
{
	free(parser->data);
	*parser = (struct frame_parser){0};
}

uint8_t *frame_parser_space(struct frame_parser *parser, bool may_move, size_t *room)
{
	size_t pending = parser->end - parser->start;

	if (may_move && parser->start > 0 &&
	    (pending <= PARSER_CHEAP_MOVE || parser->cap - parser->end < PARSER_ROOM)) {
		memmove(parser->data, parser->data + parser->start, pending);
		parser->start = 0;
		parser->end = pending;
	}
	*room = parser->cap - parser->end;
	return parser->data + parser->end;
}

void frame_parser_fed(struct frame_parser *parser, size_t len)
{
	parser->end += len;
}

size_t frame_parser_pending(const struct frame_parser *parser)
{
	return parser->end - parser->start;
}

static bool is_text(uint8_t c)
{
	return (c >= ' ' && c != 0x7f) || c == '\n' || c == '\r' || c == '\t' || c == 0x1b;
}

/* What is at hand where a frame should begin, for a person: its text, up to a frame or a byte that is no text. */
static int fail_magic(const uint8_t *at, size_t len, const uint8_t magic[4], struct err *err)
{
	const uint8_t *frame = memmem(at, len, magic, 4);
	char text[TEXT_SHOWN + 1];
	size_t n = 0;

	if (frame)
		len = (size_t)(frame - at);
	while (n < len && n < TEXT_SHOWN && is_text(at[n])) {
		text[n] = at[n] == '\n' || at[n] == '\r' || at[n] == '\t' ? ' ' : (char)at[n];
		n++;
	}
	if (n < TEXT_MIN && n < len)
		return err_set(
		    err, ERR_INPUT,
		    "the other side does not speak drover's stream: it sent %02x%02x%02x%02x where a frame "
		    "should begin",
		    at[0], len > 1 ? at[1] : 0, len > 2 ? at[2] : 0, len > 3 ? at[3] : 0);
	while (n > 0 && text[n - 1] == ' ')
		n--;
	text[n] = 0;
	text_make_printable(text);
	return err_set(
	    err, ERR_INPUT,
	    "the other side sent text instead of drover's stream: \"%s\"; see that its shell prints nothing "
	    "when it is not interactive and that drover is installed there",
	    text);
}

static int check_header(const struct frame_parser *parser, const uint8_t *header, struct err *err)
{
	uint32_t len = le32_get(header + AT_LENGTH);
	uint32_t sequence = le32_get(header + AT_SEQUENCE);

	if (le64_get(header + AT_HEADER_SUM) != XXH3_64bits(header, AT_HEADER_SUM))
		return err_set(err, ERR_INPUT,
			       "frame %u of the stream is damaged: the checksum of its header is wrong",
			       parser->sequence);
	if (len > FRAME_MAX)
		return err_set(err, ERR_INPUT,
			       "frame %u of the stream claims %u bytes; at most %d are allowed",
			       parser->sequence, len, FRAME_MAX);
	if (sequence != parser->sequence)
		return err_set(err, ERR_INPUT,
			       "frame %u of the stream is missing: frame %u came in its place",
			       parser->sequence, sequence);
	return 0;
}

static int next_frame(struct frame_parser *parser, struct frame *frame, struct err *err)
{
	const uint8_t *at = parser->data + parser->start;
	size_t pending = parser->end - parser->start;
	uint8_t magic[4];
	size_t len;

	le32_put(magic, FRAME_MAGIC);
	if (memcmp(at, magic, pending < 4 ? pending : 4) != 0)
		return fail_magic(at, pending, magic, err);
	if (pending < FRAME_HEADER)
		return 0;
	if (!parser->checked && check_header(parser, at, err) < 0)
		return -1;
	parser->checked = true;
	len = le32_get(at + AT_LENGTH);
	if (pending - FRAME_HEADER < len)
		return 0;
	if (le64_get(at + AT_PAYLOAD_SUM) != XXH3_64bits(at + FRAME_HEADER, len))
		return err_set(err, ERR_INPUT,
			       "frame %u of the stream is damaged: the checksum of its %zu bytes is wrong",
			       parser->sequence, len);
	*frame = (struct frame){
	    .type = le16_get(at + AT_TYPE),
	    .flags = le16_get(at + AT_FLAGS),
	    .sequence = parser->sequence,
	    .payload = at + FRAME_HEADER,
	    .len = len,
	};
	parser->start += FRAME_HEADER + len;
	parser->sequence++;
	parser->checked = false;
	return 1;
}

int frame_parser_next(struct frame_parser *parser, struct frame *frame, struct err *err)
{
	int rc;

	if (parser->failed)
		return err_set(err, ERR_INPUT,
			       "the stream was found damaged before and cannot be followed further");
	if (parser->start == parser->end)
		return 0;
	rc = next_frame(parser, frame, err);
	parser->failed = rc < 0;
	return rc;
}
