/* serve_outcome.h: the destination's answer to "how did that hand-over end?" (docs/stream.md). */
#ifndef MIGRATE_SERVE_OUTCOME_H
#define MIGRATE_SERVE_OUTCOME_H

#include "common/err.h"
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* serve_outcome(name, uuid, term, session, &started, &owed, detail, cap, err): asks the VM process if one lives, else
 * decides from the ledger under the VM's lock and records the promise first.  owed: pages of RAM that a VM process which runs the
 * guest still lacks.  detail: a sentence for the user.
 * -1 with ERR_STATE when the VM's process holds the lock but gives no answer: to be asked again. */
int serve_outcome(const char *name, const char *uuid, uint64_t term, const char *session, bool *started,
		  uint64_t *owed, char *detail, size_t cap, struct err *err);

#endif
