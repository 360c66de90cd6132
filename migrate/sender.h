/* sender.h: the links over which a session's pages go out, and the ledger of what they carry.
 *
 * One link, the control link, is worked by the caller's thread and carries the messages too; every other one has a thread
 * of its own, which connects it, and works on the rounds that come.  A round's pages are the members of page sets, one a volume;
 * threads claim ranges of them (pageset_claim), so that there is no lock between a page and its link.  What a link has not
 * been acknowledged when it breaks is sent again in the next epoch, not before: until this one is acknowledged the receiver
 * may still be reading the broken link's older copies.  Internal to migrate/.  docs/stream.md, Links. */
#ifndef MIGRATE_SENDER_H
#define MIGRATE_SENDER_H

#include "common/err.h"
#include "common/pageset.h"
#include "migrate/link.h"
#include "migrate/message.h"
#include "migrate/pages.h"
#include "migrate/sentpages.h"
#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

/* A frame of pages that the receiver has not said it has: where they were, as runs of PAGES_RUN bytes. */
struct sender_frame {
	uint16_t volume;
	uint32_t nruns;
	uint8_t *runs;
};

enum { SENDER_WINDOW = 1024 }; /* frames that may be on their way on one link; a power of two */

struct sender_link {
	struct sender *sender;
	uint32_t id;       /* in the session; 0 while a worker has none yet */
	struct link *link; /* NULL: not in the session; the control link is its owner's */
	struct pages_encoder *encoder;
	uint64_t frames;   /* PAGES sent since it joined */
	uint64_t received; /* of these, acknowledged */
	uint64_t told;     /* link_bytes_sent that are in the sender's sum */
	struct sender_frame window[SENDER_WINDOW];
	/* Of workers: */
	pthread_t thread;
	unsigned round;         /* the last one it took part in */
	uint64_t retry_ns;      /* not to be connected before */
	unsigned failures;      /* to make it, in a row */
	struct link *connected; /* and not in the session yet */
	struct ssh_attempt attempt;
};

/* What the sender needs of the session that it works for. */
struct sender_session {
	void *arg;
	/* connect: a link to the receiver, on which nothing is said yet; NULL with *err.  join: let it into the session; -1 with *err:
	 * ERR_REFUSED: that is over there.  Any thread; the attempt goes on until it is in, and is given up when the link is not
	 * wanted any more. */
	struct link *(*connect)(void *arg, struct ssh_attempt *attempt, struct err *err);
	int (*join)(void *arg, struct link *link, uint32_t id, struct err *err);
	/* tick: in the owner's thread now and then while a round lasts, between frames and while others work: -1 ends the round. */
	int (*tick)(void *arg, struct err *err);
};

/* RAM, or a disk. */
struct sender_volume {
	uint64_t base; /* of its pages among those of all volumes (sender.due); a multiple of 64 */
	struct pageset
	    todo; /* what this epoch still has to send; its owner's between rounds, the workers' in them */
	struct pageset again;       /* what links that broke had not been acknowledged: for the next epoch */
	struct pages_source source; /* its owner's between rounds */
	uint64_t cursor;            /* of pageset_claim */
	bool held;                  /* rounds leave it out; its owner's between them */
};

struct sender {
	struct sender_session session;
	struct sender_volume volume[STREAM_VOLUMES]; /* by their number in the stream: the first one is RAM */
	unsigned volumes;
	/* Where somebody keeps it beyond the sender's end: every page of any volume that the receiver is not known to have: those of todo and
	 * again, and those on their way.  words NULL: nobody does. */
	struct pageset due;
	struct sender_link *control; /* link[0] */
	struct sender_link link[STREAM_LINKS];
	unsigned links;   /* the control link included */
	uint32_t next_id; /* atomic */
	enum packer_mode packing;
	uint64_t bytes_per_s; /* 0: no limit */
	uint64_t paid_ns; /* atomic: until when the bytes sent so far were allowed to take, CLOCK_MONOTONIC */
	uint64_t bytes;   /* atomic: stream bytes of all links so far, also of those that broke */
	uint64_t epoch;   /* of this round */
	uint64_t pages;   /* atomic: sent in this epoch */
	uint64_t repeated;      /* atomic: pages that went into `again` */
	struct sentpages *sent; /* of RAM; NULL: no deltas */
	unsigned broken;        /* atomic: links that broke */

	pthread_mutex_t lock; /* and with it what follows, unless it is said to be atomic */
	pthread_cond_t change;
	unsigned round;
	bool session_there; /* links may join it */
	bool open;          /* workers may take part */
	unsigned busy;
	unsigned connecting;
	bool quit;
	bool stop;         /* atomic: leave the round */
	int stop_fd;       /* eventfd in every worker link's watches: readable when they shall stop */
	struct err failed; /* what no other link can mend; kind ERR_NONE if there is nothing */
	struct err note;   /* a worker's, which the user may want to know, and which ends nothing */
};

