/* serve_internal.h: a receiving session, shared by its parts: greeting and end (serve.c), epochs (serve_epoch.c), the links
 * that join (serve_links.c). */
#ifndef MIGRATE_SERVE_INTERNAL_H
#define MIGRATE_SERVE_INTERNAL_H

#include "common/histogram.h"
#include "migrate/link.h"
#include "migrate/message.h"
#include "migrate/pages.h"
#include "migrate/permit.h"
#include "migrate/serve_disks.h"
#include "migrate/serve_points.h"
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
	SERVE_WAITING = 256, /* pages that the guest waits for, of those that are asked for by name */
};

/* Where a session stands; what may come next follows from it. */
enum serve_state {
	SERVE_IDLE,     /* between epochs: EPOCH */
	SERVE_EPOCH,    /* inside one: PAGES, STATE, SEAL */
	SERVE_SEALED,   /* waits for what other links have not brought yet */
	SERVE_PREPARED, /* the machine state is being loaded, or is: COMMIT; no link joins any more */
	SERVE_STARTED,  /* nothing: the session is over, as it should be */
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

/* Post-copy: pages that come after the guest's start. */
struct serve_owed {
	bool on;       /* BEGIN asked for it: the VM process's RAM is watched */
	bool running;  /* the guest runs, and may lack pages.  Written before the links' threads may see it */
	int uffd;      /* of the VM process's RAM */
	uint64_t base; /* where that is, there */
	struct pageset pages; /* what is missing; the VM process sees it, too */
	pthread_t thread;     /* answers faults (serve_faults.c) */
	bool threaded;
	struct pages_decoder *decoder; /* its */
	int offer_fd;                  /* eventfd for it: a request link has come */
	/* Under the session's lock: */
	struct serve_link offered; /* a request link that it has not taken yet */
	struct {
		uint64_t page, since_ns;
	} waiting[SERVE_WAITING]; /* faults that were asked for */
	size_t nwaiting;
	struct histogram faults;
};

struct serve {
	const struct permit *permit;
	unsigned protocol; /* the version of the stream */
	struct vm_config config;
	uint64_t term;
	char session[LEDGER_SESSION_LEN + 1];
	uint64_t reconnect_ms;
	struct control vm;                          /* the VM process around the received RAM */
	struct pages_target target[STREAM_VOLUMES]; /* by their number in the stream: the first one is RAM */
	unsigned targets;
	struct serve_disks disks;
	struct serve_points points;
	int ram_fd;
	uint64_t ram_seen; /* atomic: bytes that RAM held when the host's memory was last looked at */
	int state_fd;      /* memfd; machine state of the consistent epoch */
	uint64_t state_len;

	struct serve_link control; /* the main thread's */
	struct serve_link joined[SERVE_LINKS];
	struct serve_link replacement; /* a control link that came while the old one was still believed in */
	struct serve_owed owed;
	int listen_fd;
	int waiter_fd; /* another session that waits for this one's end; -1 */

	pthread_mutex_t lock;
	pthread_cond_t change;  /* the epoch, or quit */
	int quit_fd;            /* eventfd: readable when the joined links' threads shall end */
	int wake_fd;            /* eventfd for the main thread: a frame was applied, a link broke */
	enum serve_state state; /* the main thread's; others look at it under the lock */
	struct message_epoch epoch;
	struct message_seal seal; /* in SERVE_SEALED */
	struct message_ack acked; /* the last one */
	bool quit;
	struct err failed; /* of a joined link's thread; kind ERR_NONE: none */
};

/* ---- serve.c, for both kinds of session: serve_free_name(serve, record, locked, err): a session before this one whose sender is gone is ended;
 * *record is the ledger's, *locked: somebody lives by the VM's name here.  serve_take_config(serve, begin, err): what BEGIN says of the VM that HELLO named becomes the
 * session's, within its bounds. ---- */

int serve_free_name(const struct serve *serve, struct ledger_record *record, bool *locked, struct err *err);
int serve_take_config(struct serve *serve, const json_t *begin, struct err *err);

/* ---- serve_bounds.c: what a sender may have of this host (docs/stream.md, What a sender can do) ---- */

/* serve_bounds_name(serve, err): the VM's name is not that of another one which this host defines.
 * serve_bounds_config(serve, err): of what its configuration names of this host, refuse what is not permitted.  Files of a boot that are not are left out
 * of it: a guest that runs needs none of them.
 * serve_bounds_room(serve, err): RAM that comes leaves the host some memory.  Any thread, after each frame of pages. */
int serve_bounds_name(const struct serve *serve, struct err *err);
int serve_bounds_config(struct serve *serve, struct err *err);
int serve_bounds_room(struct serve *serve, struct err *err);

/* ---- serve_epoch.c: main thread, unless stated ---- */

/* serve_set_state(serve, state): for what does not change with it. */
void serve_set_state(struct serve *serve, enum serve_state state);
/* serve_frame(serve, frame, err): a message on the control link. */
int serve_frame(struct serve *serve, const struct frame *frame, struct err *err);
/* serve_pages(of, frame, err): a PAGES frame: waits for its epoch, applies it, acknowledges now and then.  The thread of that link. */
int serve_pages(struct serve_link *of, const struct frame *frame, struct err *err);
/* serve_settle(serve, err): if the sealed epoch is there by now, acknowledge it, or make the guest ready. */
int serve_settle(struct serve *serve, struct err *err);
/* serve_not_last(serve): the sender's guest runs on: the open epoch is one like any other, what came of machine state is dropped. */
void serve_not_last(struct serve *serve);

/* serve_compare(serve, frame, err): COMPARE: tell by digests what there is of a disk.  In serve_compare.c. */
int serve_compare(struct serve *serve, const struct frame *frame, struct err *err);

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

/* ---- serve_postcopy.c: main thread, unless stated ---- */

/* serve_postcopy_open(serve, err): have the VM process's RAM watched, since BEGIN asks for that. */
int serve_postcopy_open(struct serve *serve, struct err *err);
void serve_postcopy_close(struct serve *serve);
/* serve_postcopy_owed(serve, frame, err): OWED, in an epoch before the start. */
int serve_postcopy_owed(struct serve *serve, const struct frame *frame, struct err *err);
/* serve_postcopy_settle(serve, err): before the machine state is loaded: where nothing is owed, all is as without post-copy. */
int serve_postcopy_settle(struct serve *serve, struct err *err);
/* serve_postcopy_started(serve): the guest runs: the session goes on until its RAM is whole. */
void serve_postcopy_started(struct serve *serve);
/* serve_postcopy_rest(serve, err): tell the sender what is still missing; if that is nothing, the session is over. */
int serve_postcopy_rest(struct serve *serve, struct err *err);

/* ---- serve_faults.c ---- */

/* serve_faults_start(serve, err), serve_faults_stop(serve): the thread that answers the guest's faults. */
int serve_faults_start(struct serve *serve, struct err *err);
void serve_faults_stop(struct serve *serve);
/* serve_faults_offer(serve, link): a request link, welcomed; taken over.  It replaces the one there was. */
void serve_faults_offer(struct serve *serve, const struct serve_link *link);
/* serve_faults_came(serve, page, count): these pages were placed.  Any thread. */
void serve_faults_came(struct serve *serve, uint64_t page, uint64_t count);

/* serve_link_end(of): close it, free all. */
void serve_link_end(struct serve_link *of);

/* In the process of a link that joins: serve_hand_over(name, hello, in, out, err): give the channel to the session that
 * receives VM `name`, and wait for the session's end.  -1: there is no such session. */
int serve_hand_over(const char *name, const json_t *hello, int in, int out, struct err *err);

#endif
