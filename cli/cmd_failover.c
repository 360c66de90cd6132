/* drover failover: a standby starts a VM whose primary is lost. */
#include "cli/commands.h"
#include "cli/image.h"
#include "cli/output.h"
#include "cli/start.h"
#include "common/units.h"
#include "replicate/failover.h"
#include "vmm/machine.h"

static void say(const char *vm, const struct failover *failover, pid_t pid, bool json)
{
	char id[IMAGE_ID], age[24];

	if (json) {
		output_json(json_pack("{s:s, s:o, s:I, s:o, s:I, s:i}", "name", vm, "point",
				      image_id_json(failover->record.id), "term", (json_int_t)failover->term,
				      "lost_ms", output_ms(failover->age_ns), "later_points",
				      (json_int_t)failover->later, "pid", (int)pid));
		return;
	}
	output_say("VM '%s' runs here since point %s (pid %d, term %llu)", vm,
		   image_id(failover->record.id, id), (int)pid, (unsigned long long)failover->term);
	output_say("  lost: what it did in the %s since then", units_format_duration(failover->age_ns, age));
	if (failover->later)
		output_say("  left behind: %zu newer points", failover->later);
}

int cmd_failover(const struct args *args, struct err *err)
{
	const char *vm = args->operand[0];
	struct failover failover;
	pid_t pid;
	int status;

	if (machine_check_host(err))
		return -1;
	status = failover_take(vm, args->point, &failover, err);
	if (!status && start_detached(&failover.record.config, &pid, err))
		status = err_context(
		    err, "VM '%s' is this host's now, and is not started: 'drover start %s' tries again", vm,
		    vm);
	if (!status)
		say(vm, &failover, pid, args->json);
	snapshot_record_free(&failover.record);
	return status ? -1 : 0;
}
