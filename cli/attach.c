/* attach.c: one loop between stdin, stdout and the stream that the VM process gave.
 *
 * Neither direction may hold up the other, nor a signal: each has a small buffer, is read only while that is
 * empty, and is written only when the other end takes bytes.  stdout keeps its own mode (other processes may
 * share it), so at most PIPE_BUF bytes are written at a time, which poll promised room for. */
#include "cli/attach.h"

#include "cli/output.h"
#include "cli/terminal.h"
#include "common/io.h"
#include "common/jobj.h"
#include "vmm/leftovers.h"

#include <errno.h>
#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

enum {
	KEY_LEAVE = 0x1d, /* Ctrl-] */
	/* How long the rest of the output, or the word on how it ended, may take once the guest is gone. */
	DRAIN_NS = 2000000000,
};

struct flow {
	char data[PIPE_BUF];
	size_t at, end;
};

struct session {
	struct control *control; /* NULL once it has nothing more to say */
	int guest;               /* the stream; -1 at its end */
	bool keyboard;           /* stdin is still read */
	bool raw;
	struct flow out; /* from the guest to stdout */
	struct flow in;  /* from stdin to the guest */
	bool finished;   /* *result is set */
	uint64_t deadline;
	struct attach_result *result;
};

static bool empty(const struct flow *flow)
{
	return flow->at == flow->end;
}

static void finish(struct session *session, enum attach_end end)
{
	if (!session->finished)
		session->result->end = end;
	session->finished = true;
}

static void last_moments(struct session *session)
{
	if (!session->deadline)
		session->deadline = clock_mono_ns() + DRAIN_NS;
}

static void take_event(struct session *session, const json_t *event)
{
	const char *what = "", *why = "", *detail = "";

	if (jobj_string(event, "event", true, 32, &what, NULL) || strcmp(what, "ended"))
		return;
	(void)jobj_string(event, "why", false, sizeof(session->result->why) - 1, &why, NULL);
	(void)jobj_string(event, "detail", false, sizeof(session->result->detail) - 1, &detail, NULL);
	snprintf(session->result->why, sizeof(session->result->why), "%s", why);
	snprintf(session->result->detail, sizeof(session->result->detail), "%s", detail);
	finish(session, ATTACH_ENDED);
}

static void take_events(struct session *session)
{
	struct err err;
	json_t *event;

	while ((event = control_event(session->control, 0, &err))) {
		take_event(session, event);
		json_decref(event);
	}
	if (err.kind == ERR_NONE)
		return;
	/* Its last output may still be on the way. */
	session->control = NULL;
	last_moments(session);
}

static void read_guest(struct session *session)
{
	ssize_t len = recv(session->guest, session->out.data, sizeof(session->out.data), MSG_DONTWAIT);

	if (len > 0) {
		session->out.at = 0;
		session->out.end = (size_t)len;
	} else if (len == 0 || (errno != EAGAIN && errno != EINTR)) {
		io_close(&session->guest);
		last_moments(session);
	}
}

static void write_guest(struct session *session)
{
	ssize_t len = send(session->guest, session->in.data + session->in.at,
			   session->in.end - session->in.at, MSG_DONTWAIT | MSG_NOSIGNAL);

	if (len > 0)
		session->in.at += (size_t)len;
	else if (errno != EAGAIN && errno != EINTR)
		session->in.at = session->in.end; /* nobody takes it; the read side finds out why */
}

static void read_keyboard(struct session *session)
{
	ssize_t len = read(STDIN_FILENO, session->in.data, sizeof(session->in.data));
	char *leave;

	if (len < 0 && (errno == EINTR || errno == EAGAIN))
		return;
	if (len <= 0) {
		session->keyboard = false;
		if (session->raw) /* the terminal itself has gone */
			finish(session, ATTACH_LEFT);
		return;
	}
	session->in.at = 0;
	session->in.end = (size_t)len;
	leave = session->raw ? memchr(session->in.data, KEY_LEAVE, (size_t)len) : NULL;
	if (leave) {
		session->in.end = (size_t)(leave - session->in.data);
		write_guest(session);
		finish(session, ATTACH_LEFT);
	}
}

static int write_screen(struct session *session, struct err *err)
{
	ssize_t len =
	    write(STDOUT_FILENO, session->out.data + session->out.at, session->out.end - session->out.at);

	if (len >= 0)
		session->out.at += (size_t)len;
	else if (errno != EAGAIN && errno != EINTR)
		return err_sys(err, "cannot write the guest's console to standard output");
	return 0;
}

/* over(session): nothing more will come that the user should see. */
static bool over(const struct session *session)
{
	if (session->finished && session->result->end != ATTACH_ENDED)
		return true;
	if (session->deadline && clock_mono_ns() >= session->deadline)
		return true;
	return session->guest < 0 && empty(&session->out) && (session->finished || !session->control);
}

static struct timespec time_left(const struct session *session)
{
	uint64_t now = clock_mono_ns();
	uint64_t left = session->deadline > now ? session->deadline - now : 0;

