/* snapshot_restore.h: a stopped VM becomes what a snapshot of it is, or a new VM is made of one (docs/snapshots.md).  Starting it is the
 * caller's (spawn_restored). */
#ifndef VMM_SNAPSHOT_RESTORE_H
#define VMM_SNAPSHOT_RESTORE_H

#include "common/err.h"
#include "vmm/snapshot_store.h"
#include "vmm/snapshot_take.h"
#include <stdbool.h>

/* snapshot_restore_disks(store, record, keep, take, err): store open, VM stopped.  The heads of the record's disks become its epoch
 * again.  keep: what they are now, if that is in no snapshot, is closed as one of its own first: take->id tells (number 0: none
 * was needed); take->made_by is to be set.  Where this fails half-way, or is cut short, the next call, or snapshot_restore_finish,
 * goes on to the end. */
int snapshot_restore_disks(const struct snapshot_store *store, const struct snapshot_record *record,
			   bool keep, struct snapshot_take *take, struct err *err);

/* snapshot_restore_finish(vm, err): before a VM is started, or its disks are used otherwise: finish a restore of its disks that was cut
 * short.  0 also where there was none. */
int snapshot_restore_finish(const char *vm, struct err *err);
/* snapshot_restore_pending: whether such a one wants that snapshot. */
bool snapshot_restore_pending(const struct snapshot_store *store, struct dvol_id id);

/* snapshot_restore_as(store, record, config, err): config: a copy of the record's, with the new VM's name, and nets as they are to be.  Gets
 * a UUID of its own, and for each disk of the snapshot a clone in the new VM's folder; both VMs' files say so.  The definition is
 * saved.  On failure no new VM is left. */
int snapshot_restore_as(const struct snapshot_store *store, struct snapshot_record *record,
			struct vm_config *config, struct err *err);
/* snapshot_restore_undo(config): such a VM, which never ran, goes, with its clones. */
void snapshot_restore_undo(const struct vm_config *config);

#endif
