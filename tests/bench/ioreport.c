/* ioreport.c: medians, the best of QEMU's, and ratios to it. */
#include "common/units.h"
#include "tests/bench/iobench.h"
#include <string.h>

#define LEAST 1.0

/* The subject of the group with the best median in the row, or -1 where none was measured. */
static int best_of(const struct io_bench *bench, size_t row, enum io_group group)
{
	int best = -1;

	for (size_t s = 0; s < io_subject_count; s++) {
		const struct stats *rate = &bench->cells[row][s].rate;

		if (io_subjects[s].group != group || rate->count == 0)
			continue;
		if (best < 0 || stats_median(rate) > stats_median(&bench->cells[row][best].rate))
			best = (int)s;
	}
	return best;
}

/* What is compared with what. */
static const struct {
	enum io_group ours, theirs;
	const char *name;
} pairs[] = {
    {GROUP_DVOL, GROUP_QEMU_RAW, "dvol / QEMU raw"},
    {GROUP_DVOL, GROUP_QEMU_QCOW2, "dvol / QEMU qcow2"},
    {GROUP_DROVER_RAW, GROUP_QEMU_RAW, "raw / QEMU raw"},
    {GROUP_DROVER_NET, GROUP_QEMU_NET, "drover / QEMU"},
};
enum { PAIRS = sizeof(pairs) / sizeof(pairs[0]) };

/* The ratio of the medians; 0: not measured. */
static double ratio(const struct io_bench *bench, size_t row, size_t pair)
{
	int ours = best_of(bench, row, pairs[pair].ours), theirs = best_of(bench, row, pairs[pair].theirs);

	if (ours < 0 || theirs < 0)
		return 0;
	return stats_median(&bench->cells[row][ours].rate) / stats_median(&bench->cells[row][theirs].rate);
}

static void put_cell(FILE *out, const struct io_bench *bench, size_t row, enum io_group group)
{
	int s = best_of(bench, row, group);
	const struct io_cell *cell = s < 0 ? NULL : &bench->cells[row][s];

	if (!cell)
		fputs(" - |", out);
	else
		fprintf(out, " %.0f (%.0f-%.0f), %.0f us |", stats_median(&cell->rate),
			stats_min(&cell->rate), stats_max(&cell->rate), stats_median(&cell->cpu_us));
}

/* Which of QEMU's settings the figure is of. */
static void put_setting(FILE *out, const struct io_bench *bench, size_t row)
{
	static const enum io_group groups[] = {GROUP_QEMU_RAW, GROUP_QEMU_QCOW2};

	for (size_t i = 0; i < 2; i++) {
		int s = best_of(bench, row, groups[i]);

		fprintf(out, "%s%s%s", i ? "; " : " ", s < 0 ? "-" : io_subjects[s].aio,
			s >= 0 && io_subjects[s].iothread ? ", iothread" : "");
	}
	fputs(" |", out);
}

static void put_ratio(FILE *out, double value)
{
	if (value > 0)
		fprintf(out, " %.2f%s |", value, value >= LEAST ? "" : " MISSED");
	else
		fputs(" - |", out);
}

static void put_disks(FILE *out, const struct io_bench *bench)
{
	fputs("Disks: requests a second, and CPU time a request beside the vCPU's:\n\n"
	      "| load | drover, dvol | drover, raw (read-only) | QEMU, raw | QEMU, qcow2 | QEMU's best: raw; "
	      "qcow2 | dvol / raw | "
	      "dvol / qcow2 | raw / raw |\n|---|---|---|---|---|---|---|---|---|\n",
	      out);
	for (size_t r = 0; r < io_row_count; r++) {
		if (io_rows[r].net)
			continue;
		fprintf(out, "| %s |", io_rows[r].title);
		for (enum io_group group = GROUP_DVOL; group <= GROUP_QEMU_QCOW2; group++)
			put_cell(out, bench, r, group);
		put_setting(out, bench, r);
		for (size_t p = 0; p < 3; p++)
			put_ratio(out, ratio(bench, r, p));
		fputs("\n", out);
	}
}

