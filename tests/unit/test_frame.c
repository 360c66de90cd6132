/* test_frame.c: frames survive any splitting of the stream; nothing that is not one gets through. */
#include "migrate/frame.h"
#include "tests/lib/random.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <xxhash.h>

#include <cmocka.h>

/* A sealed frame with `len` bytes of payload, each `fill`. */
static void put_frame(struct buf *out, uint16_t type, uint32_t sequence, size_t len, int fill)
{
	struct err err;
	size_t start = frame_begin(out);

	memset(buf_reserve(out, len), fill, len);
	out->len += len;
	assert_int_equal(frame_seal(out, start, type, 7, sequence, &err), 0);
}

static void feed(struct frame_parser *parser, const void *data, size_t len)
{
	size_t room;
	uint8_t *to = frame_parser_space(parser, true, &room);

	assert_true(room >= len);
	memcpy(to, data, len);
	frame_parser_fed(parser, len);
}

/* What the parser says to these bytes, as the first of a stream. */
static int parse_once(const void *data, size_t len, struct err *err)
{
	struct frame_parser parser;
	struct frame frame;
	int rc;

	assert_int_equal(frame_parser_open(&parser, err), 0);
	feed(&parser, data, len);
	rc = frame_parser_next(&parser, &frame, err);
	frame_parser_close(&parser);
	return rc;
}

static void test_layout_is_as_documented(void **state)
{
	struct buf out = {0};

	(void)state;
	put_frame(&out, 0x1234, 0x01020304, 5, 'x');
	assert_int_equal(out.len, FRAME_HEADER + 5);
	assert_memory_equal(out.data, "DRV1\x34\x12\x07\x00\x05\x00\x00\x00\x04\x03\x02\x01", 16);
	assert_true(le64_get(out.data + 16) == XXH3_64bits("xxxxx", 5));
	assert_true(le64_get(out.data + 24) == XXH3_64bits(out.data, 24));
	buf_free(&out);
}

static void test_any_splitting(void **state)
{
	uint64_t random = random_begin();
	struct frame_parser parser;
	struct buf stream = {0};
	struct frame frame;
	struct err err;
	size_t at = 0;
	uint32_t seen = 0;

	(void)state;
	for (uint32_t i = 0; i < 300; i++) {
		static const size_t sizes[] = {0, 1, 31, 32, 4096, 70000, 300000, FRAME_MAX};
		size_t size = sizes[random_below(&random, i % 40 ? 6 : 8)];

		put_frame(&stream, (uint16_t)i, i, size, (int)i);
	}
	assert_int_equal(frame_parser_open(&parser, &err), 0);
	while (seen < 300) {
		int rc = frame_parser_next(&parser, &frame, &err);
		size_t room;
		uint8_t *to;
		size_t n;

		assert_int_not_equal(rc, -1);
		if (rc == 1) {
			assert_int_equal(frame.type, seen);
			assert_int_equal(frame.sequence, seen);
			assert_int_equal(frame.flags, 7);
			for (size_t i = 0; i < frame.len; i++)
				assert_int_equal(frame.payload[i], seen & 0xff);
			seen++;
			continue;
		}
		assert_true(at < stream.len);
		to = frame_parser_space(&parser, true, &room);
		assert_true(room > 0);
		n = random_below(&random, random_below(&random, 2) ? 50 : 400000) + 1;
		n = n < room ? n : room;
		n = n < stream.len - at ? n : stream.len - at;
		memcpy(to, stream.data + at, n);
		frame_parser_fed(&parser, n);
		at += n;
	}
	assert_int_equal(at, stream.len);
	assert_int_equal(frame_parser_pending(&parser), 0);
	frame_parser_close(&parser);
	buf_free(&stream);
}

/* A frame that was given out stays as it is while more is read without may_move. */
static void test_frame_stays_while_more_arrives(void **state)
{
	struct frame_parser parser;
	struct buf stream = {0};
	struct frame frame;
	struct err err;
	size_t room;

	(void)state;
	put_frame(&stream, 1, 0, 100000, 'a');
	put_frame(&stream, 2, 1, FRAME_MAX, 'b');
	assert_int_equal(frame_parser_open(&parser, &err), 0);
	feed(&parser, stream.data, FRAME_HEADER + 100000);
	assert_int_equal(frame_parser_next(&parser, &frame, &err), 1);
	for (size_t at = FRAME_HEADER + 100000; at < stream.len;) {
		uint8_t *to = frame_parser_space(&parser, false, &room);
		size_t n = room < stream.len - at ? room : stream.len - at;

		if (n == 0)
			break;
		memcpy(to, stream.data + at, n);
		frame_parser_fed(&parser, n);
		at += n;
	}
	for (size_t i = 0; i < frame.len; i++)
		assert_int_equal(frame.payload[i], 'a');
	frame_parser_close(&parser);
	buf_free(&stream);
}

static void test_every_damaged_bit_is_found(void **state)
{
	struct buf stream = {0};
	struct err err;

	(void)state;
	put_frame(&stream, 3, 0, 100, 'p');
	assert_int_equal(parse_once(stream.data, stream.len, &err), 1);
	for (size_t bit = 0; bit < stream.len * 8; bit++) {
		stream.data[bit / 8] ^= (uint8_t)(1u << bit % 8);
		assert_int_equal(parse_once(stream.data, stream.len, &err), -1);
		assert_int_equal(err.kind, ERR_INPUT);
		stream.data[bit / 8] ^= (uint8_t)(1u << bit % 8);
	}
	buf_free(&stream);
}

