/* drover cancel: give up a migration that another process drives. */
#include "cli/commands.h"
#include "cli/output.h"
#include "cli/vms.h"

int cmd_cancel(const struct args *args, struct err *err)
{
	const char *name = args->operand[0];

	if (vms_order(name, json_pack("{s:s}", "cmd", "cancel"), VMS_ORDER_TIMEOUT_MS, NULL, err))
		return -1;
	if (args->json)
		output_json(json_pack("{s:s, s:b}", "name", name, "cancelled", 1));
	else
		output_say("the migration of VM '%s' is cancelled; the guest runs on here", name);
	return 0;
}
