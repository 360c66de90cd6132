/* figures.h: what was measured beside the moves of the table: a name and its values, one of each round. */
#ifndef BENCH_FIGURES_H
#define BENCH_FIGURES_H

#include "tests/bench/stats.h"
#include <jansson.h>
#include <stdio.h>

struct figure {
	char name[120];
	const char *unit;
	struct stats values;
};

enum { FIGURES_MAX = 64 };
struct figures {
	struct figure row[FIGURES_MAX];
	size_t count;
};

/* figure_of(figures, unit, format, …): the one of that name and unit, a new one without values where there is none; never NULL (room is
 * asserted). */
struct figure *figure_of(struct figures *figures, const char *unit, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
void figures_markdown(const struct figures *figures, FILE *out);
json_t *figures_json(const struct figures *figures); /* a new reference */

#endif
