/* message.h: the messages of the epoch stream (docs/stream.md): their numbers and their payloads. */
#ifndef MIGRATE_MESSAGE_H
#define MIGRATE_MESSAGE_H

#include "common/err.h"
#include "common/pageset.h"
#include "imagefmt/dvol.h"
#include "migrate/frame.h"
#include "migrate/link.h"
#include "migrate/pages.h"
#include "vmm/ledger.h"
#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

enum { STREAM_PROTOCOL = 3, STREAM_PROTOCOL_MIN = 3, STREAM_STATE_MAX = 16 << 20 };
enum { STREAM_LINKS = 16 };             /* of a session at a time, the control link included */
enum { SEAL_LINKS = STREAM_LINKS + 1 }; /* a seal may name one that there is not */
enum { STREAM_VOLUMES = 31 };           /* RAM and disks */

enum message_type {
	MESSAGE_HELLO = 1,
	MESSAGE_WELCOME,
	MESSAGE_REFUSE,
	MESSAGE_BEGIN,
	MESSAGE_READY,
	MESSAGE_EPOCH,
	MESSAGE_PAGES,
	MESSAGE_STATE,
	MESSAGE_SEAL,
	MESSAGE_ACK,
	MESSAGE_PREPARED,
	MESSAGE_COMMIT,
	MESSAGE_STARTED,
	MESSAGE_ABORT,
	MESSAGE_OUTCOME,
	MESSAGE_RECEIVED,
	MESSAGE_PROBE,
	MESSAGE_OWED,
	MESSAGE_REQUEST,
	MESSAGE_WHOLE,
	MESSAGE_COMPARE,
	MESSAGE_DIGESTS,
	MESSAGE_POINT,
	MESSAGE_TYPES,
};

/* message_name(type): "HELLO", …; "an unknown message" for others. */
const char *message_name(unsigned type);

enum { EPOCH_CONSISTENT = 1 };

struct message_epoch {
	uint64_t term, epoch, parent;
	uint32_t flags;
	struct dvol_id disks; /* the epoch that the disks get; number 0: it is without them */
};
/* What an epoch was made of: the receiver has all of it when each of these links brought so many PAGES frames. */
struct message_seal {
	uint64_t epoch;
	uint64_t state_bytes; /* 0 unless the epoch is consistent */
	unsigned links;
	struct {
		uint32_t id;
		uint64_t frames; /* PAGES since it joined the session */
	} link[SEAL_LINKS];
};
struct message_ack {
	uint64_t epoch;
	unsigned links;
	uint32_t lost[SEAL_LINKS]; /* links of the seal that broke before they brought all */
};
/* A PAGES frame that was begun. */
struct message_pages {
	const uint8_t
	    *payload; /* behind the epoch's number (pages.h); until something is added to the link */
	size_t pages; /* in it, zero pages included */
	size_t len;   /* of the frame, so far */
};
struct message_commit {
	uint64_t term;
	char session[LEDGER_SESSION_LEN + 1];
};

/* Sending: each puts one frame into the link (link_send's errors). */
int message_send_json(struct link *link, enum message_type type, json_t *payload /* reference taken */,
		      struct err *err);
int message_send_number(struct link *link, enum message_type type, uint64_t number, struct err *err);
int message_send_epoch(struct link *link, const struct message_epoch *epoch, struct err *err);
int message_send_seal(struct link *link, const struct message_seal *seal, struct err *err);
int message_send_ack(struct link *link, const struct message_ack *ack, struct err *err);
int message_send_commit(struct link *link, const struct message_commit *commit, struct err *err);
/* message_begin_pages(link, epoch, encoder, source, pages, n, &frame, err): begin a frame with the first so many of the pages; link_send
 * (MESSAGE_PAGES) or link_drop is next.  -1 with *err: no frame is begun. */
int message_begin_pages(struct link *link, uint64_t epoch, struct pages_encoder *encoder,
			const struct pages_source *source, const uint64_t *pages, size_t n,
			struct message_pages *frame, struct err *err);
/* message_send_error: ABORT or REFUSE with the kind and sentence of `why`; flushed; failures are ignored. */
void message_send_error(struct link *link, enum message_type type, const struct err *why);
/* message_abort(link, why): give up the session: ABORT, which the receiver answers with the same; waits for that, or the end, for some
 * seconds at most.  The link's watches go; it is to be closed. */
void message_abort(struct link *link, const struct err *why);

/* Versions of the stream.  message_choose(hello, protocol, err): the newest one that the sender and this receiver both speak; none: ERR_REFUSED.
 * message_chosen(welcome, link, err): what the receiver chose is one that this sender speaks; or ERR_REFUSED. */
int message_choose(const json_t *hello, unsigned *protocol, struct err *err);
int message_chosen(const json_t *welcome, const struct link *link, struct err *err);

/* Reading payloads: 0, or -1 with ERR_INPUT.  message_json gives a new reference. */
json_t *message_json(const struct frame *frame, struct err *err);
int message_number(const struct frame *frame, uint64_t *number, struct err *err);
int message_epoch(const struct frame *frame, struct message_epoch *epoch, struct err *err);
int message_seal(const struct frame *frame, struct message_seal *seal, struct err *err);
int message_ack(const struct frame *frame, struct message_ack *ack, struct err *err);
int message_commit(const struct frame *frame, struct message_commit *commit, struct err *err);

/* A list of pages that are owed, in runs; it may take several messages. */
enum { OWED_RUNS = 65000, OWED_RUN = 16, REQUEST_PAGES = 64 };
struct message_owed {
	uint64_t epoch;
	uint32_t runs;
	bool more;           /* of the list is to come */
	const uint8_t *data; /* runs; OWED_RUN bytes each; the frame's */
};
int message_owed(const struct frame *frame, struct message_owed *owed, struct err *err);
/* message_owed_run(owed, n, pages, first, count, err): run n, which lies in a memory of so many pages. */
int message_owed_run(const struct message_owed *owed, uint32_t n, uint64_t pages, uint64_t *first,
		     uint64_t *count, struct err *err);
/* message_send_owed(link, epoch, set, err): the members of the set, as one list. */
int message_send_owed(struct link *link, uint64_t epoch, const struct pageset *set, struct err *err);
/* message_request(frame, pages, count, err): at most REQUEST_PAGES page numbers, not checked. */
int message_request(const struct frame *frame, uint64_t pages[REQUEST_PAGES], size_t *count, struct err *err);

/* message_await(link, type, timeout_ms, frame, err): the next frame, which must be of this type; ABORT and REFUSE
 * become the error that they carry, with the peer's name before it. */
int message_await(struct link *link, enum message_type type, int timeout_ms, struct frame *frame,
		  struct err *err);
/* message_unexpected(link, frame, err): the error for a frame that is not what was due; always -1. */
int message_unexpected(struct link *link, const struct frame *frame, struct err *err);

#endif
