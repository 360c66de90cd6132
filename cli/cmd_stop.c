/* drover stop: the guest ends as if its power were cut. */
#include "cli/commands.h"
#include "cli/output.h"
#include "cli/vms.h"

int cmd_stop(const struct args *args, struct err *err)
{
	const char *name = args->operand[0];

	if (vms_order(name, json_pack("{s:s, s:b}", "cmd", "stop", "force", args->force),
		      VMS_ORDER_TIMEOUT_MS, NULL, err))
		return -1;
	if (args->json)
		output_json(json_pack("{s:s, s:s}", "name", name, "state", "stopped"));
	else
		output_say("VM '%s' is stopped", name);
	return 0;
}
