/* drover dirty-rate: how much memory the guest writes in an interval. */
#include "cli/commands.h"
#include "cli/output.h"
#include "cli/vms.h"
#include "common/jobj.h"
#include "common/units.h"

#include <inttypes.h>

struct rate {
	uint64_t pages, bytes_per_s, interval_ms;
};

static int read_rate(const json_t *reply, struct rate *rate, struct err *err)
{
	return jobj_u64(reply, "pages", true, 0, INT64_MAX, &rate->pages, err) ||
		       jobj_u64(reply, "bytes_per_s", true, 0, INT64_MAX, &rate->bytes_per_s, err) ||
		       jobj_u64(reply, "interval_ms", true, 0, INT32_MAX, &rate->interval_ms, err)
		   ? -1
		   : 0;
}

int cmd_dirty_rate(const struct args *args, struct err *err)
{
	const char *name = args->operand[0];
	int ms = (int)(args->interval_ns / 1000000);
	struct rate rate;
	json_t *reply;
	char size[16], time[24];
	int status;

	if (vms_order(name, json_pack("{s:s, s:i}", "cmd", "dirty-rate", "ms", ms), ms + VMS_ORDER_TIMEOUT_MS,
		      &reply, err))
		return -1;
	status = read_rate(reply, &rate, err);
	json_decref(reply);
	if (status)
		return -1;
	if (args->json)
		output_json(json_pack("{s:s, s:I, s:I, s:I}", "name", name, "pages", (json_int_t)rate.pages,
				      "bytes_per_s", (json_int_t)rate.bytes_per_s, "interval_ms",
				      (json_int_t)rate.interval_ms));
	else
		output_say("VM '%s' dirties %s/s (%" PRIu64 " pages in %s)", name,
			   units_format_size(rate.bytes_per_s, size), rate.pages,
			   units_format_duration(rate.interval_ms * 1000000, time));
	return 0;
}
