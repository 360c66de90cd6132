/* link.c: frames over a carrier of bytes: gathering, waiting, deadlines, stalls.
 *
 * Frames gather in `out` until a large write is worth it, and arrive in the parser's buffer.  All waiting happens in
 * wait_io(), which watches the carrier and the caller's descriptors at once. */
#include "migrate/link.h"

#include "common/io.h"
#include "migrate/link_io.h"
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
	WRITE_MIN = 256 << 10, /* frames gather up to this */
	READ_MAX = 256 << 10,  /* at a time, so that what was read is parsed while the cache has it */
	LOOK_MS = 500,         /* how often a stalled link's queue is looked at */
};
static const uint64_t ns_per_ms = 1000000;

struct link {
	const struct link_ops *ops;
	void *io;
	const char *peer;
	unsigned stall_ms;
	struct err failed; /* kind ERR_NONE while the link is good */
	bool ended;        /* the other side sends no more */

	struct buf out;
	size_t out_at; /* bytes of out that were handed over */
	size_t begun;  /* where the frame begun last starts in out */
	uint32_t sequence;
	uint64_t sent;
	uint64_t send_ns;
	uint64_t stalled_since; /* 0: bytes move */
	long queued;

	struct frame_parser parser;
	struct frame held; /* found by link_readable, not received yet */
	bool has_held;
	uint64_t received;

	struct link_watch watches[LINK_WATCHES_MAX];
	size_t nwatches;
};

/* ---- opening and closing ---- */

/* A write to a pipe whose reader is gone shall be an error, not the end of the process. */
static void ignore_sigpipe(void)
{
	struct sigaction action;

	if (sigaction(SIGPIPE, NULL, &action) == 0 && action.sa_handler == SIG_DFL) {
		action.sa_handler = SIG_IGN;
		sigaction(SIGPIPE, &action, NULL);
	}
}

static struct link *make(const struct link_ops *ops, struct err *err)
{
	struct link *link = calloc(1, sizeof(*link));

	if (!link || frame_parser_open(&link->parser, err) < 0) {
		free(link);
		err_sys(err, "cannot allocate a link");
		return NULL;
	}
	link->ops = ops;
	link->stall_ms = LINK_STALL_MS;
	ignore_sigpipe();
	return link;
}

static struct link *finish(struct link *link)
{
	if (link->io)
		return link;
	link_close(link);
	return NULL;
}

struct link *link_open_ssh(const struct ssh_target *target, struct err *err)
{
	struct link *link = make(&ssh_ops, err);

	if (!link)
		return NULL;
	link->io = ssh_open(target, &link->peer, err);
	return finish(link);
}

struct link *link_open_fds(int in, int out, const char *peer, struct err *err)
{
	struct link *link = make(&fds_ops, err);

	if (!link)
		return NULL;
	link->peer = peer;
	link->io = fds_open(in, out, peer, err);
	return finish(link);
}

void link_close(struct link *link)
{
	if (!link)
		return;
	if (link->io)
		link->ops->close(link->io);
	frame_parser_close(&link->parser);
	buf_free(&link->out);
	free(link);
}

void link_cut(struct link *link)
{
	link->ops->cut(link->io);
	if (link->failed.kind == ERR_NONE)
		err_set(&link->failed, ERR_LINK, "the connection to %s was cut", link->peer);
}

bool link_broken(const struct link *link)
{
	return link->failed.kind != ERR_NONE;
}

void link_expect(struct link *link, uint32_t sequence)
{
	link->parser.sequence = sequence;
}

void link_set_stall(struct link *link, unsigned ms)
{
	link->stall_ms = ms;
}

int link_fault(struct link *link, enum fault_point_id id, struct err *err)
{
	if (!fault_point(id))
		return 0;
	if (!fault_is_cut())
		return err_set(err, ERR_SYSTEM, "injected failure at %s", fault_name(id));
	link_cut(link);
	return 0;
}

