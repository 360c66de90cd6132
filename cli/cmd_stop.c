/* drover stop: the power button, and the power cut for a guest that does not heed it. */
#include "cli/commands.h"
#include "cli/output.h"
#include "cli/vms.h"

static int order(struct control *control, const char *cmd, struct err *err)
{
	return control_call(control, json_pack("{s:s}", "cmd", cmd), VMS_ORDER_TIMEOUT_MS, NULL, NULL, NULL,
			    err);
}

static int stop(struct control *control, const char *name, int timeout_ms, bool *forced, struct err *err)
{
	/* Events say when it is over; they must be asked for before the button is pressed. */
	if (order(control, "subscribe", err) || order(control, "power-button", err))
		return -1;
	*forced = !vms_await_end(control, name, timeout_ms);
	if (!*forced)
		return 0;
	if (order(control, "stop", err))
		return -1;
	(void)vms_await_end(control, name, VMS_ORDER_TIMEOUT_MS);
	return 0;
}

int cmd_stop(const struct args *args, struct err *err)
{
	const char *name = args->operand[0];
	struct control control;
	bool forced = false;
	int status;

	if (vms_connect(&control, name, err))
		return -1;
	status = stop(&control, name, (int)(args->timeout_ns / 1000000), &forced, err);
	control_close(&control);
	if (status)
		return -1;
	if (args->json)
		output_json(json_pack("{s:s, s:s, s:b}", "name", name, "state", "stopped", "forced", forced));
	else if (forced)
		output_say("VM '%s' did not heed its power button; its power was cut", name);
	else
		output_say("VM '%s' is stopped", name);
	return 0;
}
