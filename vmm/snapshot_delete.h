/* snapshot_delete.h: snapshots go: those that somebody wants to delete, and what was left of those that were never finished. */
#ifndef VMM_SNAPSHOT_DELETE_H
#define VMM_SNAPSHOT_DELETE_H

#include "common/err.h"
#include "vmm/snapshot_store.h"

/* Both: store open; while the VM runs its process deletes the epochs of its disks.
 * snapshot_clean: what has no record, all of it.  -1 with the first thing that could not be removed; it stays on record for
 * the next call.
 * snapshot_delete_one: ERR_STATE, and nothing changed, while a VM that was made of it needs it, or a pin of somebody else's holds a
 * disk's epoch.  After any other failure the snapshot is gone, and what is left of it as for snapshot_clean. */
int snapshot_clean(const struct snapshot_store *store, struct err *err);
int snapshot_delete_one(const struct snapshot_store *store, struct dvol_id id, struct err *err);
/* snapshot_delete_all(vm, count, err): all of a VM's that does not run, and the store itself; *count: how many there were.  0 also
 * where there is no store; on failure it is there still. */
int snapshot_delete_all(const char *vm, size_t *count, struct err *err);

#endif
