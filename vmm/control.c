#include "vmm/control.h"

#include "common/io.h"
#include "common/jobj.h"
#include "common/paths.h"
#include "common/unixsock.h"

#include <errno.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

int control_connect(struct control *control, const char *name, struct err *err)
{
	char path[PATHS_MAX];
	int fd;

	if (paths_vm_socket(name, path, err))
		return -1;
	fd = unixsock_connect(path, SOCK_SEQPACKET, 0);
	if (fd < 0) {
		if (errno == ENOENT || errno == ECONNREFUSED)
			return err_set(
			    err, ERR_STATE,
			    "no VM '%s' runs on this host ('drover list' shows those that it knows)", name);
		return err_sys(err, "cannot reach the process of VM '%s' at %s", name, path);
	}
	control_adopt(control, fd);
	return 0;
}

pid_t control_pid(const struct control *control)
{
	struct ucred peer;
	socklen_t len = sizeof(peer);

	return getsockopt(control->fd, SOL_SOCKET, SO_PEERCRED, &peer, &len) ? 0 : peer.pid;
}

void control_adopt(struct control *control, int fd)
{
	*control = (struct control){.fd = fd, .next_id = 1, .events = json_array()};
}

void control_close(struct control *control)
{
	io_close(&control->fd);
	json_decref(control->events);
	control->events = NULL;
}

static int send_json(struct control *control, const json_t *message, const int *fds, size_t nfds,
		     struct err *err)
{
	char *text = json_dumps(message, JSON_COMPACT);
	int status = 0;

	if (!text || strlen(text) > CONTROL_MAX)
		status = err_set(err, ERR_INPUT, "a request to the VM process is too long");
	else if (io_send(control->fd, text, strlen(text), fds, nfds))
		status = errno == EPIPE || errno == ECONNRESET
			     ? err_set(err, ERR_LINK, "the VM process has ended")
			     : err_sys(err, "cannot send to the VM process");
	free(text);
	return status;
}

/* One packet within timeout_ms (-1: for ever).  *message NULL and 0 on timeout. */
static int receive_json(struct control *control, int timeout_ms, json_t **message, int fds[IO_MAX_FDS],
			size_t *nfds, struct err *err)
{
	struct pollfd poll_fd = {.fd = control->fd, .events = POLLIN};
	char text[CONTROL_MAX + 1];
	ssize_t len;
	int ready;

	*message = NULL;
	*nfds = 0;
	do
		ready = poll(&poll_fd, 1, timeout_ms);
	while (ready < 0 && errno == EINTR);
	if (ready < 0)
		return err_sys(err, "cannot wait for the VM process");
	if (ready == 0)
		return 0;
	*nfds = IO_MAX_FDS;
	len = io_receive(control->fd, text, sizeof(text) - 1, fds, nfds);
	if (len < 0 && errno != ECONNRESET) {
		*nfds = 0;
		return err_sys(err, "cannot receive from the VM process");
	}
	if (len <= 0) {
		*nfds = 0;
		return err_set(err, ERR_LINK, "the VM process has ended");
	}
	*message = jobj_parse(text, (size_t)len, err);
	if (!*message) {
		for (size_t i = 0; i < *nfds; i++)
			close(fds[i]);
		*nfds = 0;
		return err_context(err, "answer of the VM process");
	}
	return 0;
}

int control_expect_fds(int fds[CONTROL_MAX_FDS], size_t nfds, size_t want, struct err *err)
{
	if (nfds == want)
		return 0;
	for (size_t i = 0; i < nfds; i++)
		io_close(&fds[i]);
	return err_set(err, ERR_INPUT, "the VM process gave %zu descriptors instead of %zu", nfds, want);
}

static int start_fds(struct control *control, json_t *request, const int *fds, size_t nfds, uint64_t *id,
		     struct err *err)
{
	int status;

	*id = control->next_id++;
	json_object_set_new(request, "id", json_integer((json_int_t)*id));
	status = send_json(control, request, fds, nfds, err);
	json_decref(request);
	return status;
}

