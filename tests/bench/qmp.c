#include "tests/bench/qmp.h"
#include "common/io.h"
#include "tests/bench/proc.h"
#include <errno.h>
#include <poll.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#define MS_NS 1000000ull

static int connect_once(const char *path)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	if (fd < 0)
		return -1;
	snprintf(address.sun_path, sizeof(address.sun_path), "%s", path);
	if (connect(fd, (struct sockaddr *)&address, sizeof(address)) == 0)
		return fd;
	io_close(&fd);
	return -1;
}

/* One line that QEMU sent: an answer, an event, or the greeting (which says nothing that matters). */
static int take_line(struct qmp *qmp, const char *line, size_t len, struct err *err)
{
	json_error_t why;
	json_t *object = json_loadb(line, len, JSON_REJECT_DUPLICATES, &why);

	if (!json_is_object(object)) {
		json_decref(object);
		return err_set(err, ERR_INPUT, "%s sent a line over QMP that is no JSON object: %s", qmp->who,
			       why.text);
	}
	if (json_object_get(object, "return") || json_object_get(object, "error")) {
		json_decref(qmp->answer);
		qmp->answer = json_incref(object);
	} else if (json_is_string(json_object_get(object, "event"))) {
		json_array_append(qmp->events, object);
	}
	json_decref(object);
	return 0;
}

static int take_lines(struct qmp *qmp, struct err *err)
{
	char *line = qmp->data;
	char *end;

	while ((end = memchr(line, '\n', qmp->data + qmp->len - line))) {
		if (take_line(qmp, line, end - line, err) != 0)
			return -1;
		line = end + 1;
	}
	qmp->len -= line - qmp->data;
	memmove(qmp->data, line, qmp->len);
	if (qmp->len == sizeof(qmp->data))
		return err_set(err, ERR_INPUT, "%s sent a line over QMP of more than %d bytes", qmp->who,
			       QMP_LINE_MAX);
	return 0;
}

int qmp_pump(struct qmp *qmp, struct err *err)
{
	bool any = false;

	for (;;) {
		ssize_t got = recv(qmp->fd, qmp->data + qmp->len, sizeof(qmp->data) - qmp->len, MSG_DONTWAIT);

		if (got < 0 && errno == EINTR)
			continue;
		/* What it said before it hung up is looked at first; the next call finds the end again. */
		if ((got < 0 && errno == EAGAIN) || (got == 0 && any))
			return 0;
		if (got < 0)
			return err_sys(err, "QMP of %s", qmp->who);
		if (got == 0)
			return err_set(err, ERR_LINK, "%s closed its QMP socket: it ended", qmp->who);
		qmp->len += got;
		any = true;
		if (take_lines(qmp, err) != 0)
			return -1;
	}
}

int qmp_open(struct qmp *qmp, const char *who, const char *path, uint64_t deadline_ns, struct err *err)
{
	memset(qmp, 0, sizeof(*qmp));
	qmp->who = who;
	qmp->events = json_array();
	while ((qmp->fd = connect_once(path)) < 0) {
		if (proc_check(deadline_ns, "the QMP socket of QEMU", err) != 0)
			return -1;
		proc_pause(MS_NS);
	}
	return qmp_do(qmp, "qmp_capabilities", NULL, deadline_ns, err);
}

void qmp_close(struct qmp *qmp)
{
	if (!qmp->events)
		return;
	io_close(&qmp->fd);
	json_decref(qmp->events);
	json_decref(qmp->answer);
	qmp->events = qmp->answer = NULL;
}

static int send_command(struct qmp *qmp, const char *command, json_t *arguments, struct err *err)
{
	json_t *request = json_pack("{s:s}", "execute", command);
	char *text;
	int failed = 0;

	if (arguments)
		json_object_set_new(request, "arguments", arguments);
	text = json_dumps(request, JSON_COMPACT);
	if (!text || send(qmp->fd, text, strlen(text), MSG_NOSIGNAL) != (ssize_t)strlen(text))
		failed = err_sys(err, "QMP command %s to %s", command, qmp->who);
	free(text);
	json_decref(request);
	return failed;
}

static int await_answer(struct qmp *qmp, uint64_t deadline_ns, struct err *err)
{
	struct pollfd wait = {.fd = qmp->fd, .events = POLLIN};

	for (;;) {
		if (qmp_pump(qmp, err) != 0)
			return -1;
		if (qmp->answer)
			return 0;
		if (proc_check(deadline_ns, "an answer over QMP", err) != 0)
			return -1;
		poll(&wait, 1, 50);
	}
}

json_t *qmp_call(struct qmp *qmp, const char *command, json_t *arguments, uint64_t deadline_ns,
		 struct err *err)
{
	json_t *value;
	const char *text;

	json_decref(qmp->answer);
	qmp->answer = NULL;
	if (send_command(qmp, command, arguments, err) != 0 || await_answer(qmp, deadline_ns, err) != 0) {
		err_context(err, "%s", command);
		return NULL;
	}
	value = json_incref(json_object_get(qmp->answer, "return"));
	if (!value) {
		text = json_string_value(json_object_get(json_object_get(qmp->answer, "error"), "desc"));
		err_set(err, ERR_REFUSED, "%s refused %s: %s", qmp->who, command, text ? text : "(no words)");
	}
	json_decref(qmp->answer);
	qmp->answer = NULL;
	return value;
}

int qmp_do(struct qmp *qmp, const char *command, json_t *arguments, uint64_t deadline_ns, struct err *err)
{
	json_t *value = qmp_call(qmp, command, arguments, deadline_ns, err);

	json_decref(value);
	return value ? 0 : -1;
}

json_t *qmp_take_event(struct qmp *qmp)
{
	json_t *event = json_incref(json_array_get(qmp->events, 0));

	if (event)
		json_array_remove(qmp->events, 0);
	return event;
}
