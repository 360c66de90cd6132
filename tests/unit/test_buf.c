/* test_buf.c: buffers grow, and a reader never reads past what it was given. */
#include "common/buf.h"
#include "tests/lib/test.h"

#include <stdlib.h>
#include <string.h>

static void integers_are_little_endian(void **state)
{
	static const uint8_t expected[] = {0x11, 0x22, 0x11, 0x44, 0x33, 0x22, 0x11, 0x88,
					   0x77, 0x66, 0x55, 0x44, 0x33, 0x22, 0x11};
	struct buf buf = {0};

	(void)state;
	buf_put_u8(&buf, 0x11);
	buf_put_u16(&buf, 0x1122);
	buf_put_u32(&buf, 0x11223344);
	buf_put_u64(&buf, 0x1122334455667788);
	assert_int_equal(buf.len, sizeof(expected));
	assert_memory_equal(buf.data, expected, sizeof(expected));
	buf_free(&buf);
	assert_null(buf.data);
	buf_free(&buf);
}

static void integers_at_odd_addresses_come_back(void **state)
{
	uint8_t bytes[32] = {0};

	(void)state;
	for (size_t at = 0; at < 16; at++) {
		le64_put(bytes + at, 0xfedcba9876543210);
		assert_true(le64_get(bytes + at) == 0xfedcba9876543210);
		assert_int_equal(le32_get(bytes + at), 0x76543210);
		le32_put(bytes + at, 0x89abcdef);
		assert_int_equal(le32_get(bytes + at), 0x89abcdef);
		le16_put(bytes + at, 0xbeef);
		assert_int_equal(le16_get(bytes + at), 0xbeef);
	}
}

static void a_buffer_grows_and_keeps_what_it_has(void **state)
{
	struct buf buf = {0};
	size_t cap;

	(void)state;
	buf_put(&buf, NULL, 0);
	assert_int_equal(buf.len, 0);
	for (uint32_t i = 0; i < 100000; i++)
		buf_put_u32(&buf, i);
	assert_int_equal(buf.len, 400000);
	for (uint32_t i = 0; i < 100000; i++)
		assert_int_equal(le32_get(buf.data + 4 * i), i);
	cap = buf.cap;
	buf_clear(&buf);
	assert_int_equal(buf.len, 0);
	assert_int_equal(buf.cap, cap);
	/* Room for exactly what was asked for, to the last byte (the address sanitizer watches). */
	memset(buf_reserve(&buf, cap + 1), 0xaa, cap + 1);
	assert_int_equal(buf.len, 0);
	buf_free(&buf);
}

static void a_reader_gives_what_was_put(void **state)
{
	struct buf buf = {0};
	struct reader reader;

	(void)state;
	buf_put_u8(&buf, 1);
	buf_put_u16(&buf, 2);
	buf_put_u32(&buf, 3);
	buf_put_u64(&buf, 4);
	buf_put(&buf, "five", 4);
	reader = reader_of(buf.data, buf.len);
	assert_int_equal(reader_u8(&reader), 1);
	assert_int_equal(reader_u16(&reader), 2);
	assert_int_equal(reader_u32(&reader), 3);
	assert_int_equal(reader_u64(&reader), 4);
	assert_memory_equal(reader_bytes(&reader, 4), "five", 4);
	assert_int_equal(reader.left, 0);
	assert_false(reader.bad);
	assert_non_null(reader_bytes(&reader, 0));
	assert_false(reader.bad);
	buf_free(&buf);
}

static void a_reader_that_went_past_the_end_stays_bad(void **state)
{
	static const uint8_t bytes[] = {1, 2, 3};
	struct reader reader = reader_of(bytes, sizeof(bytes));

	(void)state;
	assert_int_equal(reader_u32(&reader), 0);
	assert_true(reader.bad);
	/* Not even what would still be there. */
	assert_int_equal(reader_u8(&reader), 0);
	assert_null(reader_bytes(&reader, 1));
	assert_null(reader_bytes(&reader, 0));
	assert_int_equal(reader.left, 0);
}

static void lengths_from_the_wire_do_not_wrap(void **state)
{
	static const uint8_t bytes[] = {1, 2, 3, 4};
	static const size_t lengths[] = {5, SIZE_MAX, SIZE_MAX - 3, (size_t)1 << 63};

	(void)state;
	for (size_t i = 0; i < sizeof(lengths) / sizeof(lengths[0]); i++) {
		struct reader reader = reader_of(bytes, sizeof(bytes));

		assert_int_equal(reader_u8(&reader), 1);
		assert_null(reader_bytes(&reader, lengths[i]));
		assert_true(reader.bad);
	}
}

static void nothing_at_all_can_be_read_from(void **state)
{
	struct reader reader = reader_of(NULL, 0);

	(void)state;
	assert_non_null(reader_bytes(&reader, 0));
	assert_false(reader.bad);
	assert_int_equal(reader_u64(&reader), 0);
	assert_true(reader.bad);
}

/* Every cut of a message is noticed by its reader, and none is read over (the copy has no byte to spare). */
static void every_truncation_is_seen(void **state)
{
	struct buf buf = {0};

	(void)state;
	buf_put_u16(&buf, 6);
	buf_put(&buf, "sixsix", 6);
	buf_put_u64(&buf, 7);
	for (size_t len = 0; len <= buf.len; len++) {
		uint8_t *copy = malloc(len ? len : 1);
		struct reader reader;

		assert_non_null(copy);
		memcpy(copy, buf.data, len);
		reader = reader_of(copy, len);
		reader_bytes(&reader, reader_u16(&reader));
		reader_u64(&reader);
		assert_int_equal(reader.bad, len != buf.len);
		free(copy);
	}
	buf_free(&buf);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(integers_are_little_endian),
	    cmocka_unit_test(integers_at_odd_addresses_come_back),
	    cmocka_unit_test(a_buffer_grows_and_keeps_what_it_has),
	    cmocka_unit_test(a_reader_gives_what_was_put),
	    cmocka_unit_test(a_reader_that_went_past_the_end_stays_bad),
	    cmocka_unit_test(lengths_from_the_wire_do_not_wrap),
	    cmocka_unit_test(nothing_at_all_can_be_read_from),
	    cmocka_unit_test(every_truncation_is_seen),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
