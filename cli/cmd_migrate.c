/* drover migrate: move a running VM to another host, and say how it went. */
#include "cli/commands.h"
#include "cli/output.h"
#include "cli/progress.h"
#include "cli/report.h"
#include "migrate/ssh.h"

#include <signal.h>
#include <stdio.h>
#include <unistd.h>

/* The first signal asks the mover to stop.  Before the switch a second one may end the process: the guest is
 * running here, and does not miss a mover.  From the switch on the process stays until it knows where the
 * guest runs, which is a matter of seconds or of the destination's coming back. */
static volatile sig_atomic_t cancelled;
static volatile sig_atomic_t phase;

static void on_signal(int number)
{
	static const char waiting[] =
	    "\ndrover: the destination may already run the guest; its answer is being "
	    "awaited, and both copies are safe meanwhile\n";

	if (cancelled && phase < MOVE_SWITCH) {
		signal(number, SIG_DFL);
		raise(number);
		return;
	}
	if (phase == MOVE_SWITCH || phase == MOVE_ASK) {
		ssize_t ignored = write(STDERR_FILENO, waiting, sizeof(waiting) - 1);

		(void)ignored;
	}
	cancelled = 1;
}

static void catch_signals(void)
{
	static const int numbers[] = {SIGINT, SIGTERM, SIGHUP};
	struct sigaction action = {.sa_handler = on_signal}, old;

	sigemptyset(&action.sa_mask);
	for (size_t i = 0; i < sizeof(numbers) / sizeof(numbers[0]); i++)
		if (!sigaction(numbers[i], NULL, &old) && old.sa_handler != SIG_IGN)
			sigaction(numbers[i], &action, NULL);
}

int cmd_migrate(const struct args *args, struct err *err)
{
	static struct move_report report; /* too large for comfort on a stack */
	struct move_options options = {
	    .vm = args->operand[0],
	    .url = args->operand[1],
	    .identity = args->identity,
	    .known_hosts = args->known_hosts,
	    .remote_command = args->remote_command,
	    .downtime_ns = args->downtime_ns,
	    .cancel = &cancelled,
	};
	struct progress progress = {.phase_seen = &phase};
	struct move_observer observer = progress_observer(&progress);
	struct ssh_target target;
	int status;

	if (ssh_url_parse(options.url, &target, err))
		return err_context(err, "migrate");
	catch_signals();
	status = move_vm(&options, &observer, &report, err);
	progress_end(&progress);
	if (status)
		return -1;
	if (args->json)
		output_json(report_json(&options, &report));
	else
		report_text(stdout, &options, &report);
	return 0;
}
