#include "text.h"

size_t text_length(const char *s)
{
	size_t n = 0;

	while (s[n])
		n++;
	return n;
}

void text_bytes(struct text *t, const char *s, size_t len)
{
	for (size_t i = 0; i < len && t->len < TEXT_MAX; i++)
		t->buf[t->len++] = s[i];
}

void text_str(struct text *t, const char *s)
{
	text_bytes(t, s, text_length(s));
}

void text_u64(struct text *t, uint64_t value)
{
	char digits[20];
	size_t at = sizeof(digits);

	do {
		digits[--at] = (char)('0' + value % 10);
		value /= 10;
	} while (value);
	text_bytes(t, digits + at, sizeof(digits) - at);
}

void text_hex(struct text *t, uint64_t value)
{
	char digits[16];
	size_t at = sizeof(digits);

	do {
		digits[--at] = "0123456789abcdef"[value & 15];
		value >>= 4;
	} while (value);
	text_str(t, "0x");
	text_bytes(t, digits + at, sizeof(digits) - at);
}

void text_size(struct text *t, uint64_t bytes)
{
	if (bytes % (1 << 20) == 0) {
		text_u64(t, bytes >> 20);
		text_str(t, "M");
	} else if (bytes % (1 << 10) == 0) {
		text_u64(t, bytes >> 10);
		text_str(t, "K");
	} else {
		text_u64(t, bytes);
	}
}

void text_field(struct text *t, const char *key, uint64_t value)
{
	text_str(t, " ");
	text_str(t, key);
	text_str(t, "=");
	text_u64(t, value);
}

bool text_parse_u64(const char *s, size_t len, uint64_t *value)
{
	uint64_t sum = 0;

	if (len == 0)
		return false;
	for (size_t i = 0; i < len; i++) {
		if (s[i] < '0' || s[i] > '9' || sum > (INT64_MAX - 9) / 10)
			return false;
		sum = sum * 10 + (uint64_t)(s[i] - '0');
	}
	*value = sum;
	return true;
}

bool text_is(const char *s, size_t len, const char *word)
{
	for (size_t i = 0; i < len; i++)
		if (s[i] != word[i] || !word[i])
			return false;
	return !word[len];
}
