/* test_skew.c: hosts whose drover is not of the same age.  What a sender and a receiver of each released version of the stream said is in tests/vectors
 * (README.md there), and is said again to the other side of this version; and of versions that do not meet each side says so, up front.
 *
 * The program plays three parts besides, each as the remote command of a move: see main(). */
#include "common/io.h"
#include "migrate/frame.h"
#include "tests/lib/need.h"
#include "tests/lib/pair.h"
#include "tests/lib/session.h"
#include "tests/lib/test.h"

#include <errno.h>
#include <limits.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#define GUEST "fill=32K dirty=1 report=50"

enum { VECTOR_MAX = 8 << 20, COMMAND_MAX = 8 * HOST_PATH };

static struct pair world;

/* ---- vectors --------------------------------------------------------------------------------------------------------- */

struct vector {
	void *data;
	struct frame_parser parser;
};

static void vector_path(char path[PATH_MAX], const char *name)
{
	const char *root = getenv("DROVER_SRC");

	snprintf(path, PATH_MAX, "%s/tests/vectors/%s", root ? root : ".", name);
}

static void vector_open(struct vector *vector, const char *name)
{
	char path[PATH_MAX];
	size_t len;

	vector_path(path, name);
	if (io_read_file(path, VECTOR_MAX, &vector->data, &len))
		fail_msg("%s cannot be read", path);
	vector->parser = (struct frame_parser){.data = vector->data, .cap = len, .end = len};
}

static bool vector_next(struct vector *vector, struct frame *frame)
{
	struct err err;
	int got = frame_parser_next(&vector->parser, frame, &err);

	if (got < 0 || (got == 0 && frame_parser_pending(&vector->parser) > 0))
		fail_msg("a vector is damaged: %s", got < 0 ? err.text : "it ends in a frame");
	return got > 0;
}

/* The next frame of that type. */
static void vector_find(struct vector *vector, uint16_t type, struct frame *frame)
{
	do
		assert_true(vector_next(vector, frame));
	while (frame->type != type);
}

/* ---- an older sender ------------------------------------------------------------------------------------------------- */

/* What the receiver says to a message: 0: nothing. */
static uint16_t answer_to(const struct frame *frame)
{
	switch (frame->type) {
	case MESSAGE_HELLO:
		return MESSAGE_WELCOME;
	case MESSAGE_BEGIN:
		return MESSAGE_READY;
	case MESSAGE_SEAL:
		return le64_get(frame->payload + 8) ? MESSAGE_PREPARED : MESSAGE_ACK;
	case MESSAGE_COMMIT:
		return MESSAGE_STARTED;
	default:
		return 0;
	}
}

/* Of answers in JSON other fields may come; those that there were are as they were. */
static void compare_json(const struct frame *then, const struct frame *now)
{
	json_t *before = json_loadb((const char *)then->payload, then->len, 0, NULL), *value;
	json_t *after = json_loadb((const char *)now->payload, now->len, 0, NULL);
	const char *key;

	json_object_foreach(before, key, value)
	{
		if (!strcmp(key, "pid") || !strcmp(key, "drover"))
			continue;
		if (!json_equal(value, json_object_get(after, key)))
			fail_msg("%s: '%s' is another one now", message_name(then->type), key);
	}
	json_decref(before);
	json_decref(after);
}

static void compare(const struct frame *then, const struct frame *now)
{
	if (then->type == MESSAGE_WELCOME || then->type == MESSAGE_READY) {
		compare_json(then, now);
		return;
	}
	assert_int_equal(now->len, then->len);
	assert_memory_equal(now->payload, then->payload, then->len);
}

/* A vector of another kind of CPU proves nothing here: false. */
static bool begin_as_then(struct session *session, const struct frame *sent, struct frame *answer)
{
	struct err err;

	session_send(session, MESSAGE_BEGIN, sent->payload, sent->len);
	if (link_receive(session->link, clock_mono_ns() + 30 * LINK_STALL_MS * 1000000ull, answer, &err) <= 0)
		fail_msg("no answer to BEGIN: %s", err.text);
	return answer->type != MESSAGE_REFUSE;
}

