/* drover kill: the guest ends as if its power were cut. */
#include "cli/commands.h"
#include "cli/output.h"
#include "cli/vms.h"

/* await_end(control): the answer comes while the process is still closing; what follows ("run", "forget") must find
 * the VM's name free.  One that hangs in that is not waited for: it has given its word. */
static void await_end(struct control *control)
{
	struct err err;
	json_t *event;

	while ((event = control_event(control, VMS_ORDER_TIMEOUT_MS, &err)))
		json_decref(event);
}

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
		await_end(&control);
	control_close(&control);
	if (status)
		return -1;
	if (args->json)
		output_json(json_pack("{s:s, s:s}", "name", name, "state", "stopped"));
	else
		output_say("VM '%s' is stopped", name);
	return 0;
}
