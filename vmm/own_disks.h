/* own_disks.h: the disks that drover itself made for a VM, in its folder: clones, and copies that came from another host. */
#ifndef VMM_OWN_DISKS_H
#define VMM_OWN_DISKS_H

#include "common/err.h"
#include "common/paths.h"
#include <stddef.h>

/* own_disks_path(vm, slot, path, err): where the disk in that slot is, or would be. */
int own_disks_path(const char *vm, unsigned slot, char path[PATHS_MAX], struct err *err);
/* own_disks_check(vm, err): ERR_STATE when one of them is open somewhere, or pinned for anybody but the VM's own snapshots.
 * own_disks_remove(vm, &count, err): all of them, and their folder; how many there were.  One that others have open stays theirs
 * until they close it.  A VM that does not run. */
int own_disks_check(const char *vm, struct err *err);
int own_disks_remove(const char *vm, size_t *count, struct err *err);

#endif