static void replay(const char *version)
{
	static const char *const nothing[] = {NULL};
	struct vector sent, answers;
	struct frame frame, then, now;
	struct session session;
	char name[64];

	snprintf(name, sizeof(name), "%s.sent", version);
	vector_open(&sent, name);
	snprintf(name, sizeof(name), "%s.answers", version);
	vector_open(&answers, name);
	session_open(&session, &world.b, nothing);
	while (vector_next(&sent, &frame)) {
		uint16_t type = answer_to(&frame);

		if (frame.type == MESSAGE_BEGIN && !begin_as_then(&session, &frame, &now)) {
			(void)session_close(&session);
			need_skip("the vectors' guest cannot run on this CPU: %.*s", (int)now.len,
				  (const char *)now.payload);
		}
		if (frame.type != MESSAGE_BEGIN)
			session_send(&session, frame.type, frame.payload, frame.len);
		if (!type)
			continue;
		if (frame.type != MESSAGE_BEGIN)
			session_await(&session, type, &now);
		vector_find(&answers, type, &then);
		compare(&then, &now);
	}
	assert_int_equal(session_close(&session), 0);
	frame_parser_close(&sent.parser);
	frame_parser_close(&answers.parser);
}

/* The guest is the one that was recorded: it was paused, and goes on with what it said last. */
static void a_recorded_sender_is_understood(void **state)
{
	(void)state;
	need_kvm();
	replay("stream-3");
	host_wait_state(&world.b, "old", "paused");
	host_must(&world.b, "resume", "old", NULL);
	host_wait_report(&world.b, "old", 5);
	host_must(&world.b, "kill", "old", NULL);
	host_must(&world.b, "forget", "--force", "old", NULL);
}

/* ---- an older receiver ------------------------------------------------------------------------------------------------ */

static const char *self(void)
{
	static char path[HOST_PATH * 2];

	snprintf(path, sizeof(path), "%s/tests/e2e/test_skew", host_build());
	return path;
}

static int migrate(struct command *command, const char *remote)
{
	const char *const more[] = {"--remote-command", remote, "--streams", "1", "--compress", "zstd", NULL};

	command_start(command, &world.a, NULL,
		      host_migrate_argv_with(&world.sshd, &world.b, "g", NULL, 0, more));
	return command_wait(command);
}

static struct command command;

static void a_recorded_receiver_is_understood(void **state)
{
	char path[PATH_MAX], remote[PATH_MAX + COMMAND_MAX];

	(void)state;
	need_kvm();
	host_run_guest(&world.a, "g", "4M", NULL, GUEST);
	host_must(&world.a, "pause", "g", NULL);
	vector_path(path, "stream-3.answers");
	snprintf(remote, sizeof(remote), "%s answer %s", self(), path);
	if (migrate(&command, remote))
		fail_msg("%s", command.output);
	assert_int_equal(host_ledger(&world.a, "g").state, LEDGER_HANDED_OVER);
	host_must(&world.a, "forget", "--force", "g", NULL);
}

/* ---- versions that do not meet ---------------------------------------------------------------------------------------- */

static void says_hello(int newest, int oldest, const char *purpose, enum message_type answer,
		       const char *part)
{
	static const char *const nothing[] = {NULL};
	json_t *hello = session_hello(purpose, "g"), *welcome;
	struct session session;

	json_object_set_new(hello, "protocol", json_integer(newest));
	json_object_set_new(hello, "protocol_min", json_integer(oldest));
	session_open(&session, &world.b, nothing);
	session_send_json(&session, MESSAGE_HELLO, hello);
	if (answer == MESSAGE_REFUSE) {
		session_is_refused(&session, answer, part);
	} else {
		welcome = session_await_json(&session, answer);
		assert_int_equal(json_integer_value(json_object_get(welcome, "protocol")), STREAM_PROTOCOL);
		json_decref(welcome);
	}
	(void)session_close(&session);
}

