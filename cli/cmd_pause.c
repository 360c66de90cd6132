/* drover pause, drover resume: the guest's CPUs stand still, and run on. */
#include "cli/commands.h"
#include "cli/output.h"
#include "cli/vms.h"
#include "common/jobj.h"

static int order(const struct args *args, const char *cmd, struct err *err)
{
	const char *name = args->operand[0], *state = NULL;
	json_t *reply;

	if (vms_order(name, json_pack("{s:s}", "cmd", cmd), VMS_ORDER_TIMEOUT_MS, &reply, err))
		return -1;
	if (jobj_string(reply, "state", true, 32, &state, err)) {
		json_decref(reply);
		return -1;
	}
	if (args->json)
		output_json(json_pack("{s:s, s:o}", "name", name, "state", output_string(state)));
	else
		output_say("VM '%s' is %s", name, state);
	json_decref(reply);
	return 0;
}

int cmd_pause(const struct args *args, struct err *err)
{
	return order(args, "pause", err);
}

int cmd_resume(const struct args *args, struct err *err)
{
	return order(args, "resume", err);
}
