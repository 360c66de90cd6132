/* buf.c: bytes that grow, and a reader over bytes that are not trusted. */
#include "common/buf.h"

#include <stdlib.h>
#include <string.h>

enum { BUF_FIRST = 256 };

void buf_free(struct buf *buf)
{
	free(buf->data);
	*buf = (struct buf){0};
}

void buf_clear(struct buf *buf)
{
	buf->len = 0;
}

void *buf_reserve(struct buf *buf, size_t len)
{
	if (!buf->data || len > buf->cap - buf->len) {
		size_t wanted;
		size_t cap = buf->cap ? buf->cap : BUF_FIRST;

		if (__builtin_add_overflow(buf->len, len, &wanted) || wanted > SIZE_MAX / 2)
			abort();
		while (cap < wanted)
			cap *= 2;
		buf->data = realloc(buf->data, cap);
		if (!buf->data)
			abort();
		buf->cap = cap;
	}
	return buf->data + buf->len;
}

void buf_put(struct buf *buf, const void *data, size_t len)
{
	void *to = buf_reserve(buf, len);

	if (len)
		memcpy(to, data, len);
	buf->len += len;
}

void buf_put_u8(struct buf *buf, uint8_t value)
{
	buf_put(buf, &value, sizeof(value));
}

void buf_put_u16(struct buf *buf, uint16_t value)
{
	le16_put(buf_reserve(buf, sizeof(value)), value);
	buf->len += sizeof(value);
}

void buf_put_u32(struct buf *buf, uint32_t value)
{
	le32_put(buf_reserve(buf, sizeof(value)), value);
	buf->len += sizeof(value);
}

void buf_put_u64(struct buf *buf, uint64_t value)
{
	le64_put(buf_reserve(buf, sizeof(value)), value);
	buf->len += sizeof(value);
}

struct reader reader_of(const void *data, size_t len)
{
	/* Never NULL inside, so that reader_bytes(reader, 0) of nothing is not taken for a failure. */
	return (struct reader){.at = data ? data : (const void *)"", .left = data ? len : 0};
}

const void *reader_bytes(struct reader *reader, size_t len)
{
	const uint8_t *at = reader->at;

	if (reader->bad || len > reader->left) {
		reader->bad = true;
		reader->left = 0;
		return NULL;
	}
	reader->at += len;
	reader->left -= len;
	return at;
}

uint8_t reader_u8(struct reader *reader)
{
	const uint8_t *at = reader_bytes(reader, 1);

	return at ? *at : 0;
}

uint16_t reader_u16(struct reader *reader)
{
	const void *at = reader_bytes(reader, sizeof(uint16_t));

	return at ? le16_get(at) : 0;
}

uint32_t reader_u32(struct reader *reader)
{
	const void *at = reader_bytes(reader, sizeof(uint32_t));

	return at ? le32_get(at) : 0;
}

uint64_t reader_u64(struct reader *reader)
{
	const void *at = reader_bytes(reader, sizeof(uint64_t));

	return at ? le64_get(at) : 0;
}

/* Byte by byte, which says the order; the compiler makes one move of it. */
uint16_t le16_get(const void *at)
{
	const uint8_t *b = at;

	return (uint16_t)(b[0] | b[1] << 8);
}

uint32_t le32_get(const void *at)
{
	const uint8_t *b = at;

	return b[0] | (uint32_t)b[1] << 8 | (uint32_t)b[2] << 16 | (uint32_t)b[3] << 24;
}

uint64_t le64_get(const void *at)
{
	const uint8_t *b = at;

	return le32_get(b) | (uint64_t)le32_get(b + 4) << 32;
}

void le16_put(void *at, uint16_t value)
{
	uint8_t *b = at;

	b[0] = (uint8_t)value;
	b[1] = (uint8_t)(value >> 8);
}

void le32_put(void *at, uint32_t value)
{
	le16_put(at, (uint16_t)value);
	le16_put((uint8_t *)at + 2, (uint16_t)(value >> 16));
}

void le64_put(void *at, uint64_t value)
{
	le32_put(at, (uint32_t)value);
	le32_put((uint8_t *)at + 4, (uint32_t)(value >> 32));
}