static void a_receiver_chooses_or_refuses(void **state)
{
	static const char *const purposes[] = {"move", "check", "outcome", "join"};
	const int later = STREAM_PROTOCOL + 7;

	(void)state;
	/* A newer sender that still speaks this version is answered in it. */
	says_hello(later, STREAM_PROTOCOL_MIN, "move", MESSAGE_WELCOME, NULL);
	says_hello(later, STREAM_PROTOCOL, "move", MESSAGE_WELCOME, NULL);
	says_hello(STREAM_PROTOCOL, 1, "move", MESSAGE_WELCOME, NULL);
	for (size_t i = 0; i < sizeof(purposes) / sizeof(purposes[0]); i++) {
		says_hello(later, STREAM_PROTOCOL + 1, purposes[i], MESSAGE_REFUSE, "upgrade the older side");
		says_hello(STREAM_PROTOCOL_MIN - 1, 1, purposes[i], MESSAGE_REFUSE, "upgrade the older side");
		/* What makes no sense is no version either. */
		says_hello(STREAM_PROTOCOL, later, purposes[i], MESSAGE_REFUSE, "upgrade the older side");
	}
}

/* Nothing was made, here or there; the guest never noticed. */
static void a_sender_refuses(void **state)
{
	const int choices[] = {STREAM_PROTOCOL_MIN - 1, STREAM_PROTOCOL + 1};
	char remote[COMMAND_MAX];

	(void)state;
	need_kvm();
	host_run_guest(&world.a, "g", "4M", NULL, GUEST);
	for (size_t i = 0; i < sizeof(choices) / sizeof(choices[0]); i++) {
		snprintf(remote, sizeof(remote), "%s choose %d", self(), choices[i]);
		assert_int_equal(migrate(&command, remote), 1);
		if (!strstr(command.output, "upgrade the older side"))
			fail_msg("%s", command.output);
		host_wait_state(&world.a, "g", "running");
		assert_int_equal(host_ledger(&world.a, "g").state, LEDGER_RUNNING);
	}
	host_must(&world.a, "kill", "g", NULL);
	host_must(&world.a, "forget", "--force", "g", NULL);
}

/* ---- the parts that it plays ------------------------------------------------------------------------------------------- */

static int put_json(struct link *link, enum message_type type, const struct frame *of)
{
	struct err err;

	buf_put(link_begin(link), of->payload, of->len);
	return link_send(link, type, 0, &err) || link_flush(link, &err) ? 1 : 0;
}

/* answer FILE: a receiver that says what is recorded there, with the numbers of the epochs that it gets. */
static int play_answers(const char *file)
{
	struct err err;
	struct link *link = link_open_fds(0, 1, "the sender", &err);
	struct frame frame, answer;
	struct vector vector;
	size_t len;

	if (!link || io_read_file(file, VECTOR_MAX, &vector.data, &len))
		return 1;
	vector.parser = (struct frame_parser){.data = vector.data, .cap = len, .end = len};
	while (link_receive(link, UINT64_MAX, &frame, &err) > 0) {
		uint16_t type = answer_to(&frame);

		if (!type)
			continue;
		do
			if (frame_parser_next(&vector.parser, &answer, &err) <= 0)
				return 1;
		while (answer.type != type);
		if (frame.type == MESSAGE_SEAL)
			le64_put((uint8_t *)answer.payload, le64_get(frame.payload));
		if (put_json(link, answer.type, &answer))
			return 1;
		if (type == MESSAGE_STARTED)
			break;
	}
	link_close(link);
	return 0;
}

/* choose VERSION: a receiver that chooses that version. */
static int play_choice(const char *version)
{
	struct err err;
	struct link *link = link_open_fds(0, 1, "the sender", &err);
	struct frame frame;

	if (!link || link_receive(link, UINT64_MAX, &frame, &err) <= 0 ||
	    message_send_json(
		link, MESSAGE_WELCOME,
		json_pack("{s:i, s:s, s:i}", "protocol", atoi(version), "drover", "x", "promised_term", 0),
		&err) ||
	    link_flush(link, &err))
		return 1;
	(void)link_receive(link, UINT64_MAX, &frame, &err);
	link_close(link);
	return 0;
}

