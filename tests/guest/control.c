#include "control.h"
#include "arch.h"
#include "clock.h"
#include "console.h"
#include "stop.h"
#include "work.h"

#define POLL_MS 100 /* between looks for serial input */

static uint64_t started, last_turn, next_report, report_cycles, poll_cycles;
static uint64_t gap, max_gap; /* cycles */
static uint64_t seq;
static unsigned n_cpus, errors_printed;

void control_start(uint64_t now, uint64_t report_ms, unsigned cpus)
{
	started = last_turn = next_report = now;
	report_cycles = clock_cycles_of_ms(report_ms);
	poll_cycles = clock_cycles_of_ms(POLL_MS);
	n_cpus = cpus;
}

static bool print_report(uint64_t now)
{
	struct text line = {0};

	text_str(&line, "drover-guest:");
	text_field(&line, "seq", seq);
	text_field(&line, "t_ms", clock_ms(now - started));
	text_field(&line, "written", work_written());
	text_field(&line, "verified", work_verified());
	text_field(&line, "gap_us", clock_us(gap));
	text_field(&line, "max_gap_us", clock_us(max_gap));
	text_field(&line, "errors", work_errors());
	text_field(&line, "cpus", n_cpus);
	return console_line(&line);
}

/* A report that has no room on the line is late, not lost; those missed by a stall are not made up for. */
static void report(uint64_t now)
{
	if (!print_report(now))
		return;
	seq++;
	gap = 0;
	next_report += report_cycles;
	if (now >= next_report)
		next_report += (now - next_report + report_cycles - 1) / report_cycles * report_cycles;
}

static void print_error(const struct work_error *e)
{
	struct text line = {0};

	text_str(&line, "drover-guest: ERROR");
	if (e->clock) {
		text_str(&line, " clock=");
		text_str(&line, e->clock);
		text_field(&line, "cpu", e->page);
		text_field(&line, "before", e->expected);
		text_field(&line, "after", e->found);
	} else {
		text_field(&line, "page", e->page);
		text_field(&line, "offset", e->offset);
		text_str(&line, " expected=");
		text_hex(&line, e->expected);
		text_str(&line, " found=");
		text_hex(&line, e->found);
	}
	if (console_line(&line))
		errors_printed++;
}

static _Noreturn void quit(void)
{
	struct text line = {0};

	text_str(&line, "drover-guest: quit");
	text_field(&line, "errors", work_errors());
	console_flush();
	console_now(&line);
	stop_machine();
}

static void command(const struct text *in)
{
	struct text line = {0};
	uint64_t rate;

	text_str(&line, "drover-guest: ");
	if (text_is(in->buf, in->len, "quit")) {
		quit();
	} else if (in->len >= 5 && text_is(in->buf, 5, "echo ")) {
		text_bytes(&line, in->buf, in->len);
	} else if (in->len >= 6 && text_is(in->buf, 6, "dirty=") &&
		   params_rate(in->buf + 6, in->len - 6, &rate)) {
		work_set_dirty(rate);
		text_bytes(&line, in->buf, in->len);
	} else {
		text_str(&line, "bad command '");
		text_bytes(&line, in->buf, in->len);
		text_str(&line, "'");
	}
	console_line(&line);
}

void control_turn(uint64_t now)
{
	const struct text *in;
	const struct work_error *error;

	/* A TSC that goes back is an error of its own, not a gap. */
	if (now > last_turn && now - last_turn > gap)
		gap = now - last_turn;
	if (gap > max_gap)
		max_gap = gap;
	last_turn = now;

	console_turn(now, poll_cycles);
	error = work_error(errors_printed);
	if (error)
		print_error(error);
	if (now >= next_report)
		report(now);
	in = console_input();
	if (in)
		command(in);
}
