#include "tests/lib/session.h"

#include "common/io.h"
#include "tests/lib/test.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

enum { OPTIONS = 30, PATIENCE_S = 30 };

static void become_serve(const struct host *host, int fd, const char *const options[])
{
	char path[HOST_PATH + 16];
	const char *argv[OPTIONS] = {"drover", "serve"};

	snprintf(path, sizeof(path), "%s/state", host->root);
	setenv("DROVER_STATE", path, 1);
	snprintf(path, sizeof(path), "%s/run", host->root);
	setenv("DROVER_RUN", path, 1);
	for (int i = 0; options[i] && i < OPTIONS - 3; i++)
		argv[2 + i] = options[i];
	snprintf(path, sizeof(path), "%s/drover", host_build());
	dup2(fd, 0);
	dup2(fd, 1);
	execv(path, (char *const *)argv);
	_exit(127);
}

void session_open(struct session *session, const struct host *host, const char *const options[])
{
	int pair[2];
	struct err err;

	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
	session->pid = fork();
	assert_true(session->pid >= 0);
	if (session->pid == 0)
		become_serve(host, pair[1], options);
	close(pair[1]);
	session->link = link_open_fds(pair[0], pair[0], "the receiver", &err);
	assert_non_null(session->link);
}

int session_close(struct session *session)
{
	int status;

	link_close(session->link);
	session->link = NULL;
	assert_int_equal(waitpid(session->pid, &status, 0), session->pid);
	return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

json_t *session_hello(const char *purpose, const char *vm)
{
	return json_pack("{s:i, s:i, s:s, s:s, s:s, s:{s:s, s:s}}", "protocol", STREAM_PROTOCOL,
			 "protocol_min", STREAM_PROTOCOL_MIN, "drover", "test", "purpose", purpose, "session",
			 SESSION_NUMBER, "vm", "name", vm, "uuid", SESSION_UUID);
}

json_t *session_config(const char *vm)
{
	return json_pack("{s:s, s:s, s:i, s:i}", "name", vm, "uuid", SESSION_UUID, "memory_bytes",
			 SESSION_MEMORY, "cpus", 1);
}

/* The next frame's type. */
static int receive(struct session *session, struct frame *frame)
{
	struct err err;
	int got = link_receive(session->link, clock_mono_ns() + PATIENCE_S * 1000000000ull, frame, &err);

	if (got <= 0)
		fail_msg("nothing came: %s", got ? err.text : "for too long");
	return frame->type;
}

/* What a guest would see of it, by its own word. */
static json_t *cpu_of(const struct host *host)
{
	static json_t *cpu;
	struct session check;
	json_t *hello, *welcome;
	struct frame frame;

	if (!cpu) {
		session_open(&check, host, (const char *const[]){NULL});
		hello = session_hello("check", "g");
		session_send_json(&check, MESSAGE_HELLO, hello);
		welcome = session_await_json(&check, MESSAGE_WELCOME);
		cpu = json_incref(json_object_get(json_object_get(welcome, "facts"), "cpu"));
		json_decref(welcome);
		session_send(&check, MESSAGE_PROBE, "", 0);
		assert_int_equal(receive(&check, &frame), MESSAGE_RECEIVED);
		assert_int_equal(session_close(&check), 0);
	}
	return json_incref(cpu);
}

json_t *session_begin(const struct host *host, json_t *config)
{
	return json_pack("{s:i, s:o, s:o, s:i, s:b, s:s, s:i, s:b, s:[]}", "term", 2, "config", config, "cpu",
			 cpu_of(host), "touched_bytes", SESSION_MEMORY, "paused", 1, "from", "a test",
			 "reconnect_ms", 0, "postcopy", 0, "disks");
}

void session_send_json(struct session *session, enum message_type type, json_t *json)
{
	struct err err;

	assert_non_null(json);
	if (message_send_json(session->link, type, json, &err) || link_flush(session->link, &err))
		fail_msg("%s is not sent: %s", message_name(type), err.text);
}

void session_send(struct session *session, enum message_type type, const void *payload, size_t len)
{
	struct err err;

	buf_put(link_begin(session->link), payload, len);
	if (link_send(session->link, type, 0, &err) || link_flush(session->link, &err))
		fail_msg("%s is not sent: %s", message_name(type), err.text);
}

void session_await(struct session *session, enum message_type type, struct frame *frame)
{
	while (receive(session, frame) == MESSAGE_RECEIVED)
		;
	if (frame->type != type)
		fail_msg("%s came instead of %s: %.*s", message_name(frame->type), message_name(type),
			 (int)frame->len, (const char *)frame->payload);
}

json_t *session_await_json(struct session *session, enum message_type type)
{
	struct frame frame;
	struct err err;
	json_t *json;

	session_await(session, type, &frame);
	json = message_json(&frame, &err);
	if (!json)
		fail_msg("%s", err.text);
	return json;
}

void session_greet(struct session *session, const char *vm)
{
	session_send_json(session, MESSAGE_HELLO, session_hello("move", vm));
	json_decref(session_await_json(session, MESSAGE_WELCOME));
}

void session_ready(struct session *session, const struct host *host, json_t *config)
{
	session_greet(session, json_string_value(json_object_get(config, "name")));
	session_send_json(session, MESSAGE_BEGIN, session_begin(host, config));
	json_decref(session_await_json(session, MESSAGE_READY));
}

void session_is_refused(struct session *session, enum message_type type, const char *part)
{
	json_t *json = session_await_json(session, type);
	const char *text = json_string_value(json_object_get(json, "message"));
	struct frame frame;
	struct err err;

	if (!text || !strstr(text, part))
		fail_msg("'%s' is not in: %s", part, text ? text : "nothing");
	json_decref(json);
	if (link_receive(session->link, clock_mono_ns() + PATIENCE_S * 1000000000ull, &frame, &err) >= 0)
		fail_msg("it goes on after that");
}