const char *link_peer(const struct link *link)
{
	return link->peer;
}

uint64_t link_bytes_sent(const struct link *link)
{
	return link->sent;
}

uint64_t link_bytes_received(const struct link *link)
{
	return link->received;
}

uint64_t link_rtt_ns(const struct link *link)
{
	return link->ops->rtt ? link->ops->rtt(link->io) : 0;
}

uint64_t link_measure(struct link *link)
{
	if (link->ops->measure)
		link->ops->measure(link->io);
	return link_rtt_ns(link);
}

uint64_t link_send_ns(const struct link *link)
{
	return link->send_ns;
}

/* ---- failing ---- */

static int failed_before(const struct link *link, struct err *err)
{
	return err_set(err, link->failed.kind, "%s", link->failed.text);
}

/* From here on the link is of no use; every later call gives the same error. */
static int fail(struct link *link, const struct err *cause, struct err *err)
{
	link->failed = *cause;
	return failed_before(link, err);
}

/* The other side's end, or what it sent, was not expected: say why, if the carrier knows. */
static int fail_unexpected(struct link *link, struct err *cause, struct err *err)
{
	link->ops->explain(link->io, cause);
	return fail(link, cause, err);
}

static int fail_ended(struct link *link, struct err *err)
{
	struct err cause;

	if (frame_parser_pending(&link->parser) > 0)
		err_set(&cause, ERR_LINK, "the connection to %s ended in the middle of a frame", link->peer);
	else
		err_set(&cause, ERR_LINK, "the connection to %s ended", link->peer);
	return fail_unexpected(link, &cause, err);
}

/* ---- waiting ---- */

void link_watch(struct link *link, const struct link_watch *watches, size_t n)
{
	if (n > LINK_WATCHES_MAX)
		abort(); /* a caller's mistake, not an input */
	if (n > 0)
		memcpy(link->watches, watches, n * sizeof(*watches));
	link->nwatches = n;
}

static size_t add_watches(const struct link *link, struct pollfd *fds)
{
	for (size_t i = 0; i < link->nwatches; i++)
		fds[i] = (struct pollfd){.fd = link->watches[i].fd, .events = link->watches[i].events};
	return link->nwatches;
}

/* A watch that says stop does not harm the link: its caller may still say good-bye on it. */
static int run_watches(struct link *link, const struct pollfd *fds, struct err *err)
{
	for (size_t i = 0; i < link->nwatches; i++) {
		const struct link_watch *watch = &link->watches[i];

		if (fds[i].revents && watch->ready(watch->arg, fds[i].revents, err) < 0)
			return -1;
	}
	return 0;
}

int link_check(struct link *link, struct err *err)
{
	struct pollfd fds[LINK_WATCHES_MAX];
	size_t n = add_watches(link, fds);

	if (n == 0 || poll(fds, n, 0) <= 0)
		return 0;
	return run_watches(link, fds, err);
}

/* Take in what has arrived.  Returns 1 when something did, 0 or -1. */
static int read_some(struct link *link, bool may_move, struct err *err)
{
	struct err cause;
	size_t room;
	uint8_t *to = frame_parser_space(&link->parser, may_move, &room);
	ssize_t got;

	if (link->ended)
		return 0;
	got = link->ops->read(link->io, to, room < READ_MAX ? room : READ_MAX, &cause);
	if (got == LINK_IO_END) {
		link->ended = true;
		return 1;
	}
	if (got < 0)
		return fail_unexpected(link, &cause, err);
	frame_parser_fed(&link->parser, (size_t)got);
	link->received += (uint64_t)got;
	return got > 0;
}

/* Time until which a link that does not move is waited for; notes when it stopped moving. */
static uint64_t stall_end(struct link *link, uint64_t now)
{
	long queued = link->ops->queued(link->io);

	if (!link->stalled_since || queued != link->queued) {
		link->stalled_since = now;
		link->queued = queued;
	}
	return link->stalled_since + link->stall_ms * ns_per_ms;
}