/* sender_open(sender, session, packing, err): no link and no volume yet.
 * sender_close: ends the workers, closes their links, gives up those that are still being made; harmless on a zeroed struct. */
int sender_open(struct sender *sender, const struct sender_session *session, enum packer_mode packing,
		struct err *err);
void sender_close(struct sender *sender);
/* sender_add_ram(sender, pages, ram_fd, err): RAM of so many pages is the first volume, before there is a control link: 0 or -1.
 * sender_add_disk(sender, pages, err): a disk of so many pages becomes the next volume; between rounds.  NULL with *err. */
int sender_add_ram(struct sender *sender, uint64_t pages, int ram_fd, struct err *err);
struct sender_volume *sender_add_disk(struct sender *sender, uint64_t pages, struct err *err);
/* sender_span(sender): how many pages `due` has to have room for.  sender_keep(sender, due): from now on it is kept; taken over; between rounds.
 * sender_keep_todo(sender, volume, first, count): what was put into its todo, of these pages, is due: to be called before whoever knows what
 * that was forgets it (rounds do it themselves); first is a multiple of 64.  sender_take_dirty(sender, dirty): its members, which leave it, are to do in RAM; no epoch is open.  sender_take_due(sender): all that is
 * due is to do: in place of a sender that died. */
uint64_t sender_span(const struct sender *sender);
void sender_keep(struct sender *sender, const struct pageset *due);
void sender_keep_todo(struct sender *sender, const struct sender_volume *volume, uint64_t first,
		      uint64_t count);
void sender_take_dirty(struct sender *sender, struct pageset *dirty);
void sender_take_due(struct sender *sender);
/* sender_send_deltas(sender, err): from now on RAM's pages that were sent before go as deltas; before the first round.
 * sender_end_deltas(sender): no more; between rounds; harmless if there were none. */
int sender_send_deltas(struct sender *sender, struct err *err);
void sender_end_deltas(struct sender *sender);
/* sender_todo, sender_again: pages in these sets, of all volumes.  sender_take_again(sender): what is to be sent again is to do. */
uint64_t sender_todo(const struct sender *sender);
uint64_t sender_again(const struct sender *sender);
void sender_take_again(struct sender *sender);

/* sender_set_control(sender, link, id): the control link, which must live as long as it is used here.  NULL: it broke; what
 * it had not been acknowledged goes into `again`. */
void sender_set_control(struct sender *sender, struct link *link, uint32_t id);
/* sender_take_id(sender): a number for a link that joins. */
uint32_t sender_take_id(struct sender *sender);
/* sender_skip_ids(sender): from now on numbers that no sender before this one took in the session. */
void sender_skip_ids(struct sender *sender);
/* sender_start_workers(sender, links, err): connect so many links in all, in the background, even before there is a control link;
 * from then on they join.  Those that cannot be had are done without, and tried again. */
int sender_start_workers(struct sender *sender, unsigned links, struct err *err);

/* sender_round(sender, epoch, err): send all of todo in this epoch, over whatever links there are.
 * 0: every todo is empty; what links that broke had in flight is in `again`.  -1: the control link broke (link_broken), or
 * nothing can go on; todo has what was not sent.  No worker uses a link or a set on return.  An epoch whose round failed
 * may be gone on with by another round. */
int sender_round(struct sender *sender, uint64_t epoch, struct err *err);
/* sender_seal(sender, seal): the links and frames for the epoch's SEAL. */
void sender_seal(struct sender *sender, struct message_seal *seal);
/* sender_seal_short(sender, seal): add a link that there never was, so that the receiver takes the epoch for one that lacks pages. */
void sender_seal_short(struct sender *sender, struct message_seal *seal);
/* sender_acked(sender, ack): the epoch that was sealed is acknowledged: nothing of it is sent again, except what the links
 * that the receiver lost had not been acknowledged. */
void sender_acked(struct sender *sender, const struct message_ack *ack);
/* sender_look(sender): further links that broke since they were last used are found out; between rounds. */
void sender_look(struct sender *sender);
/* sender_next(sender, timeout_ms, frame, err): the next message on the control link, RECEIVED aside; when none comes the link
 * is cut.  sender_await(sender, type, timeout_ms, frame, err): message_await in the same way. */
int sender_next(struct sender *sender, int timeout_ms, struct frame *frame, struct err *err);
int sender_await(struct sender *sender, enum message_type type, int timeout_ms, struct frame *frame,
		 struct err *err);
/* sender_stats(sender, stats): sums over all links. */
void sender_stats(const struct sender *sender, struct pages_stats *stats);
/* sender_note(sender, &note): what a worker had to say since the last call: true. */
bool sender_note(struct sender *sender, struct err *note);
unsigned sender_live_links(struct sender *sender);
/* sender_bytes(sender): on all links so far, messages of the control link included. */
uint64_t sender_bytes(struct sender *sender);

#endif
