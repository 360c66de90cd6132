/* session.h: the sender's end of a `drover serve` on a simulated host (tests/lib/host.h), frame by frame: for senders that say what no
 * mover would.  Everything fails the running CMocka test on a surprise. */
#ifndef TESTS_LIB_SESSION_H
#define TESTS_LIB_SESSION_H

#include "migrate/link.h"
#include "migrate/message.h"
#include "tests/lib/host.h"
#include <jansson.h>
#include <stddef.h>
#include <sys/types.h>

#define SESSION_UUID   "0f0e0d0c-0b0a-4908-8706-050403020100"
#define SESSION_NUMBER "00112233445566778899aabbccddeeff"
enum { SESSION_MEMORY = 4 << 20 };

struct session {
	pid_t pid;
	struct link *link;
};

/* session_open(session, host, options): start it, with these options, NULL at their end.  session_close: end the connection, wait for its end;
 * its exit status, or 128 + signal. */
void session_open(struct session *session, const struct host *host, const char *const options[]);
int session_close(struct session *session);

/* session_hello(purpose, vm): HELLO; a new reference.  session_config(vm): the smallest VM, without devices.  session_begin(host, config): BEGIN of
 * a VM with that configuration (taken), whose CPU is one that the host has. */
json_t *session_hello(const char *purpose, const char *vm);
json_t *session_config(const char *vm);
json_t *session_begin(const struct host *host, json_t *config);

void session_send_json(struct session *session, enum message_type type, json_t *json /* taken */);
void session_send(struct session *session, enum message_type type, const void *payload, size_t len);
/* session_await(session, type, frame): the next frame; RECEIVED is passed over.  session_await_json: its object, a new reference. */
void session_await(struct session *session, enum message_type type, struct frame *frame);
json_t *session_await_json(struct session *session, enum message_type type);
/* session_greet(session, vm): HELLO and WELCOME of a move.  session_ready(session, host, config): these, BEGIN and READY. */
void session_greet(struct session *session, const char *vm);
void session_ready(struct session *session, const struct host *host, json_t *config);
/* session_is_refused(session, type, part): REFUSE or ABORT comes next, with these words in it, and nothing after it. */
void session_is_refused(struct session *session, enum message_type type, const char *part);

#endif
