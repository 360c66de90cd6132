/* drover serve: the receiving end of a hand-over, started through SSH. */
#include "cli/commands.h"
#include "migrate/serve.h"

#include <unistd.h>

int cmd_serve(const struct args *args, struct err *err)
{
	struct permit permit = {.vms = args->vms.item,
				.nvms = args->vms.count,
				.images = args->images.item,
				.nimages = args->images.count,
				.taps = args->taps.item,
				.ntaps = args->taps.count,
				.memory_max = args->memory_max};

	if (isatty(STDIN_FILENO) || isatty(STDOUT_FILENO))
		return err_set(
		    err, ERR_USAGE,
		    "serve: it speaks with another host's drover on stdin and stdout, not with a terminal; "
		    "see 'drover help serve'");
	if (args->disks_folder && args->disks_folder[0] != '/')
		return err_set(err, ERR_USAGE, "serve: the folder for disks, '%s', is not an absolute path",
			       args->disks_folder);
	for (size_t i = 0; i < args->images.count; i++)
		if (args->images.item[i][0] != '/')
			return err_set(err, ERR_USAGE, "serve: --images: '%s' is not an absolute path",
				       args->images.item[i]);
	permit.disks = args->disks_folder;
	if (permit_actions(args->actions.item, args->actions.count, &permit.actions, err))
		return err_context(err, "serve");
	return serve_run(STDIN_FILENO, STDOUT_FILENO, &permit, err) ? -1 : 0;
}
