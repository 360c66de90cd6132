#include "cli/progress.h"

#include "cli/output.h"
#include "cli/terminal.h"
#include "common/units.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

static const char *const phase_text[] = {
    [MOVE_CONNECT] = "connecting",
    [MOVE_PREPARE] = "the destination prepares",
    [MOVE_COPY] = "copying",
    [MOVE_SWITCH] = "switching over",
    [MOVE_ASK] = "asking the destination how the hand-over ended",
    [MOVE_POSTCOPY_PUSH] = "the guest runs there; sending the rest of its memory",
    [MOVE_DONE] = "done",
};

/* add(text, size, format, …): append, cut where it does not fit. */
__attribute__((format(printf, 3, 4))) static void add(char *text, size_t size, const char *format, ...)
{
	size_t len = strlen(text);
	va_list ap;

	va_start(ap, format);
	vsnprintf(text + len, size - len, format, ap);
	va_end(ap);
}

static unsigned percent_done(const struct move_progress *now)
{
	uint64_t left = now->pages_left < now->pages_total ? now->pages_left : now->pages_total;

	return (unsigned)((double)(now->pages_total - left) * 100 / (double)now->pages_total);
}

const char *progress_format(const struct move_progress *now, bool live, char *text, size_t size)
{
	char eta[24];

	snprintf(text, size, "%s", phase_text[now->phase]);
	if (now->phase == MOVE_POSTCOPY_PUSH && now->pages_total && live)
		add(text, size, ": %3u%%", percent_done(now));
	if (now->phase != MOVE_COPY || !now->round)
		return text;
	add(text, size, ", round %u", now->round);
	if (now->pages_total && live)
		add(text, size, ": %3u%%", percent_done(now));
	else if (now->pages_total)
		add(text, size, ": %" PRIu64 " pages", now->pages_total);
	if (now->bytes_per_s)
		add(text, size, ", %.0f MB/s", (double)now->bytes_per_s / 1e6);
	if (now->dirty_bytes_per_s)
		add(text, size, ", guest dirties %.0f MB/s", (double)now->dirty_bytes_per_s / 1e6);
	if (now->throttle)
		add(text, size, ", slowed by %u%%", now->throttle);
	if (now->eta_ns && live)
		add(text, size, ", %s left", units_format_duration(now->eta_ns, eta));
	return text;
}

static void show(void *arg, const struct move_progress *now)
{
	struct progress *progress = arg;
	char line[256];

	if (progress->phase_seen)
		*progress->phase_seen = now->phase;
	if (progress->redraw) {
		terminal_line(progress_format(now, progress->redraw, line, sizeof(line)));
		progress->drawn = true;
	} else if (!progress->began || now->phase != progress->phase ||
		   (now->phase == MOVE_COPY && now->round != progress->round)) {
		output_note("%s", progress_format(now, progress->redraw, line, sizeof(line)));
	}
	progress->began = true;
	progress->phase = now->phase;
	progress->round = now->round;
}

static void notice(void *arg, const char *sentence)
{
	progress_end(arg);
	output_note("%s", sentence);
}

struct move_observer progress_observer(struct progress *progress)
{
	progress->redraw = isatty(STDERR_FILENO);
	return (struct move_observer){.arg = progress, .progress = show, .notice = notice};
}

void progress_end(struct progress *progress)
{
	if (progress->drawn)
		terminal_line_end();
	progress->drawn = false;
}
