#include "tests/bench/guestlog.h"
#include "common/io.h"
#include "tests/bench/proc.h"
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define PREFIX  "drover-guest: "
#define LOOK_NS 2000000ull /* between two looks at the log */

/* The decimal value of " key=N"; false when the key is absent or its value no number. */
static bool field(const char *text, const char *key, uint64_t *value)
{
	size_t len = strlen(key);

	for (const char *at = text; (at = strstr(at, key)); at += len) {
		char *end;

		if (at[-1] != ' ' || at[len] != '=' || at[len + 1] < '0' || at[len + 1] > '9')
			continue;
		errno = 0;
		*value = strtoull(at + len + 1, &end, 10);
		return errno == 0 && (*end == ' ' || *end == '\0');
	}
	return false;
}

bool guestlog_parse(const char *text, size_t len, struct guest_line *line)
{
	char copy[512];
	uint64_t cpus;

	memset(line, 0, sizeof(*line));
	if (len >= sizeof(copy) || len < strlen(PREFIX) || memcmp(text, PREFIX, strlen(PREFIX)) != 0)
		return false;
	memcpy(copy, text, len);
	copy[len] = '\0';
	if (!field(copy, "seq", &line->seq) || !field(copy, "t_ms", &line->t_ms) ||
	    !field(copy, "written", &line->written) || !field(copy, "verified", &line->verified) ||
	    !field(copy, "gap_us", &line->gap_us) || !field(copy, "max_gap_us", &line->max_gap_us) ||
	    !field(copy, "errors", &line->errors) || !field(copy, "cpus", &cpus))
		return false;
	line->cpus = cpus;
	return true;
}

static void take_report(struct guestlog *log, const struct guest_line *line)
{
	if (log->lines > 0 && line->seq != log->last.seq + 1)
		log->breaks++;
	log->last = *line;
	log->seen_ns = clock_mono_ns();
	log->lines++;
	if (line->gap_us > log->window_gap_us)
		log->window_gap_us = line->gap_us;
	if (log->landing_lines < 2) {
		log->landing_lines++;
		if (line->gap_us > log->landing_gap_us)
			log->landing_gap_us = line->gap_us;
	}
}

static void take_line(struct guestlog *log)
{
	struct guest_line line;
	size_t len = log->len;

	if (len > 0 && log->partial[len - 1] == '\r')
		len--;
	log->partial[len] = '\0';
	if (guestlog_parse(log->partial, len, &line))
		take_report(log, &line);
	else if (strncmp(log->partial, PREFIX "filled", strlen(PREFIX "filled")) == 0)
		log->filled = true;
	else if (strstr(log->partial, " seq=") && !log->complaint[0])
		snprintf(log->complaint, sizeof(log->complaint), "%.*s", (int)sizeof(log->complaint) - 1,
			 log->partial);
}

void guestlog_feed(struct guestlog *log, const char *data, size_t len)
{
	for (size_t i = 0; i < len; i++) {
		if (data[i] == '\n') {
			if (!log->overlong)
				take_line(log);
			log->len = 0;
			log->overlong = false;
		} else if (log->len < sizeof(log->partial) - 1) {
			log->partial[log->len++] = data[i];
		} else {
			log->overlong = true;
		}
	}
}

void guestlog_pump(struct guestlog *log)
{
	char data[4096];
	ssize_t got;

	if (log->fd < 0)
		log->fd = open(log->path, O_RDONLY | O_CLOEXEC);
	while (log->fd >= 0 && (got = read(log->fd, data, sizeof(data))) > 0)
		guestlog_feed(log, data, got);
}

void guestlog_open(struct guestlog *log, const char *path)
{
	memset(log, 0, sizeof(*log));
	log->fd = -1;
	log->landing_lines = 2;
	snprintf(log->path, sizeof(log->path), "%s", path);
}

void guestlog_close(struct guestlog *log)
{
	io_close(&log->fd);
}

void guestlog_move(struct guestlog *log, const char *path)
{
	guestlog_pump(log);
	log->landing_lines = 0;
	log->landing_gap_us = 0;
	io_close(&log->fd);
	snprintf(log->path, sizeof(log->path), "%s", path);
}

void guestlog_window(struct guestlog *log)
{
	log->window_gap_us = 0;
}

/* One turn of a wait: look, judge, rest. */
static int wait_turn(struct guestlog *log, uint64_t deadline_ns, const char *what, struct err *err)
{
	if (log->lines > 0 && log->last.errors > 0)
		return err_set(err, ERR_INPUT, "the guest found wrong memory in %" PRIu64 " places",
			       log->last.errors);
	if (proc_check(deadline_ns, what, err) != 0)
		return err_context(err, "%s: %" PRIu64 " reports so far", log->path, log->lines);
	proc_pause(LOOK_NS);
	return 0;
}

int guestlog_wait_lines(struct guestlog *log, uint64_t lines, uint64_t deadline_ns, struct err *err)
{
	for (guestlog_pump(log); log->lines < lines; guestlog_pump(log))
		if (wait_turn(log, deadline_ns, "a report of the guest", err) != 0)
			return -1;
	return 0;
}

int guestlog_wait_filled(struct guestlog *log, uint64_t deadline_ns, struct err *err)
{
	for (guestlog_pump(log); !log->filled; guestlog_pump(log))
		if (wait_turn(log, deadline_ns, "the guest to fill its memory", err) != 0)
			return -1;
	return guestlog_wait_lines(log, log->lines + 1, deadline_ns, err);
}

int guestlog_wait_clock(struct guestlog *log, uint64_t t_ms, uint64_t deadline_ns, struct err *err)
{
	for (guestlog_pump(log); log->lines == 0 || log->last.t_ms < t_ms; guestlog_pump(log))
		if (wait_turn(log, deadline_ns, "reports of the guest", err) != 0)
			return -1;
	return 0;
}
