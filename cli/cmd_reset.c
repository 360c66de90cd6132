/* drover reset, drover balloon: orders to a running VM that it answers at once. */
#include "cli/commands.h"
#include "cli/output.h"
#include "cli/vms.h"
#include "common/units.h"

int cmd_reset(const struct args *args, struct err *err)
{
	const char *name = args->operand[0];

	if (vms_order(name, json_pack("{s:s}", "cmd", "reset"), VMS_ORDER_TIMEOUT_MS, NULL, err))
		return -1;
	if (args->json)
		output_json(json_pack("{s:s}", "name", name));
	else
		output_say("VM '%s' begins anew", name);
	return 0;
}

int cmd_balloon(const struct args *args, struct err *err)
{
	const char *name = args->operand[0];
	char size[16];

	if (vms_order(name,
		      json_pack("{s:s, s:I}", "cmd", "balloon", "target_bytes", (json_int_t)args->size_bytes),
		      VMS_ORDER_TIMEOUT_MS, NULL, err))
		return -1;
	if (args->json)
		output_json(
		    json_pack("{s:s, s:I}", "name", name, "target_bytes", (json_int_t)args->size_bytes));
	else
		output_say("VM '%s' was asked to make do with %s; 'drover status %s' tells how far it is",
			   name, units_format_size(args->size_bytes, size), name);
	return 0;
}
