/* buf.h: bytes that grow, and a reader over bytes that are not trusted.  Integers are little-endian. */
#ifndef COMMON_BUF_H
#define COMMON_BUF_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct buf {
	uint8_t *data;
	size_t len;
	size_t cap;
};

/* A zeroed struct buf is empty and valid.  The put functions grow it; out of memory ends the process (abort),
 * since buffers are small and bounded by their users. */
void buf_free(struct buf *buf);
void buf_clear(struct buf *buf); /* length 0, memory kept */
/* buf_reserve(buf, len): make room for len more bytes; returns where they go (not yet counted in buf->len).
 */
void *buf_reserve(struct buf *buf, size_t len);
void buf_put(struct buf *buf, const void *data, size_t len);
void buf_put_u8(struct buf *buf, uint8_t value);
void buf_put_u16(struct buf *buf, uint16_t value);
void buf_put_u32(struct buf *buf, uint32_t value);
void buf_put_u64(struct buf *buf, uint64_t value);

/* A reader: every get checks what is left; the first one past the end sets bad, and from then on all give 0
 * or NULL.  Check reader.bad once, after the gets, before using what they gave. */
struct reader {
	const uint8_t *at;
	size_t left;
	bool bad;
};
struct reader reader_of(const void *data, size_t len);
uint8_t reader_u8(struct reader *reader);
uint16_t reader_u16(struct reader *reader);
uint32_t reader_u32(struct reader *reader);
uint64_t reader_u64(struct reader *reader);
const void *reader_bytes(struct reader *reader, size_t len); /* NULL only when fewer are left */

/* get/put of one little-endian integer at any address */
uint16_t le16_get(const void *at);
uint32_t le32_get(const void *at);
uint64_t le64_get(const void *at);
void le16_put(void *at, uint16_t value);
void le32_put(void *at, uint32_t value);
void le64_put(void *at, uint64_t value);

#endif
