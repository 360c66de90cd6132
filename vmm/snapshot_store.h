/* snapshot_store.h: the snapshots that this host keeps of a VM: <state>/vms/NAME/snapshots/ (docs/snapshots.md).
 *
 * A record TERM.EPOCH.json is what makes a snapshot; what has none does not exist.  Beside it TERM.EPOCH.begun lists the
 * disks which may have the epoch, from before the first has it until there is a record, and again while it is being deleted:
 * by it the next command removes what was left. */
#ifndef VMM_SNAPSHOT_STORE_H
#define VMM_SNAPSHOT_STORE_H

#include "common/buf.h"
#include "common/err.h"
#include "common/paths.h"
#include "vmm/config.h"
#include "vmm/snapshot_record.h"
#include <stdbool.h>
#include <stddef.h>

struct snapshot_store {
	char vm[CONFIG_NAME_MAX + 1];
	char folder[PATHS_MAX];
	int lock_fd; /* -1: not locked */
};

/* snapshot_store_open(store, vm, err): the store, made if need be, and its lock: whoever changes it is alone.  ERR_STATE while somebody
 * else does.  snapshot_store_look: to read, without the lock, also where there is none.  snapshot_store_close: harmless on a
 * store that was not opened, with lock_fd -1. */
int snapshot_store_open(struct snapshot_store *store, const char *vm, struct err *err);
int snapshot_store_look(struct snapshot_store *store, const char *vm, struct err *err);
void snapshot_store_close(struct snapshot_store *store);

/* Files in it: path[PATHS_MAX].  suffix: "json", "state", "begun". */
int snapshot_store_path(const struct snapshot_store *store, struct dvol_id id, const char *suffix,
			char path[PATHS_MAX], struct err *err);
int snapshot_store_ram(const struct snapshot_store *store, char path[PATHS_MAX], struct err *err);
/* snapshot_store_ids(store, suffix, list, count, err): of all files with that suffix, rising; the caller frees. */
int snapshot_store_ids(const struct snapshot_store *store, const char *suffix, struct dvol_id **list,
		       size_t *count, struct err *err);
int snapshot_id_compare(struct dvol_id a, struct dvol_id b);

/* snapshot_store_load(store, id, record, err): ERR_STATE when there is none of that id (0: the newest), ERR_INPUT when it is damaged.  The
 * caller frees the record.  snapshot_store_save: durable on return; on failure what was there stays. */
int snapshot_store_load(const struct snapshot_store *store, struct dvol_id id, struct snapshot_record *record,
			struct err *err);
int snapshot_store_save(const struct snapshot_store *store, const struct snapshot_record *record,
			struct err *err);
/* snapshot_store_load_state(store, record, state, err): the machine state of a record with RAM, checked against it. */
int snapshot_store_load_state(const struct snapshot_store *store, const struct snapshot_record *record,
			      struct buf *state, struct err *err);

/* snapshot_store_begin(store, id, disks, count, err): id.begun, durable.  snapshot_store_done: there is a record, or nothing is left. */
int snapshot_store_begin(const struct snapshot_store *store, struct dvol_id id, char *const *disks,
			 size_t count, struct err *err);
int snapshot_store_done(const struct snapshot_store *store, struct dvol_id id, struct err *err);
/* snapshot_store_begun: the disks of id.begun, of which there is one; the caller frees (snapshot_disks_free). */
int snapshot_store_begun(const struct snapshot_store *store, struct dvol_id id, char ***disks, size_t *count,
			 struct err *err);

#endif
