#include "cli/report.h"

#include "cli/output.h"
#include "common/text.h"
#include "common/units.h"

#include <inttypes.h>

static double megabytes_per_s(uint64_t bytes, uint64_t ns)
{
	return ns ? (double)bytes * 1e3 / (double)ns : 0;
}

static void rounds_text(FILE *out, const struct move_report *report)
{
	char bytes[16], time[24];

	fprintf(out, "  %5s %10s %11s %11s %9s %9s\n", "round", "pages", "bytes", "time", "MB/s",
		"slowed by");
	for (unsigned i = 0; i < report->listed; i++) {
		const struct move_round *round = &report->round[i];
		unsigned number = i == 0 ? 1 : report->rounds - report->listed + i + 1;

		fprintf(out, "  %5u %10" PRIu64 " %11s %11s %9.1f %8u%%\n", number, round->pages,
			units_format_size(round->bytes, bytes), units_format_duration(round->ns, time),
			megabytes_per_s(round->bytes, round->ns), round->throttle);
	}
}

/* Of the move's time, how much the throttle took from the guest, to a tenth of a percent. */
static double lost_percent(const struct move_report *report)
{
	uint64_t total_us = report->total_ns / 1000;

	return total_us ? (double)((report->lost_ns + total_us / 2) / total_us) / 10 : 0;
}

static void postcopy_text(FILE *out, const struct move_report *report)
{
	const struct histogram *faults = &report->postcopy.faults;
	char time[24], bytes[16];

	if (!report->postcopy.owed)
		return;
	fprintf(out, "  post-copy   %" PRIu64 " pages, %s, %s after the start\n", report->postcopy.owed,
		units_format_size(report->postcopy.bytes, bytes),
		units_format_duration(report->postcopy.ns, time));
	fprintf(out,
		"  faults      %" PRIu64 " waited for pages: half of them %" PRIu64
		" us or less, 99%% %" PRIu64 " us, the longest %" PRIu64 " us\n",
		faults->count, histogram_percentile(faults, 50), histogram_percentile(faults, 99),
		faults->max_us);
}

/* null: no post-copy. */
static json_t *postcopy_json(const struct move_report *report)
{
	const struct histogram *faults = &report->postcopy.faults;
	json_t *buckets;

	if (!report->postcopy.owed)
		return json_null();
	buckets = json_array();
	for (size_t i = 0; i < HISTOGRAM_BUCKETS; i++)
		json_array_append_new(buckets, json_integer((json_int_t)faults->bucket[i]));
	return json_pack("{s:I, s:I, s:o, s:{s:I, s:I, s:I, s:I, s:o}}", "pages",
			 (json_int_t)report->postcopy.owed, "bytes", (json_int_t)report->postcopy.bytes, "ms",
			 output_ms(report->postcopy.ns), "faults", "count", (json_int_t)faults->count,
			 "p50_us", (json_int_t)histogram_percentile(faults, 50), "p99_us",
			 (json_int_t)histogram_percentile(faults, 99), "max_us", (json_int_t)faults->max_us,
			 "buckets", buckets);
}