static void put_net(FILE *out, const struct io_bench *bench)
{
	fputs("\nNetworks: frames, or round trips, a second, and CPU time of each beside the vCPUs':\n\n"
	      "| load | drover | QEMU | drover / QEMU |\n|---|---|---|---|\n",
	      out);
	for (size_t r = 0; r < io_row_count; r++) {
		if (!io_rows[r].net)
			continue;
		fprintf(out, "| %s |", io_rows[r].title);
		put_cell(out, bench, r, GROUP_DROVER_NET);
		put_cell(out, bench, r, GROUP_QEMU_NET);
		put_ratio(out, ratio(bench, r, 3));
		fputs("\n", out);
	}
}

void io_report_markdown(const struct io_bench *bench, const json_t *host, FILE *out)
{
	char text[512], size[16];

	fprintf(out, "Machine: %s.\n", hostinfo_line(host, text));
	fprintf(out,
		"Disks of %s, %u s each. Medians (smallest-largest) of %u rounds; %.0f s in all. Meanwhile "
		"other programs "
		"kept %.2f CPUs busy.\n\n",
		units_format_size(bench->size_bytes, size), bench->seconds, bench->rounds, bench->took_s,
		bench->others_cpus);
	put_disks(out, bench);
	put_net(out, bench);
	for (size_t r = 0; r < io_row_count; r++)
		for (size_t s = 0; s < io_subject_count; s++)
			if (bench->cells[r][s].failure[0])
				fprintf(out, "\n%s, %s: %s\n", io_rows[r].title, io_subjects[s].name,
					bench->cells[r][s].failure);
}

static json_t *stats_json(const struct stats *stats)
{
	json_t *values = json_array();

	for (size_t i = 0; i < stats->count; i++)
		json_array_append_new(values, json_real(stats->values[i]));
	return json_pack("{s:f, s:o}", "median", stats_median(stats), "all", values);
}

static json_t *row_json(const struct io_bench *bench, size_t r)
{
	json_t *subjects = json_object(), *ratios = json_object();

	for (size_t s = 0; s < io_subject_count; s++) {
		const struct io_cell *cell = &bench->cells[r][s];

		if (cell->rate.count == 0 && !cell->failure[0])
			continue;
		json_object_set_new(
		    subjects, io_subjects[s].name,
		    json_pack("{s:o, s:o, s:o, s:o, s:o, s:s}", "per_s", stats_json(&cell->rate),
			      "cpu_us_beside_vcpus", stats_json(&cell->cpu_us), "cpu_us_all",
			      stats_json(&cell->all_us), "mean_us", stats_json(&cell->mean_us),
			      "notifications", stats_json(&cell->kicks), "failure", cell->failure));
	}
	for (size_t p = 0; p < PAIRS; p++)
		if (ratio(bench, r, p) > 0)
			json_object_set_new(ratios, pairs[p].name, json_real(ratio(bench, r, p)));
	return json_pack("{s:s, s:s, s:o, s:o}", "load", io_rows[r].title, "unit", io_rows[r].unit,
			 "subjects", subjects, "ratios", ratios);
}

json_t *io_report_json(const struct io_bench *bench, const json_t *host)
{
	json_t *rows = json_array();

	for (size_t r = 0; r < io_row_count; r++)
		json_array_append_new(rows, row_json(bench, r));
	return json_pack("{s:i, s:O, s:I, s:i, s:i, s:f, s:f, s:o}", "format", 1, "host", host, "size_bytes",
			 (json_int_t)bench->size_bytes, "rounds", (int)bench->rounds, "seconds",
			 (int)bench->seconds, "took_s", bench->took_s, "others_cpus", bench->others_cpus,
			 "rows", rows);
}

unsigned io_missed(const struct io_bench *bench)
{
	unsigned missed = 0;

	for (size_t r = 0; r < io_row_count; r++)
		for (size_t p = 0; p < PAIRS; p++)
			missed += ratio(bench, r, p) > 0 && ratio(bench, r, p) < LEAST;
	return missed;
}
