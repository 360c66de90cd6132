/* fault.h: failures on demand, at named points.
 *
 * $DROVER_FAULT holds "point=action[,point=action…]"; the first time that a process passes the point the action
 * is taken, once.  Without the variable a point costs one load and a branch that is never taken.
 *   kill     the process ends itself with SIGKILL, as the OOM killer would end it
 *   stop     it stops itself (SIGSTOP), as a hung host would look; no effect in a VM process that is the first of its pid
 *            namespace: such a one can be stopped only from outside
 *   error    fault_point returns true: the caller fails this step as if the system had refused it
 *   cut      fault_point returns true, and fault_is_cut() too: the caller drops its connection
 * $DROVER_FAULT_TRACE names a file to which the name of a point is appended before its action is taken; it is opened by
 * fault_open.
 * Every point there is stands in the list below: tests walk it. */
#ifndef COMMON_FAULT_H
#define COMMON_FAULT_H

#include <stdbool.h>

/* X(identifier, "name", process that passes it) */
/* clang-format off */
#define FAULT_POINTS(X)                                                                                       \
	X(MOVER_CONNECTED, "mover.connected")             /* SSH is up, nothing was said */                       \
	X(MOVER_HELLO_SENT, "mover.hello-sent")           /* the destination may be preparing */                  \
	X(MOVER_ACCEPTED, "mover.accepted")               /* it accepted; the guest is not tracked yet */         \
	X(MOVER_ATTACHED, "mover.attached")               /* dirty tracking is on */                              \
	X(MOVER_ROUND_MIDDLE, "mover.round-middle")       /* some pages of the first round are sent */            \
	X(MOVER_ROUND_ACKED, "mover.round-acked")         /* the first round is acknowledged */                   \
	X(MOVER_PAUSED, "mover.paused")                   /* the guest is paused for the last epoch */            \
	X(MOVER_FINAL_PAGES, "mover.final-pages")         /* its last pages are sent */                           \
	X(MOVER_STATE_SENT, "mover.state-sent")           /* machine state and commit record are sent */          \
	X(MOVER_PREPARED, "mover.prepared")               /* the destination said "prepared" */                   \
	X(MOVER_COMMIT_ALLOWED, "mover.commit-allowed")   /* the source may not resume on its own from here */    \
	X(MOVER_COMMIT_SENT, "mover.commit-sent")         /* commit is on its way */                              \
	X(MOVER_STARTED, "mover.started")                 /* the destination said "started" */                    \
	X(MOVER_OUTCOME_TOLD, "mover.outcome-told")       /* the source VM process knows */                       \
	X(SOURCE_ATTACHED, "source.attached")             /* source VM process: a mover is attached */            \
	X(SOURCE_PAUSED, "source.paused")                 /* guest paused, intent recorded */                     \
	X(SOURCE_STATE_SAVED, "source.state-saved")       /* machine state handed to the mover */                 \
	X(SOURCE_COMMIT_ALLOWED, "source.commit-allowed") /* before it answers "you may commit" */                \
	X(SOURCE_RELEASED, "source.released")             /* it learnt "started", before it ends */               \
	X(SERVE_HELLO, "serve.hello")                     /* hello is read, nothing was made */                   \
	X(SERVE_VM_SPAWNED, "serve.vm-spawned")           /* destination VM process runs, not yet accepted */     \
	X(SERVE_ACCEPTED, "serve.accepted")               /* accept is sent */                                    \
	X(SERVE_ROUND_MIDDLE, "serve.round-middle")       /* some pages of the first round are applied */         \
	X(SERVE_ROUND_ACK, "serve.round-ack")             /* before the first acknowledgement */                  \
	X(SERVE_STATE, "serve.state")                     /* machine state is received, not yet loaded */         \
	X(SERVE_PREPARED, "serve.prepared")               /* destination VM is prepared, the source not told */   \
	X(SERVE_COMMIT, "serve.commit")                   /* commit is read, the VM process not told */           \
	X(SERVE_STARTED, "serve.started")                 /* the guest runs, the source not told */               \
	X(SERVE_STARTED_SENT, "serve.started-sent")       /* the source is being told */                          \
	X(DEST_PROMISED, "dest.promised")                 /* destination VM process: the term is on disk */       \
	X(DEST_MACHINE, "dest.machine")                   /* the machine is made around the received RAM */       \
	X(DEST_STATE_LOADED, "dest.state-loaded")         /* before it says "prepared" */                         \
	X(DEST_COMMIT, "dest.commit")                     /* commit is read, the guest not yet started */         \
	X(DEST_RUNNING, "dest.running")                   /* the guest runs, serve not told */                    \
	X(DISKS_SEEDED, "disks.seeded")                   /* mover: the epoch that is of disks alone is acknowledged */ \
	X(DISKS_CUT, "disks.cut")                         /* source VM process: is about to close an epoch */     \
	X(DISKS_CLOSED, "disks.closed")                   /* serve: the last epoch is closed, the volumes not yet */ \
	X(DISKS_HANDED, "disks.handed")                   /* serve: the volumes are closed, nobody has them */    \
	X(DISKS_ATTACHED, "disks.attached")               /* destination VM process: has opened them */           \
	X(SNAPSHOT_BEGUN, "snapshot.begun")               /* its list of disks is written, nothing closed */      \
	X(SNAPSHOT_BOUNDARY, "snapshot.boundary")         /* the VM process has answered, the guest runs on */    \
	X(SNAPSHOT_MIDDLE, "snapshot.middle")             /* some of RAM is copied */                             \
	X(SNAPSHOT_COPIED, "snapshot.copied")             /* all of it, its epoch not closed */                   \
	X(SNAPSHOT_ENDED, "snapshot.ended")               /* RAM's epoch is closed, the VM process told */        \
	X(SNAPSHOT_STATE, "snapshot.state")               /* the machine state is written, no record yet */       \
	X(SNAPSHOT_RECORDED, "snapshot.recorded")         /* the record is written */                             \
	X(SNAPSHOT_DELETING, "snapshot.deleting")         /* delete: the record is gone, the epochs are there */  \
	X(SNAPSHOT_HALF_DELETED, "snapshot.half-deleted") /* delete: RAM's epoch is gone, those of disks not */   \
	X(RESTORE_MARKED, "restore.marked")               /* it is on record what disks become; none is yet */    \
	X(RESTORE_HALF, "restore.half")                   /* the first disk is reverted */                        \
	X(RESTORE_DONE, "restore.done")                   /* all are, and it is still on record */                \
	X(POSTCOPY_MOVER_OWED, "postcopy-mover.owed")     /* what is owed is acknowledged, the guest runs here */     \
	X(POSTCOPY_MOVER_LENDING, "postcopy-mover.lending") /* the source knows that it runs there */                 \
	X(POSTCOPY_MOVER_MIDDLE, "postcopy-mover.middle") /* some owed pages are sent */                              \
	X(POSTCOPY_MOVER_WHOLE, "postcopy-mover.whole")   /* all is there, the source not told */                     \
	X(POSTCOPY_SOURCE_LENDING, "postcopy-source.lending") /* the source has recorded it, the mover not told */    \
	X(POSTCOPY_SERVE_OWED, "postcopy-serve.owed")     /* what is owed has become holes */                         \
	X(POSTCOPY_SERVE_REQUEST, "postcopy-serve.request") /* a page that the guest waits for is asked for */        \
	X(POSTCOPY_SERVE_MIDDLE, "postcopy-serve.middle") /* some owed pages are placed */                            \
	X(POSTCOPY_SERVE_WHOLE, "postcopy-serve.whole")   /* all is there, nobody told */                             \
	X(POSTCOPY_SERVE_TOLD, "postcopy-serve.told")     /* the VM process knows, the mover does not */              \
	X(POSTCOPY_DEST_WATCHED, "postcopy-dest.watched") /* the VM process's RAM is watched, serve not told */       \
	X(POSTCOPY_DEST_WHOLE, "postcopy-dest.whole")     /* it is not any more */                                    \
	X(COMPARE_MIDDLE, "compare.middle")               /* mover: a part of a disk is compared with the copy there */ \
	X(POINT_CUT, "point.cut")                         /* job: the snapshot to send is made */                     \
	X(POINT_READY, "point.ready")                     /* job: the other host has its copies ready */              \
	X(POINT_SENT, "point.sent")                       /* job: all is sealed, not acknowledged */                  \
	X(POINT_ACKED, "point.acked")                     /* job: it is, and nobody knows here */                     \
	X(POINT_BEGUN, "point.begun")                     /* serve: all has come, no epoch is closed */               \
	X(POINT_CLOSED, "point.closed")                   /* serve: the epochs are closed, no record yet */           \
	X(POINT_RECORDED, "point.recorded")               /* serve: the record is written, nobody told */             \
	X(VM_USERFAULTFD, "vm.userfaultfd")               /* a VM process is about to watch the guest's RAM */
/* clang-format on */

enum fault_point_id {
#define FAULT_ID(id, name) FAULT_##id,
	FAULT_POINTS(FAULT_ID)
#undef FAULT_ID
	    FAULT_COUNT
};

/* fault_open(): read $DROVER_FAULT (main threads, once, early).  An unknown point or action, or a point named
 * twice, ends the process with status 2 and a line on stderr: a test that injects nothing must not pass. */
void fault_open(void);
/* fault_point(id): see above; false unless an `error` or `cut` is due here and now.  Any thread; of several
 * that pass at once one takes the action. */
extern bool fault_armed; /* for fault_point alone: $DROVER_FAULT names something */
bool fault_due(enum fault_point_id id);
static inline bool fault_point(enum fault_point_id id)
{
	return __builtin_expect(fault_armed, false) && fault_due(id);
}
/* fault_is_cut(): the last fault that fired in this process was a cut. */
bool fault_is_cut(void);
const char *fault_name(enum fault_point_id id);

#endif
