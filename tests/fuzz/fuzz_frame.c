/* fuzz_frame.c: any bytes, in any pieces, into the frame parser.
 *
 * The first byte says how large the pieces are and whether the checksums are put right first, without which hardly
 * anything gets past them. */
#include "migrate/frame.h"
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <xxhash.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void repair(uint8_t *at, size_t left)
{
	while (left >= FRAME_HEADER) {
		size_t len = le32_get(at + 8) % 512;

		len = len < left - FRAME_HEADER ? len : left - FRAME_HEADER;
		le32_put(at + 8, (uint32_t)len);
		le64_put(at + 16, XXH3_64bits(at + FRAME_HEADER, len));
		le64_put(at + 24, XXH3_64bits(at, 24));
		at += FRAME_HEADER + len;
		left -= FRAME_HEADER + len;
	}
}

static void parse(const uint8_t *data, size_t size, size_t piece)
{
	static struct frame_parser parser; /* one for all: its buffer is large */
	struct frame frame;
	struct err err;
	uint64_t given = 0;
	int rc = 0;

	if (!parser.data && frame_parser_open(&parser, &err) < 0)
		abort();
	parser = (struct frame_parser){.data = parser.data, .cap = parser.cap};
	for (size_t at = 0; at < size && rc >= 0;) {
		size_t room;
		uint8_t *to = frame_parser_space(&parser, true, &room);
		size_t n = size - at < piece ? size - at : piece;

		n = n < room ? n : room;
		if (n == 0)
			abort();
		memcpy(to, data + at, n);
		frame_parser_fed(&parser, n);
		at += n;
		while ((rc = frame_parser_next(&parser, &frame, &err)) > 0) {
			if (frame.payload < parser.data ||
			    frame.payload + frame.len > parser.data + parser.end)
				abort();
			given += FRAME_HEADER + frame.len;
		}
		if (rc == 0 && given + frame_parser_pending(&parser) != at)
			abort();
		if (rc < 0 &&
		    (err.kind != ERR_INPUT || !err.text[0] || memchr(err.text, 0x1b, strlen(err.text))))
			abort();
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	uint8_t *copy;

	if (size < 1)
		return 0;
	copy = malloc(size);
	if (!copy)
		abort();
	memcpy(copy, data + 1, size - 1);
	if (data[0] & 1)
		repair(copy, size - 1);
	parse(copy, size - 1, (size_t)(data[0] >> 1) * 3 + 1);
	free(copy);
	return 0;
}