void report_text(FILE *out, const struct move_options *options, const struct move_report *report)
{
	char text[512], real[24], forecast[24], budget[24];

	text_format(text, sizeof(text), "%s", options->peer);
	fprintf(out, "VM '%s' runs on %s now\n", options->vm, text);
	fprintf(out, "  total time  %-10s forecast %s\n", units_format_duration(report->total_ns, real),
		units_format_duration(report->forecast_ns, forecast));
	fprintf(out, "  downtime    %-10s forecast %s, budget %s%s\n",
		units_format_duration(report->downtime_ns, real),
		units_format_duration(report->forecast_downtime_ns, forecast),
		units_format_duration(options->downtime_ns, budget),
		report->downtime_ns > options->downtime_ns ? ": exceeded" : "");
	if (report->resumed)
		fprintf(out, "  gone on with from where a command that was ended had left it\n");
	if (report->resumes)
		fprintf(out, "  taken back  %u pauses, in which a link broke; %s in all\n", report->resumes,
			units_format_duration(report->resumes_ns, real));
	fprintf(out,
		"  pages       %" PRIu64 ", of these %" PRIu64 " zero pages, %" PRIu64
		" only as what had changed\n",
		report->pages_sent, report->zero_pages, report->delta_pages);
	fprintf(out, "  bytes       %s\n", units_format_size(report->bytes_sent, real));
	if (report->disk_ns)
		fprintf(out, "  disks       %s of these in %s, before the first round\n",
			units_format_size(report->disk_bytes, real),
			units_format_duration(report->disk_ns, forecast));
	fprintf(out, "  links       %u", report->links);
	if (report->reconnects || report->pages_again)
		fprintf(out, ", connected again %u times, %" PRIu64 " pages sent again", report->reconnects,
			report->pages_again);
	fprintf(out, "\n  throughput  %.1f MB/s (%" PRIu64 " Mbit/s)\n", (double)report->wire_mbps / 8,
		report->wire_mbps);
	if (report->max_throttle)
		fprintf(out,
			"  throttle    the guest was slowed by up to %u%%, and lost %.1f%% of its time\n",
			report->max_throttle, lost_percent(report));
	else
		fprintf(out, "  throttle    none\n");
	postcopy_text(out, report);
	fprintf(out, "  term        %" PRIu64 "\n", report->term);
	rounds_text(out, report);
}

json_t *report_json(const struct move_options *options, const struct move_report *report)
{
	json_t *bytes = json_array(), *detail = json_array(), *object;

	for (unsigned i = 0; i < report->listed; i++) {
		const struct move_round *round = &report->round[i];

		json_array_append_new(bytes, json_integer((json_int_t)round->bytes));
		json_array_append_new(detail,
				      json_pack("{s:I, s:I, s:o, s:i}", "pages", (json_int_t)round->pages,
						"bytes", (json_int_t)round->bytes, "ms", output_ms(round->ns),
						"throttle", (int)round->throttle));
	}
	object = json_pack(
	    "{s:s, s:o, s:I, s:o, s:o, s:o, s:o, s:o, s:i, s:I, s:I, s:I, s:I, s:o, s:I, s:i, s:o, s:i, s:i, "
	    "s:I, "
	    "s:i, s:o, s:f}",
	    "name", options->vm, "destination", output_string(options->peer), "term",
	    (json_int_t)report->term, "total_ms", output_ms(report->total_ns), "downtime_ms",
	    output_ms(report->downtime_ns), "downtime_budget_ms", output_ms(options->downtime_ns),
	    "forecast_ms", output_ms(report->forecast_ns), "forecast_downtime_ms",
	    output_ms(report->forecast_downtime_ns), "rounds", (int)report->rounds, "pages_sent",
	    (json_int_t)report->pages_sent, "zero_pages", (json_int_t)report->zero_pages, "delta_pages",
	    (json_int_t)report->delta_pages, "bytes_sent", (json_int_t)report->bytes_sent, "bytes_per_round",
	    bytes, "mbps", (json_int_t)report->wire_mbps, "max_throttle", (int)report->max_throttle,
	    "rounds_detail", detail, "links", (int)report->links, "reconnects", (int)report->reconnects,
	    "pages_again", (json_int_t)report->pages_again, "resumes", (int)report->resumes, "resumes_ms",
	    output_ms(report->resumes_ns), "lost_percent", lost_percent(report));
	if (report->disk_ns)
		json_object_set_new(object, "disks",
				    json_pack("{s:I, s:I, s:o}", "pages", (json_int_t)report->disk_pages,
					      "bytes", (json_int_t)report->disk_bytes, "ms",
					      output_ms(report->disk_ns)));
	json_object_set_new(object, "postcopy", postcopy_json(report));
	json_object_set_new(object, "resumed", json_boolean(report->resumed));
	return object;
}
