/* units.h: sizes, times and names as people write them. */
#ifndef COMMON_UNITS_H
#define COMMON_UNITS_H

#include "common/err.h"
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* units_parse_size("512M", &bytes, err): decimal digits with an optional suffix K, M, G, T (powers of 1024;
 * "MiB" and "MB" are taken as M).  Returns 0, or -1 for anything else, a sign, a fraction or an overflow. */
int units_parse_size(const char *text, uint64_t *bytes, struct err *err);
/* units_parse_duration("30ms", &ns, err): digits with the suffix us, ms, s, m or h; a suffix is required. */
int units_parse_duration(const char *text, uint64_t *ns, struct err *err);
/* units_parse_uint(text, min, max, &value, err): decimal digits only, within the bounds. */
int units_parse_uint(const char *text, uint64_t min, uint64_t max, uint64_t *value, struct err *err);

/* units_format_size(bytes, text): "512 MiB", "1.5 GiB", at most 16 characters with the NUL. */
const char *units_format_size(uint64_t bytes, char text[16]);
/* units_format_duration(ns, text): "350 us", "12.3 ms", "4.2 s", "3 min 20 s". */
const char *units_format_duration(uint64_t ns, char text[24]);

/* units_name_valid(name): a VM's name: 1 to 63 of a-z A-Z 0-9 . _ - beginning with a letter or digit, so that
 * it is safe as a file name, in a shell and in a log. */
bool units_name_valid(const char *name);

#endif
