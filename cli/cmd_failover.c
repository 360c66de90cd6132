/* drover failover: a standby starts a VM whose primary is lost. */
#include "cli/commands.h"
#include "cli/image.h"
#include "cli/output.h"
#include "cli/start.h"
#include "common/units.h"
#include "replicate/failover.h"
#include "vmm/machine.h"

int cmd_failover(const struct args *args, struct err *err)
{
	const char *vm = args->operand[0];
	struct failover failover;
	char id[IMAGE_ID], age[24];
	int status;

	if (machine_check_host(err))
		return -1;
	status = failover_take(vm, args->point, &failover, err);
	if (!status && args->json)
		output_json(json_pack("{s:s, s:o, s:I, s:o, s:I}", "name", vm, "point", image_id_json(failover.record.id),
				      "term", (json_int_t)failover.term, "lost_ms", output_ms(failover.age_ns), "later_points",
				      (json_int_t)failover.later));
	else if (!status) {
		output_say("VM '%s' is this host's from now on, under term %llu, as it was at point %s", vm,
			   (unsigned long long)failover.term, image_id(failover.record.id, id));
		output_say("  lost: what it did in the %s since then%s", units_format_duration(failover.age_ns, age),
			   failover.later ? "; newer points are left behind" : "");
	}
	if (!status)
		status = start_vm(&failover.record.config, true, args->json, err);
	snapshot_record_free(&failover.record);
	return status ? -1 : 0;
}
