/* A line of text in a fixed buffer.  What does not fit is cut off; nothing here fails. */
#ifndef GUEST_TEXT_H
#define GUEST_TEXT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define TEXT_MAX 240

struct text {
	unsigned len;
	char buf[TEXT_MAX];
};

/* Each appends to t.  text_size: bytes as 512M or 100K where that is exact, plain bytes otherwise. */
void text_str(struct text *t, const char *s);
void text_bytes(struct text *t, const char *s, size_t len);
void text_u64(struct text *t, uint64_t value);
void text_hex(struct text *t, uint64_t value);
void text_size(struct text *t, uint64_t bytes);

/* Appends " key=value" (the blank included). */
void text_field(struct text *t, const char *key, uint64_t value);

/* Reads a decimal number that fills [s, s + len).  Returns false on anything else, or beyond 2^63. */
bool text_parse_u64(const char *s, size_t len, uint64_t *value);

/* Compares [s, s + len) with a word. */
bool text_is(const char *s, size_t len, const char *word);
size_t text_length(const char *s);

#endif
