/* drover resolve: ask the other host how a hand-over ended whose answer was lost. */
#include "cli/commands.h"
#include "cli/move_options.h"
#include "cli/output.h"
#include "cli/progress.h"
#include "cli/vms.h"
#include "migrate/peer.h"

int cmd_resolve(const struct args *args, struct err *err)
{
	struct move_options options = move_options(args, NULL);
	struct progress progress = {0};
	struct move_observer observer = progress_observer(&progress);
	struct vm_view view;
	struct peer known;
	const char *peer;
	bool started = false;
	int status;

	/* What is wrong with the command line comes before what is wrong with the VM. */
	if (options.peer) {
		status = peer_find(options.peer, &known, err);
		peer_free(&known);
		if (status)
			return err_context(err, "resolve");
	}
	vms_view(options.vm, &view);
	if (!view.answered)
		return vms_no_process(&view, err);
	peer = options.peer ? options.peer : view.peer;
	status = move_resolve(&options, &observer, &started, err);
	progress_end(&progress);
	if (status)
		return -1;
	if (args->json)
		output_json(json_pack("{s:s, s:s, s:o}", "name", options.vm, "outcome",
				      started ? "started" : "never", "peer", output_string(peer)));
	else if (started)
		output_say("VM '%s' runs on %s; the copy here has ended", options.vm, peer);
	else
		output_say("VM '%s' will never start on %s; the guest runs on here", options.vm, peer);
	return 0;
}
