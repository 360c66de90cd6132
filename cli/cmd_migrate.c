/* drover migrate: move a running VM to another host, and say how it went. */
#include "cli/commands.h"
#include "cli/move_options.h"
#include "cli/output.h"
#include "cli/progress.h"
#include "cli/report.h"

#include <signal.h>
#include <stdio.h>
#include <unistd.h>

/* While the guest is copied a signal asks the mover to stop, and a second one ends the process: the guest runs
 * here and does not miss a mover.  SIGHUP, of a terminal that is gone, ends it at once: the user did not say that the move should
 * end, and 'migrate --resume' goes on with it.  During the switch, which lasts no longer than the downtime, the destination may
 * start the guest at any moment: to leave then would only mean not to know.  When the answer to that was lost, a
 * signal ends the asking, and 'drover resolve' takes it up again; and so it is while memory is sent after the guest. */
static volatile sig_atomic_t cancelled;
static volatile sig_atomic_t phase;

static void on_signal(int number)
{
	static const char too_late[] =
	    "\ndrover: the destination may already run the guest: its answer is being awaited\n";
	ssize_t ignored;

	if (phase == MOVE_SWITCH || phase == MOVE_DONE) {
		ignored = write(STDERR_FILENO, too_late, sizeof(too_late) - 1);
		(void)ignored;
		return;
	}
	if ((cancelled || number == SIGHUP) && phase != MOVE_ASK) {
		signal(number, SIG_DFL);
		raise(number);
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
	const struct move_options options = move_options(args, &cancelled);
	struct progress progress = {.phase_seen = &phase};
	struct move_observer observer = progress_observer(&progress);
	int status;

	catch_signals();
	status = move_vm(&options, &observer, &report, err);
	progress_end(&progress);
	if (status && err->kind == ERR_CANCELLED)
		err_set(err, ERR_CANCELLED, "the migration of VM '%s' was %s; the guest runs on here",
			options.vm, err->text);
	if (status)
		return -1;
	if (args->json)
		output_json(report_json(&options, &report));
	else
		report_text(stdout, &options, &report);
	return 0;
}
