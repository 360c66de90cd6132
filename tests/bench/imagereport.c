#include "tests/bench/imagereport.h"
#include "common/units.h"
#include <assert.h>
#include <math.h>
#include <stdarg.h>

#define LEAST_QCOW2 1.0

static const char *const subject_names[SUBJECTS] = {"raw", "dvol", "raw_qemu_img", "qcow2_qemu_img"};

struct image_figure *image_report_figure(struct image_report *report, const char *unit, enum bound bound,
					 double limit, const char *format, ...)
{
	struct image_figure *figure = &report->figures[report->nfigures];
	va_list args;

	assert(report->nfigures < IMAGE_FIGURES_MAX);
	report->nfigures++;
	*figure = (struct image_figure){.unit = unit, .bound = bound, .limit = limit};
	va_start(args, format);
	vsnprintf(figure->name, sizeof(figure->name), format, args);
	va_end(args);
	return figure;
}

static const char *verdict(const struct stats *stats, double got, enum bound bound, double limit)
{
	if (bound == BOUND_NONE)
		return "";
	if (stats->count == 0)
		return "not measured";
	return (bound == BOUND_MOST ? got <= limit : got >= limit) ? "met" : "MISSED";
}

static const char *figure_verdict(const struct image_figure *figure)
{
	double got = figure->worst ? stats_max(&figure->values) : stats_median(&figure->values);

	return verdict(&figure->values, got, figure->bound, figure->limit);
}

static const char *raw_verdict(const struct image_load *load)
{
	return verdict(&load->to_raw, stats_median(&load->to_raw), BOUND_LEAST, load->least_raw);
}

static const char *qcow2_verdict(const struct image_load *load)
{
	return verdict(&load->to_qcow2, stats_median(&load->to_qcow2), BOUND_LEAST, LEAST_QCOW2);
}

static void put_stats(FILE *out, const struct stats *stats, int digits)
{
	if (stats->count == 0)
		fputs(" - |", out);
	else if (stats->count == 1)
		fprintf(out, " %.*f |", digits, stats_median(stats));
	else
		fprintf(out, " %.*f (%.*f-%.*f) |", digits, stats_median(stats), digits, stats_min(stats),
			digits, stats_max(stats));
}

static void put_loads(FILE *out, const struct image_report *report)
{
	fputs("Operations a second:\n\n| load | raw | dvol | raw, qemu-img | qcow2, qemu-img | dvol / raw | "
	      "target | "
	      "verdict | dvol / qcow2 | target | verdict |\n|---|---|---|---|---|---|---|---|---|---|---|\n",
	      out);
	for (size_t i = 0; i < report->nloads; i++) {
		const struct image_load *load = &report->loads[i];

		fprintf(out, "| %s |", load->name);
		for (unsigned s = 0; s < SUBJECTS; s++)
			put_stats(out, &load->rates[s], 0);
		put_stats(out, &load->to_raw, 2);
		fprintf(out, " >= %.1f | %s |", load->least_raw, raw_verdict(load));
		put_stats(out, &load->to_qcow2, 2);
		fprintf(out, " >= %.1f | %s |\n", LEAST_QCOW2, qcow2_verdict(load));
	}
}

static int digits_of(double value)
{
	return fabs(value) >= 1000 ? 0 : fabs(value) >= 10 ? 1 : 2;
}

static void put_figures(FILE *out, const struct image_report *report)
{
	fputs("\n| measure | unit | result | target | verdict |\n|---|---|---|---|---|\n", out);
	for (size_t i = 0; i < report->nfigures; i++) {
		const struct image_figure *figure = &report->figures[i];

		fprintf(out, "| %s | %s |", figure->name, figure->unit);
		put_stats(out, &figure->values, digits_of(stats_max(&figure->values)));
		if (figure->bound == BOUND_NONE)
			fputs(" | |\n", out);
		else
			fprintf(out, " %s %s%g | %s |\n",
				figure->bound == BOUND_MOST ? "<=" : ">=", figure->worst ? "at worst " : "",
				figure->limit, figure_verdict(figure));
	}
}

void image_report_markdown(const struct image_report *report, FILE *out)
{
	char text[512], size[16];

	fprintf(out, "Machine: %s.\n", hostinfo_line(report->host, text));
	fprintf(out,
		"Volumes of %s, %u threads (or a depth of that many), direct I/O. Medians "
		"(smallest-largest), loads: of "
		"%u rounds, ratios: of the rounds' ratios; %.0f s in all. Meanwhile other programs kept %.2f "
		"CPUs "
		"busy.\n\n",
		units_format_size(report->size_bytes, size), report->threads, report->rounds, report->took_s,
		report->others_cpus);
	put_loads(out, report);
	put_figures(out, report);
}

static json_t *stats_json(const struct stats *stats)
{
	json_t *values = json_array();

	for (size_t i = 0; i < stats->count; i++)
		json_array_append_new(values, json_real(stats->values[i]));
	return json_pack("{s:f, s:o}", "median", stats_median(stats), "all", values);
}

static json_t *load_json(const struct image_load *load)
{
	json_t *object =
	    json_pack("{s:s, s:o, s:f, s:s, s:o, s:f, s:s}", "load", load->name, "dvol_divided_by_raw",
		      stats_json(&load->to_raw), "least_raw", load->least_raw, "verdict_raw",
		      raw_verdict(load), "dvol_divided_by_qcow2", stats_json(&load->to_qcow2), "least_qcow2",
		      LEAST_QCOW2, "verdict_qcow2", qcow2_verdict(load));

	for (unsigned s = 0; s < SUBJECTS; s++)
		json_object_set_new(object, subject_names[s], stats_json(&load->rates[s]));
	return object;
}

static json_t *figure_json(const struct image_figure *figure)
{
	static const char *const bounds[] = {"none", "at most", "at least"};

	return json_pack("{s:s, s:s, s:o, s:s, s:f, s:b, s:s}", "measure", figure->name, "unit", figure->unit,
			 "values", stats_json(&figure->values), "bound", bounds[figure->bound], "limit",
			 figure->limit, "limit_is_for_the_worst", (int)figure->worst, "verdict",
			 figure_verdict(figure));
}

json_t *image_report_json(const struct image_report *report)
{
	json_t *loads = json_array(), *figures = json_array();

	for (size_t i = 0; i < report->nloads; i++)
		json_array_append_new(loads, load_json(&report->loads[i]));
	for (size_t i = 0; i < report->nfigures; i++)
		json_array_append_new(figures, figure_json(&report->figures[i]));
	return json_pack("{s:i, s:O, s:{s:I, s:i, s:i}, s:f, s:f, s:o, s:o}", "format", 1, "host",
			 report->host, "settings", "size_bytes", (json_int_t)report->size_bytes, "threads",
			 (int)report->threads, "rounds", (int)report->rounds, "took_s", report->took_s,
			 "others_cpus", report->others_cpus, "loads", loads, "figures", figures);
}

unsigned image_report_missed(const struct image_report *report)
{
	unsigned missed = 0;

	for (size_t i = 0; i < report->nloads; i++)
		missed +=
		    (raw_verdict(&report->loads[i])[0] == 'M') + (qcow2_verdict(&report->loads[i])[0] == 'M');
	for (size_t i = 0; i < report->nfigures; i++)
		missed += figure_verdict(&report->figures[i])[0] == 'M';
	return missed;
}