int control_start(struct control *control, json_t *request, int fd, uint64_t *id, struct err *err)
{
	return start_fds(control, request, &fd, fd >= 0 ? 1 : 0, id, err);
}

/* The content of the answer to request id, or the error that it carries. */
static int take_answer(json_t *message, json_t **reply, struct err *err)
{
	json_t *ok = json_object_get(message, "ok");
	json_t *error = json_object_get(message, "error");
	const char *kind = "", *text = "";

	if (json_is_object(ok)) {
		if (reply)
			*reply = json_incref(ok);
		return 0;
	}
	if (jobj_string(error, "kind", true, 32, &kind, err) ||
	    jobj_string(error, "message", true, sizeof(err->text), &text, err))
		return err_context(err, "answer of the VM process");
	return err_set(err, err_kind_from_name(kind), "%s", text);
}

int control_finish(struct control *control, uint64_t id, int timeout_ms, json_t **reply, int *fds,
		   size_t *nfds, struct err *err)
{
	uint64_t deadline = timeout_ms < 0 ? UINT64_MAX : clock_mono_ns() + (uint64_t)timeout_ms * 1000000;

	if (reply)
		*reply = NULL;
	for (;;) {
		uint64_t now = clock_mono_ns(), answered = 0;
		int wait_ms = timeout_ms < 0    ? -1
			      : now >= deadline ? 0
						: (int)((deadline - now + 999999) / 1000000);
		int got[IO_MAX_FDS];
		size_t ngot, keep = 0;
		json_t *message;
		int status;

		if (receive_json(control, wait_ms, &message, got, &ngot, err))
			return -1;
		if (!message)
			return err_set(err, ERR_LINK, "the VM process did not answer within %d ms",
				       timeout_ms);
		if (json_object_get(message, "event")) {
			json_array_append_new(control->events, message);
			for (size_t i = 0; i < ngot; i++)
				close(got[i]);
			continue;
		}
		status = jobj_u64(message, "id", true, 0, UINT64_MAX >> 1, &answered, err);
		if (!status && answered == id) {
			status = take_answer(message, reply, err);
			if (!status && fds)
				for (; keep < ngot && keep < CONTROL_MAX_FDS; keep++)
					fds[keep] = got[keep];
			if (nfds)
				*nfds = keep;
		}
		for (size_t i = keep; i < ngot; i++)
			close(got[i]);
		json_decref(message);
		if (status || answered == id)
			return status;
		/* The answer to a request whose caller gave up waiting: passed over. */
	}
}

int control_call(struct control *control, json_t *request, int timeout_ms, json_t **reply, int *fds,
		 size_t *nfds, struct err *err)
{
	uint64_t id;

	if (control_start(control, request, -1, &id, err))
		return -1;
	return control_finish(control, id, timeout_ms, reply, fds, nfds, err);
}

int control_call_fds(struct control *control, json_t *request, const int *fds, size_t nfds, int timeout_ms,
		     json_t **reply, struct err *err)
{
	uint64_t id;

	if (start_fds(control, request, fds, nfds, &id, err))
		return -1;
	return control_finish(control, id, timeout_ms, reply, NULL, NULL, err);
}

json_t *control_event(struct control *control, int timeout_ms, struct err *err)
{
	uint64_t deadline = timeout_ms < 0 ? UINT64_MAX : clock_mono_ns() + (uint64_t)timeout_ms * 1000000;

	if (err)
		err->kind = ERR_NONE;
	for (;;) {
		uint64_t now = clock_mono_ns();
		int wait_ms = timeout_ms < 0    ? -1
			      : now >= deadline ? 0
						: (int)((deadline - now + 999999) / 1000000);
		int got[IO_MAX_FDS];
		json_t *message;
		size_t ngot;

		if (json_array_size(control->events) > 0) {
			message = json_incref(json_array_get(control->events, 0));
			json_array_remove(control->events, 0);
			return message;
		}
		if (receive_json(control, wait_ms, &message, got, &ngot, err) || !message)
			return NULL;
		for (size_t i = 0; i < ngot; i++)
			close(got[i]);
		if (json_object_get(message, "event"))
			return message;
		json_decref(message);
	}
}
