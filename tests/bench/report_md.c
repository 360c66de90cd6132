#include "tests/bench/report.h"
#include <inttypes.h>

void report_summarize(struct report *report)
{
	struct results *results = &report->results;

	report->ncells = summary_cells(report->runs, report->count, report->cells);
	summary_targets(report->cells, report->ncells, results->ideal_mib, &results->targets);
	summary_forecasts(report->runs, report->count, &results->figures, &results->targets);
	summary_phases(report->runs, report->count, &results->figures);
}

/* "1234 (1200-1300)" */
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

/* drover's median divided by this mover's, in each measure. */
static void put_ratios(FILE *out, const struct report *report, const struct cell *cell)
{
	static const enum measure compared[] = {MEASURE_TOTAL, MEASURE_DOWNTIME, MEASURE_WIRE, MEASURE_CPU};
	const struct cell *own = summary_find(report->cells, report->ncells, &mover_table[0], cell->dirty_mb);

	if (!own || own == cell) {
		fputs(" |\n", out);
		return;
	}
	for (size_t i = 0; i < sizeof(compared) / sizeof(compared[0]); i++) {
		const struct stats *ours = &own->measures[compared[i]];
		const struct stats *theirs = &cell->measures[compared[i]];

		if (ours->count > 0 && theirs->count > 0 && stats_median(theirs) > 0)
			fprintf(out, "%s%.2f", i ? " / " : " ", stats_median(ours) / stats_median(theirs));
		else
			fprintf(out, "%s-", i ? " / " : " ");
	}
	fputs(" |\n", out);
}

static void put_cell(FILE *out, const struct report *report, const struct cell *cell)
{
	static const int digits[] = {[MEASURE_TOTAL] = 0, [MEASURE_DOWNTIME] = 1, [MEASURE_PAUSE] = 1,
				     [MEASURE_WIRE] = 0,  [MEASURE_CPU] = 2,      [MEASURE_SLOWED] = 0};
	char dirty[24];

	fprintf(out, "| %s | %s |", run_dirty_name(cell->dirty_mb, dirty), cell->mover->title);
	for (enum measure measure = 0; measure < MEASURE_COUNT; measure++)
		put_stats(out, &cell->measures[measure], digits[measure]);
	fprintf(out, " %u of %u | %" PRIu64 " / %" PRIu64 " |", cell->moved, cell->runs, cell->memory_errors,
		cell->breaks);
	put_ratios(out, report, cell);
}

static void put_notes(FILE *out, const struct report *report)
{
	bool any = false;
	char dirty[24];

	for (size_t i = 0; i < report->count; i++) {
		const struct run *run = &report->runs[i];

		if (!run->note[0])
			continue;
		if (!any)
			fputs("\nRuns that were not as they should be:\n\n", out);
		any = true;
		fprintf(out, "- %s, %s: ", run_dirty_name(run->dirty_mb, dirty), run->mover->name);
		if (run->end == RUN_UNFINISHED)
			fprintf(out, "did not finish in %u s\n", report->timeout_s);
		else
			fprintf(out, "%s: %s\n", run_end_name(run->end), run->note);
	}
}

/* How much the machine was disturbed: on a busy one only ratios of medians mean anything, if that. */
static void put_noise(FILE *out, const struct report *report)
{
	struct stats others = {.count = 0};

	for (size_t i = 0; i < report->count; i++)
		if (report->runs[i].end == RUN_MOVED)
			stats_add(&others, report->runs[i].others_cpus);
	fprintf(out, "Meanwhile other programs kept %.2f CPUs busy (%.2f-%.2f).\n\n", stats_median(&others),
		stats_min(&others), stats_max(&others));
}

void report_markdown(const struct report *report, FILE *out)
{
	const struct benchenv *env = report->env;
	char text[512];

	fprintf(out, "Guest: %u MiB with %u MiB filled, %u %% of each filled page compressible, 1 vCPU.\n",
		env->memory_mib, env->fill_mib, env->compress);
	fprintf(out, "Machine: %s.\n", hostinfo_line(report->host, text));
	fprintf(
	    out,
	    "Medians (smallest-largest) of runs that took turns, %zu in the first table; %.0f s in all.\n",
	    report->count, report->took_s);
	put_noise(out, report);
	targets_markdown(&report->results.targets, out);
	fputs("\n| guest writes | mover | total ms | guest-seen downtime ms | its longest pause ms | MiB on "
	      "the "
	      "wire | CPU s beside the guest | guest slowed % | finished | memory errors / report breaks | "
	      "drover / this: total, downtime, MiB, CPU |\n|---|---|---|---|---|---|---|---|---|---|---|\n",
	      out);
	for (size_t i = 0; i < report->ncells; i++)
		put_cell(out, report, &report->cells[i]);
	fputs("\n", out);
	figures_markdown(&report->results.figures, out);
	put_notes(out, report);
	for (size_t i = 0; report->left_out[i][0]; i++)
		fprintf(out, "\nNot measured, or not to the end: %s\n", report->left_out[i]);
}