static bool pass(int from, int to, FILE *record)
{
	char bytes[65536];
	ssize_t got = read(from, bytes, sizeof(bytes));

	return got > 0 && fwrite(bytes, 1, (size_t)got, record) == (size_t)got &&
	       !io_write_full(to, bytes, (size_t)got);
}

/* pass SENT ANSWERS PROGRAM…: start it, and write down what goes to it and what comes of it. */
static int play_recorder(char *argv[])
{
	FILE *sent = fopen(argv[0], "we"), *answers = fopen(argv[1], "we");
	struct pollfd fds[2] = {{.fd = 0, .events = POLLIN}, {.events = POLLIN}};
	int pair[2], status;
	pid_t pid;

	if (!sent || !answers || socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair))
		return 1;
	pid = fork();
	if (pid == 0) {
		dup2(pair[1], 0);
		dup2(pair[1], 1);
		execv(argv[2], argv + 2);
		_exit(127);
	}
	close(pair[1]);
	fds[1].fd = pair[0];
	while (poll(fds, 2, -1) > 0 || errno == EINTR) {
		if (fds[0].revents && !pass(0, pair[0], sent)) {
			shutdown(pair[0], SHUT_WR);
			fds[0].fd = -1;
		}
		if (fds[1].revents && !pass(pair[0], 1, answers))
			break;
	}
	waitpid(pid, &status, 0);
	return fclose(sent) || fclose(answers) || status;
}

/* record: a move, into the source tree's vectors of the version that this drover speaks. */
static void record(void **state)
{
	char sent[PATH_MAX], answers[PATH_MAX], name[64], remote[2 * PATH_MAX + COMMAND_MAX];

	(void)state;
	need_kvm();
	snprintf(name, sizeof(name), "stream-%d.sent", STREAM_PROTOCOL);
	vector_path(sent, name);
	snprintf(name, sizeof(name), "stream-%d.answers", STREAM_PROTOCOL);
	vector_path(answers, name);
	host_run_guest(&world.a, "old", "4M", NULL, GUEST);
	host_must(&world.a, "pause", "old", NULL);
	snprintf(remote, sizeof(remote),
		 "env DROVER_STATE=%s/state DROVER_RUN=%s/run %s pass %s %s %s/drover serve", world.b.root,
		 world.b.root, self(), sent, answers, host_build());
	const char *const more[] = {"--remote-command", remote, "--streams", "1", "--compress", "zstd", NULL};

	command_start(&command, &world.a, NULL,
		      host_migrate_argv_with(&world.sshd, &world.b, "old", NULL, 0, more));
	if (command_wait(&command))
		fail_msg("%s", command.output);
	host_must(&world.b, "kill", "old", NULL);
}

static int open_world(void **state)
{
	(void)state;
	return pair_open(&world);
}

static int close_world(void **state)
{
	(void)state;
	return pair_close(&world);
}

int main(int argc, char *argv[])
{
	const struct CMUnitTest recording[] = {cmocka_unit_test(record)};
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(a_recorded_sender_is_understood),
	    cmocka_unit_test(a_recorded_receiver_is_understood),
	    cmocka_unit_test(a_receiver_chooses_or_refuses),
	    cmocka_unit_test(a_sender_refuses),
	};

	if (argc > 4 && !strcmp(argv[1], "pass"))
		return play_recorder(argv + 2);
	if (argc == 3 && !strcmp(argv[1], "answer"))
		return play_answers(argv[2]);
	if (argc == 3 && !strcmp(argv[1], "choose"))
		return play_choice(argv[2]);
	if (argc == 2 && !strcmp(argv[1], "record"))
		return cmocka_run_group_tests_name("recording", recording, open_world, close_world);
	return cmocka_run_group_tests_name("skew", tests, open_world, close_world);
}
