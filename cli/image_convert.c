/* drover image convert: a disk image in another format. */
#include "cli/commands.h"
#include "cli/output.h"
#include "cli/terminal.h"
#include "common/io.h"
#include "common/units.h"
#include "convert/convert.h"

#include <inttypes.h>
#include <poll.h>
#include <stdio.h>
#include <unistd.h>

/* What is shown while it runs. */
struct shown {
	bool terminal; /* stderr is one: a line is redrawn there */
	bool drawn;
	uint64_t began_ns, last_ns;
};

enum { REDRAW_NS = 200000000 };

static void draw(struct shown *shown, uint64_t done, uint64_t total)
{
	uint64_t now = clock_mono_ns();
	char of[16], left[24] = "", line[96];
	double part = total ? (double)done / (double)total : 0;
	int len;

	if (now - shown->last_ns < REDRAW_NS)
		return;
	shown->last_ns = now;
	if (part > 0)
		units_format_duration((uint64_t)((double)(now - shown->began_ns) / part * (1 - part)), left);
	len = snprintf(line, sizeof(line), "\rconverting: %3.0f%% of %s%s%s%s\033[K", part * 100,
		       units_format_size(total, of), *left ? ", " : "", left, *left ? " left" : "");
	(void)io_write_full(STDERR_FILENO, line, (size_t)len);
	shown->drawn = true;
}

static bool tick(void *context, uint64_t done, uint64_t total)
{
	struct shown *shown = context;

	ppoll(NULL, 0, &(struct timespec){0}, terminal_mask()); /* lets a signal in, if there is one */
	if (terminal_caught())
		return false;
	if (shown->terminal && total > 0)
		draw(shown, done, total);
	return true;
}

static void report_json(const struct convert_report *report)
{
	json_t *epoch = report->epoch.number
			    ? json_sprintf("%" PRIu64 ".%" PRIu64, report->epoch.term, report->epoch.number)
			    : json_null();

	output_json(json_pack(
	    "{s:s, s:s, s:I, s:I, s:I, s:I, s:I, s:o, s:f}", "from",
	    convert_format_words[report->from_format], "to", convert_format_words[report->to_format],
	    "size_bytes", (json_int_t)report->size_bytes, "target_size_bytes",
	    (json_int_t)report->target_size_bytes, "read_bytes", (json_int_t)report->read_bytes,
	    "written_bytes", (json_int_t)report->written_bytes, "zero_bytes", (json_int_t)report->zero_bytes,
	    "epoch", epoch, "seconds", (double)report->time_ns / 1e9));
}

static void report_text(const char *path, const struct convert_report *report)
{
	char size[16], written[16], time[24], epoch[64] = "";

	if (report->epoch.number)
		snprintf(epoch, sizeof(epoch), ", closed as epoch %" PRIu64 ".%" PRIu64, report->epoch.term,
			 report->epoch.number);
	output_say("%s: %s, of these %s written, the rest zeroes; %s to %s in %s%s", path,
		   units_format_size(report->size_bytes, size),
		   units_format_size(report->written_bytes, written),
		   convert_format_words[report->from_format], convert_format_words[report->to_format],
		   units_format_duration(report->time_ns, time), epoch);
	if (report->target_size_bytes != report->size_bytes)
		output_note("%s is %" PRIu64
			    " bytes larger than the source, all zeroes: its format wants it so",
			    path, report->target_size_bytes - report->size_bytes);
}

int cmd_image_convert(const struct args *args, struct err *err)
{
	struct convert_options options = {
	    .from = args->operand[0],
	    .to = args->operand[1],
	    .from_format = (enum convert_format)args->from_format,
	    .to_format = (enum convert_format)args->to_format,
	    .compress = (unsigned)args->compress,
	    .open_head = args->no_epoch,
	    .force = args->force,
	    .allow_backing = args->allow_backing,
	};
	struct shown shown = {.terminal = isatty(STDERR_FILENO), .began_ns = clock_mono_ns()};
	struct convert_report report;
	int status;

	if (args->epoch && dvol_id_parse(args->epoch, &options.epoch, err))
		return err_context(err, "image convert: --epoch");
	terminal_catch();
	status = convert_image(&options, tick, &shown, &report, err);
	terminal_release();
	if (shown.drawn)
		(void)io_write_full(STDERR_FILENO, "\r\033[K", 4);
	if (status && err->kind == ERR_CANCELLED)
		err_set(err, ERR_CANCELLED, "the conversion was cancelled; there is no %s of it", options.to);
	if (status)
		return -1;
	if (args->json)
		report_json(&report);
	else
		report_text(options.to, &report);
	return 0;
}
