/* drover image convert: a disk image in another format. */
#include "cli/commands.h"
#include "cli/image.h"
#include "cli/output.h"
#include "cli/work.h"
#include "common/units.h"
#include "convert/convert.h"

#include <inttypes.h>
#include <stdio.h>

static void report_json(const char *path, const struct convert_report *report)
{
	output_json(json_pack(
	    "{s:o, s:s, s:s, s:I, s:I, s:I, s:I, s:I, s:o, s:f}", "file", output_string(path), "from",
	    convert_format_words[report->from_format], "to", convert_format_words[report->to_format],
	    "size_bytes", (json_int_t)report->size_bytes, "target_size_bytes",
	    (json_int_t)report->target_size_bytes, "read_bytes", (json_int_t)report->read_bytes,
	    "written_bytes", (json_int_t)report->written_bytes, "zero_bytes", (json_int_t)report->zero_bytes,
	    "epoch", image_id_json(report->epoch), "seconds", (double)report->time_ns / 1e9));
}

static void report_text(const char *path, const struct convert_report *report)
{
	char size[16], written[16], time[24], epoch[IMAGE_ID];

	output_say(
	    "'%s': %s, of these %s written, the rest zeroes; %s to %s in %s%s%s", path,
	    units_format_size(report->size_bytes, size), units_format_size(report->written_bytes, written),
	    convert_format_words[report->from_format], convert_format_words[report->to_format],
	    units_format_duration(report->time_ns, time), report->epoch.number ? ", closed as epoch " : "",
	    report->epoch.number ? image_id(report->epoch, epoch) : "");
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
	    .epoch = args->epoch,
	    .compress = (unsigned)args->compress,
	    .open_head = args->no_epoch,
	    .force = args->force,
	    .allow_backing = args->allow_backing,
	};
	struct convert_report report;
	struct work work;
	int result;

	work_begin(&work, NULL, "converting");
	result = convert_image(&options, work_tick, &work, &report, err);
	if (work_end(&work, result, "nothing was written", err))
		return -1;
	if (args->json)
		report_json(options.to, &report);
	else
		report_text(options.to, &report);
	return 0;
}
