#include "tests/bench/report.h"

static json_t *stats_json(const struct stats *stats)
{
	if (stats->count == 0)
		return json_null();
	return json_pack("{s:f, s:f, s:f}", "median", stats_median(stats), "min", stats_min(stats), "max",
			 stats_max(stats));
}

/* A number that is negative where it is unknown. */
static json_t *known(double value)
{
	return value < 0 ? json_null() : json_real(value);
}

static json_t *run_json(const struct run *run)
{
	json_t *object, *reported;
	char dirty[24];

	reported = json_pack("{s:o, s:o, s:o, s:O?}", "total_ms", known(run->reported_total_ms),
			     "downtime_ms", known(run->reported_downtime_ms), "mib", known(run->reported_mib),
			     "all", run->reported);
	object = json_pack("{s:s, s:s, s:s, s:s, s:I, s:I}", "mover", run->mover->name, "dirty",
			   run_dirty_name(run->dirty_mb, dirty), "end", run_end_name(run->end), "note",
			   run->note, "memory_errors", (json_int_t)run->memory_errors, "report_breaks",
			   (json_int_t)run->breaks);
	if (run->end == RUN_MOVED)
		json_object_update_new(
		    object,
		    json_pack("{s:f, s:o, s:o, s:o, s:f, s:f, s:f, s:f, s:o, s:b, s:f, s:f, s:f, s:o}",
			      "total_ms", run->total_ms, "slowed_percent", known(run->slowed_percent),
			      "planned_total_ms", known(run->planned_total_ms), "planned_downtime_ms",
			      known(run->planned_downtime_ms), "guest_gap_ms", run->gap_ms,
			      "guest_gap_landing_ms", run->landing_gap_ms, "guest_gap_before_ms",
			      run->quiet_gap_ms, "clock_lost_ms", run->clock_lost_ms, "wire_mib",
			      known(run->wire_mib), "wire_measured", run->wire_measured, "cpu_s", run->cpu_s,
			      "guest_cpu_s", run->guest_cpu_s, "others_cpus", run->others_cpus, "reported",
			      reported));
	else
		json_decref(reported);
	return object;
}

static json_t *cell_json(const struct report *report, const struct cell *cell)
{
	static const char *const names[] = {
	    [MEASURE_TOTAL] = "total_ms",     [MEASURE_DOWNTIME] = "guest_gap_landing_ms",
	    [MEASURE_PAUSE] = "guest_gap_ms", [MEASURE_WIRE] = "wire_mib",
	    [MEASURE_CPU] = "cpu_s",          [MEASURE_SLOWED] = "slowed_percent"};
	const struct cell *own = summary_find(report->cells, report->ncells, &mover_table[0], cell->dirty_mb);
	json_t *ratios = json_object(), *object;
	char dirty[24];

	object = json_pack("{s:s, s:s, s:s, s:i, s:i, s:I, s:I}", "mover", cell->mover->name, "title",
			   cell->mover->title, "dirty", run_dirty_name(cell->dirty_mb, dirty), "runs",
			   (int)cell->runs, "moved", (int)cell->moved, "memory_errors",
			   (json_int_t)cell->memory_errors, "report_breaks", (json_int_t)cell->breaks);
	for (enum measure measure = 0; measure < MEASURE_COUNT; measure++) {
		const struct stats *theirs = &cell->measures[measure];

		json_object_set_new(object, names[measure], stats_json(theirs));
		if (own && own != cell && own->moved > 0 && theirs->count > 0 && stats_median(theirs) > 0)
			json_object_set_new(
			    ratios, names[measure],
			    json_real(stats_median(&own->measures[measure]) / stats_median(theirs)));
	}
	json_object_set_new(object, "drover_divided_by_this", ratios);
	return object;
}

json_t *report_json(const struct report *report)
{
	const struct benchenv *env = report->env;
	json_t *runs = json_array(), *cells = json_array(), *left_out = json_array();

	for (size_t i = 0; i < report->count; i++)
		json_array_append_new(runs, run_json(&report->runs[i]));
	for (size_t i = 0; i < report->ncells; i++)
		json_array_append_new(cells, cell_json(report, &report->cells[i]));
	for (size_t i = 0; report->left_out[i][0]; i++)
		json_array_append_new(left_out, json_string(report->left_out[i]));
	return json_pack("{s:i, s:O, s:{s:i, s:i, s:i, s:i, s:i, s:b}, s:f, s:o, s:o, s:o, s:o, s:o}",
			 "format", 2, "host", report->host, "settings", "memory_mib", (int)env->memory_mib,
			 "fill_mib", (int)env->fill_mib, "compress_percent", (int)env->compress, "report_ms",
			 (int)env->report_ms, "timeout_s", (int)report->timeout_s, "own_network",
			 env->own_network, "took_s", report->took_s, "runs", runs, "summary", cells,
			 "figures", figures_json(&report->results.figures), "targets",
			 targets_json(&report->results.targets), "left_out", left_out);
}
