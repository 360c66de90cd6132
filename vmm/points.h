/* points.h: recovery points: the snapshots of a store that came from a job's cycles, or that a job made for them (docs/replication.md). */
#ifndef VMM_POINTS_H
#define VMM_POINTS_H

#include "common/err.h"
#include "vmm/retention.h"
#include "vmm/snapshot_store.h"
#include <stddef.h>

/* points_prune(store, job, retention, &pruned, err): store open and locked, its volumes open nowhere for writing but by the VM process.
 * Points of that job which the retention does not keep are deleted; one that somebody else holds stays.  -1 with the first that could not
 * be deleted for another reason; *pruned: how many went. */
int points_prune(const struct snapshot_store *store, const char *job, const struct retention *retention,
		 size_t *pruned, struct err *err);
/* points_leave(store, job, id, err): of the job's only that one stays, on the host that makes them. */
int points_leave(const struct snapshot_store *store, const char *job, struct dvol_id id, struct err *err);

#endif
