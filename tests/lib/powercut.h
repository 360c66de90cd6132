/* powercut.h: what a power cut may leave of the files on a memdisk.  What was written to a file before its last completed
 * sync is there; of what came later any subset, in any order, torn between sectors.  All files are cut at one moment. */
#ifndef TESTS_LIB_POWERCUT_H
#define TESTS_LIB_POWERCUT_H

#include "tests/lib/memdisk.h"

struct powercut {
	struct memdisk disk;       /* what runs: its events are recorded */
	struct memdisk base;       /* as it was when the oldest recorded event came */
	struct memdisk cut;        /* the last state that powercut_make made */
	struct powercut *recovery; /* powercut_recovery's */
};

/* powercut_begin(pc): the disk as it is now is durable, and recorded from now on. */
void powercut_begin(struct powercut *pc);
/* powercut_settle(pc): forget the past up to each file's last sync: no later cut goes back behind it. */
void powercut_settle(struct powercut *pc);
/* powercut_make(pc, random): pc->cut becomes a state that a cut at some moment since the last settling may leave. */
void powercut_make(struct powercut *pc, uint64_t *random);
/* powercut_continue(pc): the machine comes up again with what is in pc->cut.  All of the disk's handles are closed. */
void powercut_continue(struct powercut *pc);
/* powercut_recovery(pc): another one, whose disk has begun with what is in pc->cut, to be cut while it recovers.  It is pc's. */
struct powercut *powercut_recovery(struct powercut *pc);
void powercut_free(struct powercut *pc);

#endif
