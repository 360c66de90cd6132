#include "vmm/retention.h"

#include "common/units.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define SECOND_NS 1000000000ull

static const struct {
	char name;
	uint64_t seconds;
} units[] = {{'w', 7 * 24 * 3600}, {'d', 24 * 3600}, {'h', 3600}, {'m', 60}, {'s', 1}};
enum { UNITS = sizeof(units) / sizeof(units[0]) };

/* "5m" of a word; 0: it is no span. */
static uint64_t parse_span(const char *word)
{
	enum { SPAN_MAX = 100000 };
	size_t len = strlen(word);
	uint64_t number;
	char digits[16];
	struct err ignored;

	for (size_t i = 0; i < UNITS && len > 1 && len < sizeof(digits); i++) {
		if (word[len - 1] != units[i].name)
			continue;
		memcpy(digits, word, len - 1);
		digits[len - 1] = '\0';
		return units_parse_uint(digits, 1, SPAN_MAX, &number, &ignored) ? 0
										: number * units[i].seconds;
	}
	return 0;
}

static int parse_rule(const char *word, struct retention_rule *rule)
{
	const char *x = strchr(word, 'x');
	uint64_t count;
	char digits[16];
	struct err ignored;

	if (!x || (size_t)(x - word) >= sizeof(digits))
		return -1;
	memcpy(digits, word, (size_t)(x - word));
	digits[x - word] = '\0';
	rule->span_s = parse_span(x + 1);
	if (!rule->span_s || units_parse_uint(digits, 1, RETENTION_COUNT_MAX, &count, &ignored))
		return -1;
	rule->count = (uint32_t)count;
	return 0;
}

int retention_parse(const char *text, struct retention *retention, struct err *err)
{
	char copy[RETENTION_TEXT], *rest = copy, *word;

	*retention = (struct retention){.all = !strcmp(text, "all")};
	if (retention->all)
		return 0;
	if (strlen(text) >= sizeof(copy))
		goto bad;
	strcpy(copy, text);
	while ((word = strsep(&rest, ","))) {
		if (retention->rules == RETENTION_RULES)
			return err_set(err, ERR_USAGE, "'%s': there are at most %d rules of what is kept",
				       text, RETENTION_RULES);
		if (parse_rule(word, &retention->rule[retention->rules]))
			goto bad;
		retention->rules++;
	}
	return 0;
bad:
	return err_set(
	    err, ERR_USAGE,
	    "'%.100s' does not say what is kept: give it 'all', or how many points of which spans, as in "
	    "12x5m,24x1h,7x1d",
	    text);
}

const char *retention_format(const struct retention *retention, char text[RETENTION_TEXT])
{
	size_t len = (size_t)snprintf(text, RETENTION_TEXT, "%s", retention->all ? "all" : "");

	for (unsigned i = 0; i < retention->rules; i++) {
		const struct retention_rule *rule = &retention->rule[i];
		size_t unit = 0;

		while (rule->span_s % units[unit].seconds)
			unit++;
		len += (size_t)snprintf(text + len, RETENTION_TEXT - len, "%s%" PRIu32 "x%" PRIu64 "%c",
					i ? "," : "", rule->count, rule->span_s / units[unit].seconds,
					units[unit].name);
	}
	return text;
}

/* From the newest epoch on: where the clock went back, a span that was left comes again, and counts once more at most. */
static void apply(const struct retention_rule *rule, struct retention_point *points, size_t n)
{
	uint64_t last = UINT64_MAX;
	uint32_t left = rule->count;

	for (size_t i = n; i-- > 0 && left > 0;) {
		uint64_t span = points[i].taken_ns / SECOND_NS / rule->span_s;

		if (span == last)
			continue;
		points[i].keep = true;
		last = span;
		left--;
	}
}

void retention_choose(const struct retention *retention, struct retention_point *points, size_t n)
{
	bool verified = false;

	for (size_t i = n; i-- > 0;) {
		points[i].keep =
		    retention->all || points[i].held || i == n - 1 || (points[i].verified && !verified);
		verified = verified || points[i].verified;
	}
	for (unsigned i = 0; i < retention->rules; i++)
		apply(&retention->rule[i], points, n);
}