	return clock_timespec(left);
}

static int turn(struct session *session, struct err *err)
{
	enum { KEYBOARD, SCREEN, GUEST, CONTROL, COUNT };
	struct timespec left = time_left(session);
	struct pollfd fds[COUNT] = {
	    [KEYBOARD] = {.fd = session->keyboard && empty(&session->in) ? STDIN_FILENO : -1,
			  .events = POLLIN},
	    [SCREEN] = {.fd = empty(&session->out) ? -1 : STDOUT_FILENO, .events = POLLOUT},
	    [GUEST] = {.fd = session->guest},
	    [CONTROL] = {.fd = session->control ? session->control->fd : -1, .events = POLLIN},
	};

	fds[GUEST].events =
	    (short)((empty(&session->out) ? POLLIN : 0) | (empty(&session->in) ? 0 : POLLOUT));
	if (!fds[GUEST].events)
		fds[GUEST].fd = -1; /* its end would be reported over and over while stdout is slow */
	if (ppoll(fds, COUNT, session->deadline ? &left : NULL, terminal_mask()) < 0) {
		if (errno != EINTR)
			return err_sys(err, "cannot wait for the console");
	} else {
		if (fds[CONTROL].revents)
			take_events(session);
		if (fds[GUEST].revents & POLLOUT)
			write_guest(session);
		if (fds[GUEST].revents & ~POLLOUT && empty(&session->out))
			read_guest(session);
		if (fds[KEYBOARD].revents)
			read_keyboard(session);
		if (fds[SCREEN].revents && write_screen(session, err))
			return -1;
	}
	if (terminal_caught()) {
		session->result->signal = terminal_caught();
		finish(session, ATTACH_SIGNAL);
	}
	return 0;
}

static int open_stream(struct control *control, unsigned backlog, int *stream, struct err *err)
{
	int fds[CONTROL_MAX_FDS];
	size_t nfds = 0;

	/* First the events, so that none falls between. */
	if (control_call(control, json_pack("{s:s}", "cmd", "subscribe"), 10000, NULL, NULL, NULL, err) ||
	    control_call(control, json_pack("{s:s, s:i}", "cmd", "console", "backlog", (int)backlog), 10000,
			 NULL, fds, &nfds, err))
		return -1;
	for (size_t i = 1; i < nfds; i++)
		close(fds[i]);
	if (!nfds)
		return err_set(err, ERR_INPUT, "the VM process answered 'console' without a stream");
	*stream = fds[0];
	return 0;
}

int attach_run(struct control *control, unsigned backlog, struct attach_result *result, struct err *err)
{
	struct session session = {.control = control, .guest = -1, .keyboard = true, .result = result};
	int status = 0;

	*result = (struct attach_result){.end = ATTACH_LOST};
	fflush(stdout);
	if (open_stream(control, backlog, &session.guest, err)) {
		/* A guest that was faster leaves word of its end to the process that started it. */
		if (err->kind == ERR_LINK)
			take_events(&session);
		result->too_late = session.finished;
		return session.finished ? 0 : -1;
	}
	terminal_catch();
	session.raw = terminal_raw(STDIN_FILENO);
	take_events(&session);
	while (!status && !over(&session))
		status = turn(&session, err);
	terminal_restore();
	terminal_release();
	io_close(&session.guest);
	return status;
}

static int conclude_ended(const char *name, const struct attach_result *result)
{
	const char *why = result->why;
	const char *colon = result->detail[0] ? ": " : "";

	if (!strcmp(why, "handed-over")) {
		output_note("VM '%s' was moved to %s and runs there", name,
			    result->detail[0] ? result->detail : "another host");
		return 0;
	}
	if (!strcmp(why, "stopped")) {
		output_note("VM '%s' was stopped", name);
		return 0;
	}
	if (!strcmp(why, "reset")) {
		output_note("the guest of VM '%s' ended by a reset or power-off", name);
		return 0;
	}
	if (!strcmp(why, "crash"))
		output_note("the guest of VM '%s' crashed%s%s", name, colon, result->detail);
	else
		output_note("VM '%s' ended (%s)%s%s", name, why, colon, result->detail);
	return 1;
}

int attach_conclude(const char *name, const struct attach_result *result)
{
	if (result->end == ATTACH_ENDED || result->end == ATTACH_LOST)
		leftovers_remove(name);
	switch (result->end) {
	case ATTACH_ENDED:
		return conclude_ended(name, result);
	case ATTACH_LEFT:
		output_note("VM '%s' runs on; 'drover console %s' comes back to it", name, name);
		return 0;
	case ATTACH_SIGNAL:
		output_note("VM '%s' runs on; 'drover console %s' comes back to it", name, name);
		signal(result->signal, SIG_DFL);
		raise(result->signal);
		return 1;
	case ATTACH_LOST:
		break;
	}
	output_note(
	    "the process of VM '%s' ended without a word; 'drover status %s' and its vm.log tell more", name,
	    name);
	return 1;
}
