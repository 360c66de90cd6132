/* text.c: text that ends on a person's terminal, in a log or in a JSON string. */
#include "common/text.h"

#include <stdint.h>
#include <stdio.h>
#include <string.h>

/* The length of the valid, printable UTF-8 character at `at` (a NUL ends every sequence), or 0. */
static size_t printable_len(const unsigned char *at)
{
	static const uint32_t smallest[] = {0, 0, 0x80, 0x800, 0x10000};
	size_t len = 0;
	uint32_t code = 0;

	if (at[0] < 0x80)
		return at[0] >= 0x20 && at[0] != 0x7f ? 1 : 0;
	if ((at[0] & 0xe0) == 0xc0) {
		len = 2;
		code = at[0] & 0x1f;
	} else if ((at[0] & 0xf0) == 0xe0) {
		len = 3;
		code = at[0] & 0x0f;
	} else if ((at[0] & 0xf8) == 0xf0) {
		len = 4;
		code = at[0] & 0x07;
	} else {
		return 0;
	}
	for (size_t i = 1; i < len; i++) {
		if ((at[i] & 0xc0) != 0x80)
			return 0;
		code = code << 6 | (at[i] & 0x3f);
	}
	/* Not the shortest form, a surrogate, past Unicode, or one of the C1 controls that terminals obey. */
	if (code < smallest[len] || (code >= 0xd800 && code <= 0xdfff) || code > 0x10ffff || code < 0xa0)
		return 0;
	return len;
}

void text_make_printable(char *text)
{
	while (*text) {
		size_t len = printable_len((const unsigned char *)text);

		if (len == 0) {
			*text = '?';
			len = 1;
		}
		text += len;
	}
}

size_t text_vformat(char *text, size_t cap, const char *format, va_list args)
{
	int wanted = vsnprintf(text, cap, format, args);
	size_t len;

	if (wanted < 0) {
		/* Only a result longer than INT_MAX or a bad wide character; drover formats neither. */
		text[0] = '\0';
		return 0;
	}
	if ((size_t)wanted >= cap) {
		len = cap - sizeof("...");
		while (len > 0 && ((unsigned char)text[len] & 0xc0) == 0x80)
			len--;
		memcpy(text + len, "...", sizeof("..."));
	}
	text_make_printable(text);
	return strlen(text);
}

size_t text_format(char *text, size_t cap, const char *format, ...)
{
	va_list args;
	size_t len;

	va_start(args, format);
	len = text_vformat(text, cap, format, args);
	va_end(args);
	return len;
}

char *text_hex(const uint8_t *bytes, size_t len, char *text)
{
	for (size_t i = 0; i < len; i++)
		snprintf(text + 2 * i, 3, "%02x", bytes[i]);
	return text;
}
