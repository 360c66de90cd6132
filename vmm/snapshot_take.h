/* snapshot_take.h: making a snapshot (docs/snapshots.md): what `drover snapshot` does, as a client of the VM process, or with the
 * disks of a stopped VM. */
#ifndef VMM_SNAPSHOT_TAKE_H
#define VMM_SNAPSHOT_TAKE_H

#include "common/err.h"
#include "vmm/snapshot_disks.h"
#include "vmm/snapshot_store.h"
#include <stdbool.h>
#include <stdint.h>

struct snapshot_take {
	bool disks_only;
	const char *made_by;
	struct snapshot_point point; /* is false: it is nobody's */
	dvol_progress
	    *tick; /* of RAM, while it is copied; may be NULL; false: ERR_CANCELLED, and nothing is left */
	void *tick_context;
	/* standing: called when the guest stands still while its RAM is copied: why.  May be NULL. */
	void (*standing)(void *context, const char *why);

	/* What was made. */
	struct dvol_id id;
	bool ram;
	size_t disks;
	uint64_t paused_ns; /* how long the guest stood still; 0: not for the snapshot */
	uint64_t copied_bytes, written_bytes, faults;
};

/* snapshot_take_running(store, take, err): store open, its VM running or paused, which it is afterwards too, whatever happens.
 * snapshot_take_stopped(store, config, volumes, note, take, err): the volumes, which are open, as they are: only disks; *note may be "". */
int snapshot_take_running(const struct snapshot_store *store, struct snapshot_take *take, struct err *err);
int snapshot_take_stopped(const struct snapshot_store *store, const struct vm_config *config,
			  const struct snapshot_volumes *volumes, const char *note,
			  struct snapshot_take *take, struct err *err);

#endif
