/* mover.h: the sender's side of a move, shared by its phases: greeting (move.c), pre-copy (precopy.c), switch-over
 * (switchover.c) and the question how it ended (resolve.c).  Internal to migrate/. */
#ifndef MIGRATE_MOVER_H
#define MIGRATE_MOVER_H

#include "common/fault.h"
#include "common/pageset.h"
#include "migrate/answerer.h"
#include "migrate/kept.h"
#include "migrate/link.h"
#include "migrate/message.h"
#include "migrate/move.h"
#include "migrate/mover_disks.h"
#include "migrate/pages.h"
#include "migrate/peer.h"
#include "migrate/sender.h"
#include "vmm/config.h"
#include "vmm/control.h"

enum {
	MOVER_ANSWER_MS = 20000,    /* for the other host's answer to what needs no disk and no work */
	MOVER_VM_MS = 10000,        /* for the VM process's answer */
	MOVER_SWITCH_MS = 4000,     /* for PREPARED while the guest is paused: less than HANDOVER_LEASE_NS */
	MOVER_RETRY_NS = 500000000, /* between two tries to connect again */
	MOVER_STARTED_MS = 5000,    /* for STARTED, before it is asked for over a new connection */
};

struct mover_postcopy {
	bool on;              /* what is left after pre-copy goes over after the guest */
	bool whole;           /* the guest has all of its memory there */
	bool lost;            /* the guest ended there before it had all */
	struct pageset fresh; /* owed, and not known to be known there */
	struct answerer answerer;
};

struct mover {
	const struct move_options *options;
	const struct move_observer *observer;
	struct move_report *report;
	struct peer host;
	struct ssh_target target;       /* of host */
	struct buf command;             /* its text, where that is not the host's */
	char peer[LEDGER_PEER_MAX + 1]; /* its name or ssh URL, as recorded and shown */
	struct control vm;
	struct link *link; /* the control link; while pages are sent the sender uses it, too */
	struct sender sender;
	int timer_fd; /* wakes the link's waits, to look at the cancel flag and to show progress */

	struct vm_config config;
	uint64_t term; /* of the VM here; then the one it will have there */
	bool paused;   /* by the user */
	bool deltas;   /* the receiver takes them */
	json_t *cpu;   /* what the guest sees of its CPU */
	char session[LEDGER_SESSION_LEN + 1];

	int ram_fd;
	struct pageset dirty;
	struct mover_disks disks;
	uint64_t epoch;       /* the last one begun */
	uint64_t their_epoch; /* the last one that the receiver is known to have begun */
	bool epoch_open;      /* it is not acknowledged */
	uint64_t ack_ns;      /* shortest time from a seal to its acknowledgement so far; 0: none yet */
	uint64_t touched;     /* pages of RAM that were allocated at the start */
	/* What the round took so far, without the time in which there was no link: one that broke goes on with the rest. */
	struct {
		uint64_t ns, bytes;
	} taken;
	uint64_t started_ns;
	uint64_t copy_ns; /* when the first round began */
	/* Since when the first round goes over as many links as now, and what of it had been sent by then. */
	struct {
		unsigned links;
		uint64_t ns, pages;
	} pace;
	bool switching; /* the guest is paused, or may run there: who gives up says so at the right moment */
	bool committed; /* too late to cancel: the answer to COMMIT is awaited */

	struct mover_postcopy postcopy;
	struct kept kept;
	bool resumed; /* another mover has begun it, and the receiver is to say where it is */
	bool tracked; /* the VM process tracks what is written */
	bool listed;  /* all of RAM was to do once */

	struct move_progress progress;
	uint64_t progress_told_ns;
	uint64_t frames;    /* seen by the tick, in this epoch */
	uint64_t looked_ns; /* when the tick last looked around */
};

/* mover_open(mover, options, observer, report, err): checks the options, makes what needs no connection.
 * mover_close: closes all; the VM process then does what its phase asks for, and keeps nothing for another mover, but where kept.stays.
 * Harmless after a failed open.  mover_let_go: the VM process's part of that. */
int mover_open(struct mover *mover, const struct move_options *options, const struct move_observer *observer,
	       struct move_report *report, struct err *err);
void mover_close(struct mover *mover);
void mover_let_go(struct mover *mover);

/* mover_set_peer(mover, word, err): the other host: a peer's name, or an ssh URL; what the options say of it counts. */
int mover_set_peer(struct mover *mover, const char *word, struct err *err);
/* mover_connect(mover, err): SSH to the peer; HELLO is next.  A link that is open already is closed. */
int mover_connect(struct mover *mover, struct err *err);
/* mover_open_sender(mover, err): the sender, as the options say; without a link.  mover_add_ram: RAM, once the VM process has lent it,
 * becomes its first volume.  mover_send_deltas: it sends deltas, where both want that.
 * mover_start_workers: its further links, once the control link is made: they are connected, and join when the sender has it. */
int mover_open_sender(struct mover *mover, struct err *err);
int mover_add_ram(struct mover *mover, struct err *err);
int mover_send_deltas(struct mover *mover, struct err *err);
int mover_start_workers(struct mover *mover, struct err *err);
/* mover_pause_limit(options): how long the guest may stand still, in nanoseconds; UINT64_MAX: it goes over in any case. */
uint64_t mover_pause_limit(const struct move_options *options);
/* mover_join_requests: the answerer's (answerer_start). */
struct link *mover_join_requests(void *mover, uint32_t id, struct ssh_attempt *attempt, struct err *err);
/* mover_watch(mover, vm): while the link waits, notice cancellation, and the VM process's end or "cancel" if `vm`
 * (not while an answer of the VM process is outstanding). */
