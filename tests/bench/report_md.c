#include "tests/bench/report.h"
#include <inttypes.h>

void report_summarize(struct report *report)
{
	report->ncells = summary_cells(report->runs, report->count, report->cells);
	report->ntargets = summary_targets(report->cells, report->ncells, report->targets);
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
	const struct cell *own = summary_find(report->cells, report->ncells, &mover_table[0], cell->dirty_mb);

	if (!own || own == cell) {
		fputs(" |\n", out);
		return;
	}
	for (enum measure measure = 0; measure < MEASURE_COUNT; measure++) {
		const struct stats *ours = summary_measure(own, measure);
		const struct stats *theirs = summary_measure(cell, measure);

		if (ours->count > 0 && theirs->count > 0 && stats_median(theirs) > 0)
			fprintf(out, "%s%.2f", measure ? " / " : " ",
				stats_median(ours) / stats_median(theirs));
		else
			fprintf(out, "%s-", measure ? " / " : " ");
	}
	fputs(" |\n", out);
}

static void put_cell(FILE *out, const struct report *report, const struct cell *cell)
{
	char dirty[24];

	fprintf(out, "| %s | %s |", run_dirty_name(cell->dirty_mb, dirty), cell->mover->title);
	put_stats(out, &cell->total_ms, 0);
	put_stats(out, &cell->gap_ms, 1);
	put_stats(out, &cell->wire_mib, 0);
	put_stats(out, &cell->cpu_s, 2);
	fprintf(out, " %u of %u | %" PRIu64 " / %" PRIu64 " |", cell->moved, cell->runs, cell->memory_errors,
		cell->breaks);
	put_ratios(out, report, cell);
}

static void put_targets(FILE *out, const struct report *report)
{
	if (report->ntargets == 0)
		return;
	fputs("\n| target | drover | limit | set by | verdict |\n|---|---|---|---|---|\n", out);
	for (size_t i = 0; i < report->ntargets; i++) {
		const struct target *target = &report->targets[i];

		fprintf(out, "| %s |", target->text);
		if (target->verdict == VERDICT_NOT_MEASURED || target->got < 0)
			fputs(" - |", out);
		else
			fprintf(out, " %.1f %s |", target->got, target->unit);
		if (target->verdict == VERDICT_NOT_MEASURED)
			fputs(" - | - |", out);
		else if (target->limit < 0)
			fprintf(out, " none | %s |", target->against);
		else
			fprintf(out, " %.1f %s | %s |", target->limit, target->unit,
				target->against[0] ? target->against : "drover itself");
		fprintf(out, " %s |\n", summary_verdict_name(target->verdict));
	}
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

	fprintf(out, "Guest: %u MiB with %u MiB filled, %u %% of the filled pages compressible, 1 vCPU.\n",
		env->memory_mib, env->fill_mib, env->compress);
	fprintf(out, "Machine: %s.\n", hostinfo_line(report->host, text));
	fprintf(out, "Medians (smallest-largest) of runs that took turns, %zu in %.0f s.\n", report->count,
		report->took_s);
	put_noise(out, report);
	fputs("| guest writes | mover | total ms | guest-seen gap ms | MiB on the wire | CPU s beside the "
	      "guest | "
	      "finished | memory errors / report breaks | drover / this: total, gap, MiB, CPU |\n"
	      "|---|---|---|---|---|---|---|---|---|\n",
	      out);
	for (size_t i = 0; i < report->ncells; i++)
		put_cell(out, report, &report->cells[i]);
	put_targets(out, report);
	put_notes(out, report);
}