/* The checksum right, the length too large: refused when the header is here, before any payload is waited for. */
static void test_length_over_the_maximum(void **state)
{
	struct buf stream = {0};
	struct err err;

	(void)state;
	put_frame(&stream, 3, 0, 10, 'p');
	le32_put(stream.data + 8, FRAME_MAX + 1);
	le64_put(stream.data + 24, XXH3_64bits(stream.data, 24));
	assert_int_equal(parse_once(stream.data, FRAME_HEADER, &err), -1);
	assert_non_null(strstr(err.text, "1048577 bytes"));
	buf_free(&stream);
}

static void test_missing_and_repeated_frames(void **state)
{
	struct buf stream = {0};
	struct err err;

	(void)state;
	put_frame(&stream, 3, 1, 10, 'p');
	assert_int_equal(parse_once(stream.data, stream.len, &err), -1);
	assert_non_null(strstr(err.text, "frame 0 of the stream is missing: frame 1 came"));
	frame_renumber(stream.data, 0);
	assert_int_equal(parse_once(stream.data, stream.len, &err), 1);
	buf_free(&stream);
}

static void test_failure_is_final(void **state)
{
	struct frame_parser parser;
	struct buf good = {0};
	struct frame frame;
	struct err err;

	(void)state;
	put_frame(&good, 3, 0, 10, 'p');
	assert_int_equal(frame_parser_open(&parser, &err), 0);
	feed(&parser, "garbage", 7);
	assert_int_equal(frame_parser_next(&parser, &frame, &err), -1);
	feed(&parser, good.data, good.len);
	assert_int_equal(frame_parser_next(&parser, &frame, &err), -1);
	frame_parser_close(&parser);
	buf_free(&good);
}

static void test_text_is_shown(void **state)
{
	static const char banner[] = "Welcome to prod-7!\nLast login: never\x1b[31m\n\x00\x01";
	struct err err;

	(void)state;
	assert_int_equal(parse_once(banner, sizeof(banner), &err), -1);
	assert_int_equal(err.kind, ERR_INPUT);
	assert_non_null(strstr(
	    err.text, "text instead of drover's stream: \"Welcome to prod-7! Last login: never?[31m\""));
	/* but not a frame that follows it */
	assert_int_equal(parse_once("motd\nDRV1 and more", 18, &err), -1);
	assert_non_null(strstr(err.text, "\"motd\""));
	/* also when it is too short for a header */
	assert_int_equal(parse_once("sh: 1: drover: not found\n", 25, &err), -1);
	assert_non_null(strstr(err.text, "\"sh: 1: drover: not found\""));
	assert_int_equal(parse_once("D", 1, &err), 0);
	assert_int_equal(parse_once("DR", 2, &err), 0);
	assert_int_equal(parse_once("Do", 2, &err), -1);
	/* and binary is not shown as text */
	assert_int_equal(parse_once("\x7f"
				    "ELF\x02\x01",
				    6, &err),
			 -1);
	assert_non_null(strstr(err.text, "7f454c46"));
}

static void test_payload_too_long_to_seal(void **state)
{
	struct buf out = {0};
	struct err err;
	size_t start;

	(void)state;
	put_frame(&out, 1, 0, 10, 'x');
	start = frame_begin(&out);
	memset(buf_reserve(&out, FRAME_MAX + 1), 0, FRAME_MAX + 1);
	out.len += FRAME_MAX + 1;
	assert_int_equal(frame_seal(&out, start, 2, 0, 1, &err), -1);
	assert_int_equal(err.kind, ERR_INPUT);
	assert_int_equal(out.len, FRAME_HEADER + 10);
	buf_free(&out);
}

static void test_sequence_wraps(void **state)
{
	struct frame_parser parser;
	struct buf stream = {0};
	struct frame frame;
	struct err err;

	(void)state;
	put_frame(&stream, 1, UINT32_MAX, 1, 'x');
	put_frame(&stream, 1, 0, 1, 'x');
	assert_int_equal(frame_parser_open(&parser, &err), 0);
	parser.sequence = UINT32_MAX;
	feed(&parser, stream.data, stream.len);
	assert_int_equal(frame_parser_next(&parser, &frame, &err), 1);
	assert_int_equal(frame_parser_next(&parser, &frame, &err), 1);
	assert_int_equal(frame_parser_next(&parser, &frame, &err), 0);
	frame_parser_close(&parser);
	buf_free(&stream);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_layout_is_as_documented),
	    cmocka_unit_test(test_any_splitting),
	    cmocka_unit_test(test_frame_stays_while_more_arrives),
	    cmocka_unit_test(test_every_damaged_bit_is_found),
	    cmocka_unit_test(test_length_over_the_maximum),
	    cmocka_unit_test(test_missing_and_repeated_frames),
	    cmocka_unit_test(test_failure_is_final),
	    cmocka_unit_test(test_text_is_shown),
	    cmocka_unit_test(test_payload_too_long_to_seal),
	    cmocka_unit_test(test_sequence_wraps),
	};

	return cmocka_run_group_tests_name("frame", tests, NULL, NULL);
}
