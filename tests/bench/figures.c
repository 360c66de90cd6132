#include "tests/bench/figures.h"
#include <assert.h>
#include <stdarg.h>
#include <string.h>

struct figure *figure_of(struct figures *figures, const char *unit, const char *format, ...)
{
	struct figure *figure = &figures->row[figures->count];
	char name[sizeof(figure->name)];
	va_list args;

	va_start(args, format);
	vsnprintf(name, sizeof(name), format, args);
	va_end(args);
	for (size_t i = 0; i < figures->count; i++)
		if (strcmp(figures->row[i].name, name) == 0 && strcmp(figures->row[i].unit, unit) == 0)
			return &figures->row[i];
	assert(figures->count < FIGURES_MAX);
	figures->count++;
	*figure = (struct figure){.unit = unit};
	memcpy(figure->name, name, sizeof(name));
	return figure;
}

void figures_markdown(const struct figures *figures, FILE *out)
{
	fputs("| measured | median (smallest-largest) | runs |\n|---|---|---|\n", out);
	for (size_t i = 0; i < figures->count; i++) {
		const struct figure *figure = &figures->row[i];
		const struct stats *values = &figure->values;
		double median = stats_median(values);
		int digits = median >= 100 ? 0 : median >= 10 ? 1 : 2;

		fprintf(out, "| %s | %.*f %s (%.*f-%.*f) | %zu |\n", figure->name, digits, median,
			figure->unit, digits, stats_min(values), digits, stats_max(values), values->count);
	}
}

json_t *figures_json(const struct figures *figures)
{
	json_t *list = json_array();

	for (size_t i = 0; i < figures->count; i++) {
		const struct figure *figure = &figures->row[i];
		json_t *values = json_array();

		for (size_t k = 0; k < figure->values.count; k++)
			json_array_append_new(values, json_real(figure->values.values[k]));
		json_array_append_new(list, json_pack("{s:s, s:s, s:f, s:o}", "name", figure->name, "unit",
						      figure->unit, "median", stats_median(&figure->values),
						      "values", values));
	}
	return list;
}
