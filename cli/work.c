#include "cli/work.h"

#include "cli/terminal.h"
#include "common/io.h"
#include "common/units.h"

#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

enum { REDRAW_NS = 100000000, SECOND_NS = 1000000000 };

static volatile sig_atomic_t cancelled;

static void on_signal(int number)
{
	if (cancelled) {
		signal(number, SIG_DFL);
		raise(number);
	}
	cancelled = 1;
}

static void catch_signals(void)
{
	static const int numbers[] = {SIGINT, SIGTERM, SIGHUP};
	struct sigaction action = {.sa_handler = on_signal, .sa_flags = SA_RESTART}, old;
	sigset_t caught;

	sigemptyset(&action.sa_mask);
	sigemptyset(&caught);
	for (size_t i = 0; i < sizeof(numbers) / sizeof(numbers[0]); i++) {
		/* nohup, and shells that start background jobs: what was ignored stays so. */
		if (sigaction(numbers[i], NULL, &old) || old.sa_handler == SIG_IGN)
			continue;
		sigaction(numbers[i], &action, NULL);
		sigaddset(&caught, numbers[i]);
	}
	/* A parent that left them blocked would make this deaf; one that came meanwhile counts. */
	sigprocmask(SIG_UNBLOCK, &caught, NULL);
}

const char *work_format(const char *what, uint64_t done_bytes, uint64_t total_bytes, uint64_t elapsed_ns,
			char *text, size_t size)
{
	double seconds = (double)elapsed_ns / SECOND_NS;
	double rate = elapsed_ns ? (double)done_bytes / seconds : 0;
	char done[16], total[16], left[24];
	int len;

	units_format_size(done_bytes, done);
	if (!total_bytes) {
		snprintf(text, size, "%s: %s, %.0f MB/s", what, done, rate / 1e6);
		return text;
	}
	done_bytes = done_bytes < total_bytes ? done_bytes : total_bytes;
	units_format_size(done_bytes, done);
	len = snprintf(text, size, "%s: %3.0f%%, %s of %s, %.0f MB/s", what,
		       (double)done_bytes * 100 / (double)total_bytes, done,
		       units_format_size(total_bytes, total), rate / 1e6);
	/* Of the first moments nothing follows for the rest. */
	if (rate > 0 && seconds >= 1 && len > 0 && (size_t)len < size)
		snprintf(text + len, size - (size_t)len, ", %s left",
			 units_format_duration(
			     (uint64_t)((double)(total_bytes - done_bytes) / rate) * SECOND_NS, left));
	return text;
}

bool work_tick(void *context, uint64_t done_bytes, uint64_t total_bytes)
{
	struct work *work = context;
	uint64_t now = clock_mono_ns();
	char line[256];

	if (cancelled)
		return false;
	if (work->redraw && now - work->shown_ns >= REDRAW_NS) {
		terminal_line(work_format(work->what, done_bytes, total_bytes, now - work->began_ns, line,
					  sizeof(line)));
		work->drawn = true;
		work->shown_ns = now;
	}
	return true;
}

void work_begin(struct work *work, struct dvol *vol, const char *format, ...)
{
	va_list ap;

	*work = (struct work){.redraw = isatty(STDERR_FILENO), .began_ns = clock_mono_ns()};
	work->shown_ns = work->began_ns;
	va_start(ap, format);
	vsnprintf(work->what, sizeof(work->what), format, ap);
	va_end(ap);
	catch_signals();
	if (vol)
		dvol_on_progress(vol, work_tick, work);
}

int work_end(struct work *work, int result, const char *left, struct err *err)
{
	if (work->drawn)
		terminal_line_end();
	work->drawn = false;
	if (result < 0 && err->kind == ERR_CANCELLED)
		err_set(err, ERR_CANCELLED, "%s: cancelled; %s", work->what, left);
	return result;
}