static int fail_stalled(struct link *link, struct err *err)
{
	struct err cause;

	if (link->stall_ms % 1000)
		err_set(&cause, ERR_LINK, "no progress on the link to %s for %u ms", link->peer,
			link->stall_ms);
	else
		err_set(&cause, ERR_LINK, "no progress on the link to %s for %u s", link->peer,
			link->stall_ms / 1000);
	return fail(link, &cause, err);
}

/* Wait until the carrier or a watch has something, or `until`; take in what arrived.  Bytes that wait for being
 * written make a link that does not move fail.  Returns 0 (look again) or -1. */
static int wait_io(struct link *link, bool writing, bool may_move, uint64_t until, struct err *err)
{
	struct pollfd fds[LINK_IO_FDS + LINK_WATCHES_MAX];
	uint64_t now = clock_mono_ns();
	uint64_t wake = until;
	bool gone = false;
	size_t room;
	size_t n;
	int timeout = -1;

	if (writing) {
		uint64_t stalled = stall_end(link, now);

		if (now >= stalled)
			return fail_stalled(link, err);
		if (wake > stalled)
			wake = stalled;
		if (wake > now + LOOK_MS * ns_per_ms)
			wake = now + LOOK_MS * ns_per_ms;
	}
	if (wake <= now)
		timeout = 0;
	else if (wake != UINT64_MAX)
		timeout = (int)((wake - now + ns_per_ms - 1) / ns_per_ms < INT32_MAX
				    ? (wake - now + ns_per_ms - 1) / ns_per_ms
				    : INT32_MAX);
	frame_parser_space(&link->parser, may_move, &room);
	n = link->ops->poll_set(link->io, room > 0 && !link->ended, writing, fds);
	for (size_t i = 0; i < n; i++)
		gone |= fds[i].fd < 0;
	if (poll(fds, n + add_watches(link, fds + n), gone ? 0 : timeout) < 0) {
		struct err cause;

		if (errno == EINTR)
			return 0;
		err_sys(&cause, "cannot wait for the link to %s", link->peer);
		return fail(link, &cause, err);
	}
	if (run_watches(link, fds + n, err) < 0)
		return -1;
	for (size_t i = 0; i < n; i++)
		if (fds[i].revents || gone)
			return read_some(link, may_move, err) < 0 ? -1 : 0;
	return 0;
}

/* ---- sending ---- */

/* Hand over some of [data, data+len).  Returns how many bytes, 0 or -1. */
static ssize_t write_some(struct link *link, const uint8_t *data, size_t len, struct err *err)
{
	struct err cause;
	ssize_t put = link->ops->write(link->io, data, len, &cause);

	if (put < 0)
		return fail_unexpected(link, &cause, err);
	if (put > 0) {
		link->sent += (uint64_t)put;
		link->stalled_since = 0;
	}
	return put;
}

/* Hand over what has gathered; out_at keeps the place if a watch stops it. */
static int push(struct link *link, struct err *err)
{
	uint64_t start = clock_mono_ns();

	/* A link that never makes us wait must not hide what the watches say. */
	if (link_check(link, err) < 0)
		return -1;
	while (link->out_at < link->out.len) {
		ssize_t put =
		    write_some(link, link->out.data + link->out_at, link->out.len - link->out_at, err);

		if (put < 0)
			return -1;
		link->out_at += (size_t)put;
		if (put == 0 && wait_io(link, true, false, UINT64_MAX, err) < 0)
			return -1;
	}
	buf_clear(&link->out);
	link->out_at = 0;
	link->send_ns += clock_mono_ns() - start;
	return 0;
}

struct buf *link_begin(struct link *link)
{
	link->begun = frame_begin(&link->out);
	return &link->out;
}

void link_drop(struct link *link)
{
	link->out.len = link->begun;
}

