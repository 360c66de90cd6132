/* handover.h: the part of the VM process that decides where the guest may run.  Both ends of a move; docs/stream.md
 * says why it is safe.  All functions: main thread. */
#ifndef VMM_HANDOVER_H
#define VMM_HANDOVER_H

#include "common/err.h"
#include "common/pageset.h"
#include "vmm/console.h"
#include "vmm/ledger.h"
#include "vmm/machine.h"
#include <stdbool.h>
#include <stdint.h>

enum handover_phase {
	HANDOVER_NONE,      /* this host runs the VM, nobody moves it */
	HANDOVER_ATTACHED,  /* a mover copies it; the guest runs */
	HANDOVER_SWITCHING, /* intent recorded, guest paused; resumes here unless commit is allowed */
	HANDOVER_COMMITTED, /* commit allowed; a mover is finding out the outcome */
	HANDOVER_PENDING,   /* the same, but no mover is left */
	HANDOVER_INCOMING,  /* destination: the copy is being received */
	HANDOVER_PREPARED,  /* destination: complete; starts on commit */
	HANDOVER_LENDING,   /* the other host runs it and lacks memory, which a mover sends it from here */
	HANDOVER_STRANDED,  /* the same, but no mover is left */
	HANDOVER_RELEASED,  /* the other host runs it, or this copy was given up: the process ends */
};

/* How long a paused guest waits for its mover's next word. */
#define HANDOVER_LEASE_NS 5000000000ull

struct handover {
	enum handover_phase phase;
	struct machine *machine;
	struct console *console;
	struct ledger *ledger;
	uint64_t term;    /* under which this process runs, or will run, the VM */
	bool postcopy;    /* the other host will run it before it has all of its memory */
	bool user_paused; /* the user wants it paused: it stays so wherever it goes */
	bool tracking;
	uint64_t pages;       /* of RAM */
	struct pageset dirty; /* open while a mover is attached */
	uint64_t paused_ns;   /* CLOCK_MONOTONIC, when the guest was asked to stand still */
	uint64_t lease_end;   /* CLOCK_MONOTONIC; in phase SWITCHING */
	uint64_t keep_ns;     /* how long what a mover did is kept when it dies; 0: not at all */
	uint64_t
	    kept_until; /* CLOCK_MONOTONIC: it has died in phase ATTACHED or SWITCHING, and this is kept; 0: nothing is */
	bool ledger_due; /* handover_settle has something to write */
};

/* handover_init: phase NONE: the VM is this host's, under `term`; INCOMING: it is about to be received. */
void handover_init(struct handover *handover, struct machine *machine, uint64_t pages,
		   struct console *console, struct ledger *ledger, enum handover_phase phase, uint64_t term);

/* The source's steps, in order; each is refused in any other phase. */
int handover_attach(struct handover *handover, struct err *err);
int handover_track(struct handover *handover, struct err *err);
int handover_harvest(struct handover *handover, struct err *err);
int handover_throttle(struct handover *handover, unsigned percent, struct err *err);
/* handover_pause: record the intent, pause, harvest.  postcopy: memory will be needed from here after the start.  On failure the guest
 * runs on as before. */
int handover_pause(struct handover *handover, uint64_t next_term, const char *session, const char *peer,
		   bool postcopy, struct err *err);
int handover_save(struct handover *handover, struct buf *state, struct err *err);
/* handover_resume: the pause is taken back, phase ATTACHED: the guest runs on, tracked as before, the intent is withdrawn
 * (handover_settle), and a pause may follow. */
int handover_resume(struct handover *handover, struct err *err);
int handover_commit(struct handover *handover, struct err *err);
/* handover_outcome: started: recorded, phase RELEASED, or in post-copy LENDING; never: the guest resumes, phase NONE. */
int handover_outcome(struct handover *handover, bool started, struct err *err);
/* handover_lent: no memory is needed from here any more; phase RELEASED. */
int handover_lent(struct handover *handover, struct err *err);
/* handover_lends: the guest runs elsewhere, on memory that is here; never here again. */
bool handover_lends(const struct handover *handover);
/* handover_adopt: a new mover takes a hand-over on that is pending, or that lends. */
int handover_adopt(struct handover *handover, struct err *err);
/* handover_keep(handover, ns, err): when this mover dies before its move is committed, the guest is tracked for so long, that another
 * one may go on; 0: not any more.  handover_go_on: another one does.  handover_forget: nothing is kept (any longer); harmless in any phase. */
int handover_keep(struct handover *handover, uint64_t ns, struct err *err);
int handover_go_on(struct handover *handover, struct err *err);
void handover_forget(struct handover *handover);
/* handover_mover_gone: the mover's connection closed; harmless in any phase.  handover_leave: the same, and nothing is kept: the move is
 * over. */
void handover_mover_gone(struct handover *handover);
void handover_leave(struct handover *handover);
/* handover_tick(now): ends a lease that ran out: true if it did; and what is kept, when its time is over. */
bool handover_tick(struct handover *handover, uint64_t now_ns);

/* The destination's steps. */
int handover_load(struct handover *handover, const void *state, size_t len, struct err *err);
int handover_start(struct handover *handover, uint64_t term, const char *session, struct err *err);
/* handover_give_up: before start: record the refusal; phase RELEASED. */
int handover_give_up(struct handover *handover, struct err *err);
/* handover_answer(handover, uuid, term, session, &started): the outcome question put to this process.  May give the
 * copy up (phase RELEASED). */
int handover_answer(struct handover *handover, const char *uuid, uint64_t term, const char *session,
		    bool *started, struct err *err);

/* handover_settle: the ledger writes that need not delay an answer; call after answers are sent. */
void handover_settle(struct handover *handover);

/* handover_state_name: the word for `status`. */
const char *handover_state_name(const struct handover *handover);

#endif
