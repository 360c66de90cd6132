/* serve_internal.h: a receiving session, shared by its parts: greeting and end (serve.c), epochs (serve_epoch.c), the links
 * that join (serve_links.c). */
#ifndef MIGRATE_SERVE_INTERNAL_H
#define MIGRATE_SERVE_INTERNAL_H

#include "migrate/link.h"
#include "migrate/message.h"
#include "migrate/pages.h"
#include "migrate/permit.h"
#include "vmm/config.h"
#include "vmm/control.h"
#include "vmm/ledger.h"
#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

enum {
	SERVE_QUIET_MS = 120000, /* a sender that says nothing for so long is gone */
	SERVE_VM_MS = 20000,
	SERVE_LINKS = 2 * STREAM_LINKS, /* those that broke, and whose threads have not ended yet, included */
	SERVE_ACK_FRAMES = 8,           /* PAGES between two RECEIVED */
};

/* Where a session stands; what may come next follows from it. */
enum serve_state {
	SERVE_IDLE,     /* between epochs: EPOCH */
	SERVE_EPOCH,    /* inside one: PAGES, STATE, SEAL */
	SERVE_SEALED,   /* waits for what other links have not brought yet */
	SERVE_PREPARED, /* the machine state is being loaded, or is: COMMIT; no link joins any more */
	SERVE_STARTED,  /* nothing: the session is over */
};

struct serve_link {
	struct serve *serve;
	uint32_t id;
	struct link *link;
	struct pages_decoder *decoder;
	int process_fd; /* of the process that the link came from: it ends when this closes; -1 */
	/* Under the session's lock: */
	uint64_t applied; /* PAGES, since it joined */
	bool applying;
	bool broken;
	/* Of joined links: */
	pthread_t thread;
	bool used;
};

struct serve {
	const struct permit *permit;
	struct vm_config config;
	uint64_t term;
	char session[LEDGER_SESSION_LEN + 1];
	uint64_t reconnect_ms;
	struct control vm; /* the VM process around the received RAM */
	struct pages_target ram;
	int ram_fd;
	int state_fd; /* memfd; machine state of the consistent epoch */
	uint64_t state_len;

	struct serve_link control; /* the main thread's */
	struct serve_link joined[SERVE_LINKS];
	struct serve_link replacement; /* a control link that came while the old one was still believed in */
	int listen_fd;
	int waiter_fd; /* another session that waits for this one's end; -1 */

	pthread_mutex_t lock;
	pthread_cond_t change; /* the epoch, or quit */
	int quit_fd;           /* eventfd: readable when the joined links' threads shall end */
	int wake_fd;           /* eventfd for the main thread: a frame was applied, a link broke */
	enum serve_state state;
	struct message_epoch epoch;
	struct message_seal seal; /* in SERVE_SEALED */
	struct message_ack acked; /* the last one */
	bool quit;
	struct err failed; /* of a joined link's thread; kind ERR_NONE: none */
};

/* ---- serve_epoch.c: main thread, unless stated ---- */

/* serve_frame(serve, frame, err): a message on the control link. */
int serve_frame(struct serve *serve, const struct frame *frame, struct err *err);
/* serve_pages(of, frame, err): a PAGES frame: waits for its epoch, applies it, acknowledges now and then.  The thread of that link. */
int serve_pages(struct serve_link *of, const struct frame *frame, struct err *err);
/* serve_settle(serve, err): if the sealed epoch is there by now, acknowledge it, or make the guest ready. */
int serve_settle(struct serve *serve, struct err *err);
/* serve_not_last(serve): the sender's guest runs on: the open epoch is one like any other, what came of machine state is dropped. */
void serve_not_last(struct serve *serve);

/* ---- serve_links.c ---- */

/* serve_links_open(serve, err): begin to listen for links that join.  serve_links_close: ends all of them. */
int serve_links_open(struct serve *serve, struct err *err);
void serve_links_close(struct serve *serve);
/* serve_links_accept(serve): somebody connected to the socket: a link joins, a control link comes back
 * (serve->replacement), or another session wants the VM (serve->waiter_fd).  What is not in order is refused. */
void serve_links_accept(struct serve *serve);
/* serve_links_adopt(serve, err): the replacement becomes the control link, and is welcomed. */
int serve_links_adopt(struct serve *serve, struct err *err);
/* serve_links_await(serve, why, err): no control link is left, because of `why`: wait for a new one; -1: none came, or
 * somebody else wants the VM. */
int serve_links_await(struct serve *serve, const struct err *why, struct err *err);

/* In the process of a link that joins: serve_hand_over(name, hello, in, out, err): give the channel to the session that
 * receives VM `name`, and wait for the session's end.  -1: there is no such session. */
int serve_hand_over(const char *name, const json_t *hello, int in, int out, struct err *err);
/* serve_supersede(name, uuid): a session for this VM that has lost its sender shall end; returns when it has. */
void serve_supersede(const char *name, const char *uuid);

#endif
