/* ledger.h: what a host has promised about a VM, on disk before it matters.
 *
 * (term, epoch) orders all states of a VM that can be legitimate; a hand-over begins a new term.  The ledger
 * is the file that makes "at most one running copy" survive a crash of this host or of any process on it:
 *
 *   running      this host runs the VM under `term`
 *   intent       this host runs it under `term`, or has allowed `peer` to start it under `next_term`: only
 * the peer knows (session tells it which attempt is meant) handed-over  `peer` runs it under `term`; this
 * host must not incoming     a received copy is being made here for `term`; it may start only on commit
 *   refused      this host will never start the VM under a term up to `term`
 *   stopped      it ended here under `term`; nothing runs
 *   standby      points of it are kept here for a primary that runs it under `term`, the highest that this host has seen; it does not
 * run here until a failover takes a higher one.  next_term: what this host has promised besides not to start it under
 *
 * One file of two 512-byte slots written in turn (the older one is overwritten, then synced), each with a
 * sequence number and a checksum: a torn write leaves the other slot, and writing costs one fdatasync without
 * a journal commit.  Only the holder of the VM's lock writes. */
#ifndef VMM_LEDGER_H
#define VMM_LEDGER_H

#include "common/err.h"
#include "vmm/config.h"
#include <stdbool.h>
#include <stdint.h>

enum ledger_state {
	LEDGER_NONE = 0, /* no file, or an empty one */
	LEDGER_RUNNING,
	LEDGER_INTENT,
	LEDGER_HANDED_OVER,
	LEDGER_INCOMING,
	LEDGER_REFUSED,
	LEDGER_STOPPED,
	LEDGER_STANDBY,
};

enum { LEDGER_SESSION_LEN = 32, LEDGER_PEER_MAX = 255 };

struct ledger_record {
	enum ledger_state state;
	char uuid[CONFIG_UUID_LEN + 1];
	uint64_t term;
	uint64_t next_term; /* intent and standby only, else 0 */
	uint64_t ran_term; /* the highest term under which this VM (uuid) ran on this host; 0: it never did */
	char session[LEDGER_SESSION_LEN + 1]; /* hex; which hand-over attempt; "" where none */
	char peer[LEDGER_PEER_MAX + 1];       /* ssh URL of the other host; "" where unknown */
};

struct ledger {
	int dir_fd;
	int lock_fd; /* holds the lock */
	int fd;
	uint64_t sequence;
	struct ledger_record now;
};

/* ledger_open(ledger, name, err): make the VM's folder if need be, take its lock and read the record.
 * Fails with ERR_STATE when another process holds the lock (its VM lives), ERR_INPUT when both slots are
 * damaged.  ledger_close drops the lock (so does the death of the process). */
int ledger_open(struct ledger *ledger, const char *name, struct err *err);
void ledger_close(struct ledger *ledger);

/* ledger_write(ledger, record, err): durable on return.  On failure the old record still holds. */
int ledger_write(struct ledger *ledger, const struct ledger_record *record, struct err *err);

/* ledger_peek(name, record, locked, err): read without the lock (for list and status).  *locked: a VM process
 * lives.  A VM that this host does not know gives LEDGER_NONE. */
int ledger_peek(const char *name, struct ledger_record *record, bool *locked, struct err *err);
/* ledger_peek_settled: the same; but a process that holds the lock while nobody listens on its control socket is about to
 * begin, or was killed and is not all gone yet: that is waited for, 2 s at most. */
int ledger_peek_settled(const char *name, struct ledger_record *record, bool *locked, struct err *err);

/* ledger_bury(record, err): before a record is dropped (`drover forget`, or the name's use by another VM): keep what it
 * says about a VM that ran here on behalf of another host, which may still ask about it: in <state>/forgotten/UUID,
 * durable on return.  Does nothing for a record that nobody can ask about.
 * ledger_buried(uuid, record, err): that record, LEDGER_NONE when there is none. */
int ledger_bury(const struct ledger_record *record, struct err *err);
int ledger_buried(const char *uuid, struct ledger_record *record, struct err *err);

const char *ledger_state_name(enum ledger_state state);

/* ledger_outcome(record, uuid, term, session, promise): how hand-over attempt `session`, which was to start
 * the VM here under `term`, ended, where no VM process lives (the caller holds the lock).  Returns true for
 * "started". False is "never": *promise is then what must be on disk before it is said, or LEDGER_NONE when
 * what is there rules it out already.  A guest that started under that very attempt and died since, without
 * having been stopped or handed on, counts as never: its RAM is gone here, and the asker still holds it.
 * Pure. */
bool ledger_outcome(const struct ledger_record *record, const char *uuid, uint64_t term, const char *session,
		    struct ledger_record *promise);
/* ledger_start_term(record, uuid): the term under which this host may start the VM by itself: the one under which it ran here
 * last, or one above all that this host has promised not to use.  Never lower than before: who asks about a hand-over, and
 * who holds an epoch, tells by it what is older.  1 for a VM that this host does not know.  Pure. */
uint64_t ledger_start_term(const struct ledger_record *record, const char *uuid);
/* ledger_may_receive(record, name, uuid, term, err): a copy of VM uuid may be received here, to run under
 * `term`, given what this host has promised.  0, or -1 with ERR_REFUSED and the remedy.  Pure. */
int ledger_may_receive(const struct ledger_record *record, const char *name, const char *uuid, uint64_t term,
		       struct err *err);
/* ledger_may_keep(record, name, uuid, term, err): points of VM uuid, which another host runs under `term`, may be kept here, given what
 * this host has seen: 0, or -1 with ERR_REFUSED: a VM that went over to here, or to a third host, under that term or a later one, is not what the
 * sender runs.  ledger_standby(record, uuid, term, peer): the record of a host that does.  Both pure. */
int ledger_may_keep(const struct ledger_record *record, const char *name, const char *uuid, uint64_t term,
		    struct err *err);
struct ledger_record ledger_standby(const struct ledger_record *record, const char *uuid, uint64_t term,
				    const char *peer);
/* ledger_promised_term(record, uuid): the highest term that this host has promised or used for the VM; 0:
 * none. */
uint64_t ledger_promised_term(const struct ledger_record *record, const char *uuid);

#endif
