/* drover start: boot a VM that was defined. */
#include "cli/commands.h"
#include "cli/output.h"
#include "cli/start.h"
#include "replicate/fence.h"
#include "vmm/definition_store.h"
#include "vmm/machine.h"

static void note(const char *sentence)
{
	output_note("%s", sentence);
}

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
	if (!definition_load(name, &definition, err) && !start_check_name(name, err) &&
	    !fence_check(name, definition.config.uuid, note, err))
		status = start_vm(&definition.config, !args->console, args->json, err);
	definition_free(&definition);
	return status;
}
