/* units.c: sizes, times and names as people write them. */
#include "common/units.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

struct suffix {
	const char *name;
	uint64_t factor;
};

static bool is_digit(char c)
{
	return c >= '0' && c <= '9';
}

static bool is_letter(char c)
{
	return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
}

/* Decimal digits at *text (at least one): their value, and *text moved past them. */
static bool take_digits(const char **text, uint64_t *value)
{
	uint64_t sum = 0;

	if (!is_digit(**text))
		return false;
	for (; is_digit(**text); (*text)++) {
		if (__builtin_mul_overflow(sum, 10u, &sum) ||
		    __builtin_add_overflow(sum, (uint64_t)(**text - '0'), &sum))
			return false;
	}
	*value = sum;
	return true;
}

/* Digits and one of the suffixes (the list ends with a NULL name; "" stands for none). */
static bool parse_scaled(const char *text, const struct suffix *suffixes, uint64_t *result)
{
	uint64_t value, scaled;

	if (!take_digits(&text, &value))
		return false;
	for (; suffixes->name; suffixes++) {
		if (strcmp(text, suffixes->name) == 0) {
			if (__builtin_mul_overflow(value, suffixes->factor, &scaled))
				return false;
			*result = scaled;
			return true;
		}
	}
	return false;
}

int units_parse_size(const char *text, uint64_t *bytes, struct err *err)
{
	static const struct suffix suffixes[] = {
	    {"", 1},
	    {"K", 1ull << 10},
	    {"KB", 1ull << 10},
	    {"KiB", 1ull << 10},
	    {"M", 1ull << 20},
	    {"MB", 1ull << 20},
	    {"MiB", 1ull << 20},
	    {"G", 1ull << 30},
	    {"GB", 1ull << 30},
	    {"GiB", 1ull << 30},
	    {"T", 1ull << 40},
	    {"TB", 1ull << 40},
	    {"TiB", 1ull << 40},
	    {NULL, 0},
	};

	if (parse_scaled(text, suffixes, bytes))
		return 0;
	return err_set(err, ERR_USAGE,
		       "\"%.64s\" is not a size: write digits and K, M, G or T (powers of 1024), as in 512M",
		       text);
}

int units_parse_duration(const char *text, uint64_t *ns, struct err *err)
{
	static const struct suffix suffixes[] = {
	    {"us", 1000ull},           {"ms", 1000000ull},          {"s", 1000000000ull},
	    {"m", 60 * 1000000000ull}, {"h", 3600 * 1000000000ull}, {NULL, 0},
	};

	if (parse_scaled(text, suffixes, ns))
		return 0;
	return err_set(err, ERR_USAGE,
		       "\"%.64s\" is not a time: write digits and us, ms, s, m or h, as in 300ms", text);
}

int units_parse_uint(const char *text, uint64_t min, uint64_t max, uint64_t *value, struct err *err)
{
	const char *at = text;
	uint64_t parsed;

	if (take_digits(&at, &parsed) && !*at && parsed >= min && parsed <= max) {
		*value = parsed;
		return 0;
	}
	return err_set(err, ERR_USAGE, "\"%.64s\" is not a number from %" PRIu64 " to %" PRIu64, text, min,
		       max);
}

/* value / unit in tenths, rounded half up, without overflow. */
static uint64_t tenths_of(uint64_t value, uint64_t unit)
{
	return value / unit * 10 + (value % unit * 10 + unit / 2) / unit;
}

/* "1.5 GiB", or "2 GiB" where the tenth is zero. */
static void print_tenths(char *text, size_t cap, uint64_t tenths, const char *unit)
{
	if (tenths % 10)
		snprintf(text, cap, "%" PRIu64 ".%u %s", tenths / 10, (unsigned int)(tenths % 10), unit);
	else
		snprintf(text, cap, "%" PRIu64 " %s", tenths / 10, unit);
}

const char *units_format_size(uint64_t bytes, char text[16])
{
	static const char *const names[] = {"B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"};
	size_t step = 0;

	/* What would round to 1024 of a unit is 1 of the next. */
	while (step + 1 < sizeof(names) / sizeof(names[0]) && tenths_of(bytes, 1ull << 10 * step) >= 10240)
		step++;
	print_tenths(text, 16, tenths_of(bytes, 1ull << 10 * step), names[step]);
	return text;
}

const char *units_format_duration(uint64_t ns, char text[24])
{
	const uint64_t second = 1000000000;
	uint64_t whole = ns / second + (ns % second >= second / 2);

	if (ns < 1000)
		snprintf(text, 24, ns ? "%u ns" : "%u s", (unsigned int)ns);
	else if (ns < 999500)
		snprintf(text, 24, "%u us", (unsigned int)((ns + 500) / 1000));
	else if (tenths_of(ns, 1000000) < 10000)
		print_tenths(text, 24, tenths_of(ns, 1000000), "ms");
	else if (tenths_of(ns, second) < 600)
		print_tenths(text, 24, tenths_of(ns, second), "s");
	else if (whole < 3600)
		snprintf(text, 24, "%" PRIu64 " min %" PRIu64 " s", whole / 60, whole % 60);
	else
		snprintf(text, 24, "%" PRIu64 " h %" PRIu64 " min", whole / 3600, whole / 60 % 60);
	return text;
}

bool units_name_valid(const char *name)
{
	size_t len = name ? strnlen(name, 64) : 0;

	if (len < 1 || len > 63 || (!is_letter(name[0]) && !is_digit(name[0])))
		return false;
	for (size_t i = 1; i < len; i++) {
		if (!is_letter(name[i]) && !is_digit(name[i]) && !strchr("._-", name[i]))
			return false;
	}
	return true;
}
