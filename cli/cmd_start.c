/* drover start: boot a VM that was defined. */
#include "cli/commands.h"
#include "cli/start.h"
#include "vmm/definition_store.h"
#include "vmm/machine.h"

int cmd_start(const struct args *args, struct err *err)
{
	const char *name = args->operand[0];
	struct definition definition;
	int status = -1;

	if (args->json && args->console)
		return err_set(
		    err, ERR_USAGE,
		    "start: --json does not go with --console, since stdout is the guest's console then; see "
		    "'drover help start'");
	if (machine_check_host(err))
		return -1;
	if (!definition_load(name, &definition, err) && !start_check_name(name, err))
		status = start_vm(&definition.config, !args->console, args->json, err);
	definition_free(&definition);
	return status;
}