void mover_watch(struct mover *mover, bool vm);
/* mover_check_cancel: -1 with ERR_CANCELLED when the user wants to stop. */
int mover_check_cancel(struct mover *mover, struct err *err);
/* mover_wait(mover, ns, err): so long, but for cancellation, or the VM process's end (then -1). */
int mover_wait(struct mover *mover, uint64_t ns, struct err *err);
/* mover_find_vm(mover, err): connect to the VM's process, and learn who it is; nothing is disturbed.  mover_attach(mover, err):
 * become its mover: its death is noticed by the VM process from here on. */
int mover_find_vm(struct mover *mover, struct err *err);
/* mover_name_images(mover, status): the files that the VM only reads, by its process's status, are named behind the remote command: they are let
 * be read there, unless the key's own command is forced. */
void mover_name_images(struct mover *mover, const json_t *status);
int mover_attach(struct mover *mover, struct err *err);
/* mover_take_memory(mover, &ram_fd, &dirty_fd, err): the guest's RAM and the set of what it writes, of the VM process; what was taken over is -1. */
int mover_take_memory(struct mover *mover, int *ram_fd, int *dirty_fd, struct err *err);
/* mover_touched(mover, set, &count, err): add every page of RAM that has memory behind it; the others are zero. */
int mover_touched(const struct mover *mover, struct pageset *set, uint64_t *count, struct err *err);
/* mover_hello(mover, purpose, err): the HELLO message, and the answer if it is a refusal. */
json_t *mover_hello(const struct mover *mover, const char *purpose, struct err *err);

void mover_tell(struct mover *mover, enum move_phase phase); /* progress, rate-limited within a phase */
void mover_notice(struct mover *mover, const char *format, ...) __attribute__((format(printf, 2, 3)));
/* mover_tell_note(mover): what a worker has to say, and was not told yet. */
void mover_tell_note(struct mover *mover);
/* mover_call(mover, request, err): a request to the VM process that has an empty answer. */
int mover_call(struct mover *mover, json_t *request, struct err *err);
/* mover_ask: the same, with its answer (a new reference). */
int mover_ask(struct mover *mover, json_t *request, json_t **reply, struct err *err);

/* An epoch, in pieces.  mover_epoch_pages: begin it, and send what is to do (with what is to be sent again, all of the dirty
 * set, which is empty then, and, but in the last epoch, what changed on the disks); or go on with one whose link broke.  mover_epoch_more: what is to do
 * besides, in the same epoch.  mover_epoch_seal: its commit record, with so many bytes of machine state.  mover_epoch_acked: an ACK
 * of it came. */
int mover_epoch_pages(struct mover *mover, uint32_t flags, struct err *err);
int mover_epoch_more(struct mover *mover, struct err *err);
int mover_epoch_seal(struct mover *mover, uint64_t state_bytes, struct err *err);
int mover_epoch_acked(struct mover *mover, const struct frame *frame, struct err *err);
/* mover_epoch_begin: only begin it.  mover_epoch_ack: await the answer to the seal. */
int mover_epoch_begin(struct mover *mover, uint32_t flags, struct err *err);
int mover_epoch_ack(struct mover *mover, struct err *err);
/* mover_rejoin(mover, why, err): the control link broke because of `why`: connect again, for as long as the options allow.
 * -1 with *err: the move is over. */
int mover_rejoin(struct mover *mover, const struct err *why, struct err *err);
/* mover_rejoin_once: one try. */
int mover_rejoin_once(struct mover *mover, struct err *err);

/* resume_begin(mover, &begun, err): go on with the move that another mover began before it died, where that can be; begun false: it
 * cannot, the user knows why, and the mover is as mover_open made it. */
int resume_begin(struct mover *mover, bool *begun, struct err *err);

/* precopy_look(mover, pages, err): so many pages of the first round are sent: once that tells enough, fill the report's forecast. */
int precopy_look(struct mover *mover, uint64_t pages, struct err *err);
/* precopy_begin(mover, err): all of RAM that was ever touched is to be sent.  precopy_run(mover, err): rounds until it is time to
 * switch over; after a pause that was taken back once more. */
int precopy_begin(struct mover *mover, struct err *err);
int precopy_run(struct mover *mover, struct err *err);
/* switchover_run(mover, &moved, err): the last epoch and the hand-over.  0: the guest runs there; or, moved false, a link broke
 * in time, the guest runs on here, and pre-copy goes on. */
int switchover_run(struct mover *mover, bool *moved, struct err *err);

/* postcopy_prepare(mover, err): before the pause, if it is on: say what is owed.  postcopy_last: in the last epoch, instead of its pages. */
int postcopy_prepare(struct mover *mover, struct err *err);
int postcopy_last(struct mover *mover, struct err *err);
/* postcopy_finish(mover, err): the guest runs there: tell the VM process here, and send what is owed, until all is there.  -1: it is not, and
 * *err says whether the guest is down or `drover resolve` goes on.  postcopy_resume: the same in place of a mover that went. */
int postcopy_finish(struct mover *mover, struct err *err);
int postcopy_resume(struct mover *mover, struct err *err);
/* resolve_once(mover, &started, &owed, err): ask once. */
int resolve_once(struct mover *mover, bool *started, uint64_t *owed, struct err *err);
/* resolve_ask(mover, &started, err): ask over new connections until there is an answer, the user cancels or a minute
 * is over (then -1). */
int resolve_ask(struct mover *mover, bool *started, struct err *err);
/* resolve_tell(mover, started, err): tell the VM process the outcome. */
int resolve_tell(struct mover *mover, bool started, struct err *err);

#endif
