/* drover kill: the guest ends as if its power were cut. */
#include "cli/commands.h"
#include "cli/output.h"
#include "cli/vms.h"

int cmd_kill(const struct args *args, struct err *err)
{
	const char *name = args->operand[0];
	struct control control;
	int status;

	if (vms_connect(&control, name, err))
		return -1;
	status = control_call(&control, json_pack("{s:s, s:b}", "cmd", "stop", "force", args->force),
			      VMS_ORDER_TIMEOUT_MS, NULL, NULL, NULL, err);
	if (!status)
		/* One that hangs in that is not waited for: it has given its word. */
		(void)vms_await_end(&control, name, VMS_ORDER_TIMEOUT_MS);
	control_close(&control);
	if (status)
		return -1;
	if (args->json)
		output_json(json_pack("{s:s, s:s}", "name", name, "state", "stopped"));
	else
		output_say("VM '%s' is stopped", name);
	return 0;
}
