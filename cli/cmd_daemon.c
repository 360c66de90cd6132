/* drover daemon: begins the cycles of replication jobs. */
#include "cli/commands.h"
#include "cli/output.h"
#include "replicate/daemon.h"

static void say(void *arg, const char *job, const char *sentence)
{
	(void)arg;
	if (*job)
		output_note("job '%s': %s", job, sentence);
	else
		output_note("%s", sentence);
}

int cmd_daemon(const struct args *args, struct err *err)
{
	const struct daemon_options options = {.parallel = (unsigned)args->parallel, .event = say};

	return daemon_run(&options, err);
}
