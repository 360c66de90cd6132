/* snapshot_disks.h: a disk's part in a snapshot: an epoch, held by a pin that names the VM.  By the volume's one writer: the
 * VM process, or a command while the VM is stopped. */
#ifndef VMM_SNAPSHOT_DISKS_H
#define VMM_SNAPSHOT_DISKS_H

#include "common/err.h"
#include "imagefmt/dvol.h"
#include "vmm/config.h"
#include <stdbool.h>
#include <stddef.h>

/* What the pins' names begin with. */
#define SNAPSHOT_PIN "snapshot of VM "

/* snapshot_disk_has: whether the volume has that epoch, which vol (any handle) can tell. */
int snapshot_disk_has(struct dvol *vol, struct dvol_id id, bool *has, struct err *err);
/* snapshot_disk_close(vol, id, vm, cut, err): dvol_epoch_close_cut, and the pin. */
int snapshot_disk_close(struct dvol *vol, struct dvol_id id, const char *vm, const struct dvol_cut *cut,
			struct err *err);
/* snapshot_disk_delete(vol, id, vm, err): without the pin, the epoch; one that is not there is no error.  ERR_STATE where somebody
 * else's pin is on it, or it is read: then its own pin stays too. */
int snapshot_disk_delete(struct dvol *vol, struct dvol_id id, const char *vm, struct err *err);

/* A stopped VM's disks, open for writing. */
struct snapshot_volumes {
	char *path[CONFIG_MAX_DEVICES]; /* borrowed */
	struct dvol *vol[CONFIG_MAX_DEVICES];
	size_t count;
};
/* snapshot_volumes_of(config, volumes): the paths of the volumes that the VM writes to, borrowed from config; none is opened.
 * snapshot_volumes_open: all or none.  snapshot_volumes_close(volumes, result, err): returns result; of a result 0 -1 with *err when a
 * close failed.  Harmless where none is open. */
void snapshot_volumes_of(const struct vm_config *config, struct snapshot_volumes *volumes);
int snapshot_volumes_open(struct snapshot_volumes *volumes, struct err *err);
int snapshot_volumes_close(struct snapshot_volumes *volumes, int result, struct err *err);

#endif
