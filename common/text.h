/* text.h: text that ends on a person's terminal, in a log or in a JSON string. */
#ifndef COMMON_TEXT_H
#define COMMON_TEXT_H

#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

/* text_make_printable(text): in place, same length: every control character and every byte that is not part
 * of a valid UTF-8 character becomes '?'.  Text from a guest or the wire can then neither drive a terminal
 * nor make a JSON encoder fail. */
void text_make_printable(char *text);

/* text_vformat(text, cap, format, args): as vsnprintf, then made printable; what does not fit is cut, at a
 * character's end, and "..." stands for it.  Returns the length of text.  cap is at least 4.  The arguments
 * may not point into text. */
size_t text_vformat(char *text, size_t cap, const char *format, va_list args)
    __attribute__((format(printf, 3, 0)));
size_t text_format(char *text, size_t cap, const char *format, ...) __attribute__((format(printf, 3, 4)));

/* text_hex(bytes, len, text): two lower-case digits a byte, and a NUL behind them.  Returns text. */
char *text_hex(const uint8_t *bytes, size_t len, char *text);

#endif