int link_send(struct link *link, uint16_t type, uint16_t flags, struct err *err)
{
	if (link->failed.kind != ERR_NONE) {
		link_drop(link);
		return failed_before(link, err);
	}
	if (frame_seal(&link->out, link->begun, type, flags, link->sequence, err) < 0)
		return -1;
	link->sequence++;
	return link->out.len - link->out_at >= WRITE_MIN ? push(link, err) : 0;
}

int link_send_frame(struct link *link, struct buf *frame, struct err *err)
{
	if (link->failed.kind != ERR_NONE)
		return failed_before(link, err);
	frame_renumber(frame->data, link->sequence++);
	buf_put(&link->out, frame->data, frame->len);
	return link->out.len - link->out_at >= WRITE_MIN ? push(link, err) : 0;
}

int link_flush(struct link *link, struct err *err)
{
	if (link->failed.kind != ERR_NONE)
		return failed_before(link, err);
	if (push(link, err) < 0)
		return -1;
	while (link->ops->pending(link->io))
		if (wait_io(link, true, false, UINT64_MAX, err) < 0)
			return -1;
	link->stalled_since = 0;
	return 0;
}

/* ---- receiving ---- */

/* The next frame that is here already: 1, 0 or -1. */
static int next_frame(struct link *link, struct frame *frame, struct err *err)
{
	struct err cause;
	int rc;

	if (link->has_held) {
		*frame = link->held;
		link->has_held = false;
		return 1;
	}
	rc = frame_parser_next(&link->parser, frame, &cause);
	if (rc < 0) {
		err_context(&cause, "%s", link->peer);
		return fail_unexpected(link, &cause, err);
	}
	if (rc == 0 && link->ended)
		return fail_ended(link, err);
	return rc;
}

/* While waiting for an answer, see that the question gets out.  Sets *waiting when some of it could not yet. */
static int push_some(struct link *link, bool *waiting, struct err *err)
{
	if (link->out_at < link->out.len) {
		ssize_t put =
		    write_some(link, link->out.data + link->out_at, link->out.len - link->out_at, err);

		if (put < 0)
			return -1;
		link->out_at += (size_t)put;
		if (link->out_at == link->out.len) {
			buf_clear(&link->out);
			link->out_at = 0;
		}
	}
	*waiting = link->out.len > 0 || link->ops->pending(link->io);
	if (!*waiting)
		link->stalled_since = 0;
	return 0;
}

int link_receive(struct link *link, uint64_t deadline_ns, struct frame *frame, struct err *err)
{
	if (link->failed.kind != ERR_NONE)
		return failed_before(link, err);
	for (;;) {
		bool waiting;
		int rc = next_frame(link, frame, err);

		if (rc != 0)
			return rc;
		rc = read_some(link, true, err);
		if (rc < 0)
			return -1;
		if (rc > 0)
			continue;
		if (push_some(link, &waiting, err) < 0)
			return -1;
		if (deadline_ns != UINT64_MAX && clock_mono_ns() >= deadline_ns)
			return 0;
		if (wait_io(link, waiting, true, deadline_ns, err) < 0)
			return -1;
	}
}

int link_next(struct link *link, uint64_t until_ns, struct frame *frame, struct err *err, const char *format,
	      ...)
{
	int got = link_receive(link, until_ns, frame, err);
	char text[ERR_TEXT];
	va_list args;

	if (got != 0)
		return got < 0 ? -1 : 0;
	link_cut(link);
	va_start(args, format);
	vsnprintf(text, sizeof(text), format, args);
	va_end(args);
	return err_set(err, ERR_LINK, "%s %s", link->peer, text);
}

int link_readable(struct link *link, struct err *err)
{
	int rc;

	if (link->failed.kind != ERR_NONE)
		return failed_before(link, err);
	if (link->has_held)
		return 1;
	do {
		rc = next_frame(link, &link->held, err);
		if (rc != 0)
			break;
		rc = read_some(link, false, err);
		if (rc <= 0)
			return rc;
	} while (true);
	link->has_held = rc > 0;
	return rc;
}
