/* drover console: watch and type at a guest that runs. */
#include "cli/attach.h"
#include "cli/commands.h"
#include "cli/vms.h"

int cmd_console(const struct args *args, struct err *err)
{
	struct attach_result result;
	struct control control;
	int status;

	if (vms_connect(&control, args->operand[0], err))
		return -1;
	status = attach_run(&control, ATTACH_BACKLOG, &result, err);
	control_close(&control);
	return status ? -1 : attach_conclude(args->operand[0], &result);
}
