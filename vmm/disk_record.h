/* disk_record.h: where this host has, or had, the disks of a VM: <state>/vms/NAME/disks.json, written when a VM process is made and
 * kept when the VM has gone, so that a move back here finds the copies that are already there. */
#ifndef VMM_DISK_RECORD_H
#define VMM_DISK_RECORD_H

#include "common/err.h"
#include "common/paths.h"
#include "vmm/config.h"

/* disk_record_save(config, err): of the VM's disks; a VM without any leaves what is there.  Costs a read where nothing
 * has changed.  Whole and durable, or as it was. */
int disk_record_save(const struct vm_config *config, struct err *err);
/* disk_record_find(name, uuid, slot, path): where the volume in that slot, to which this very VM writes, is, or was; false: not known.
 * disk_record_reads(name, uuid, path): this very VM had that file here as a disk that it only reads. */
bool disk_record_find(const char *name, const char *uuid, unsigned slot, char path[PATHS_MAX]);
bool disk_record_reads(const char *name, const char *uuid, const char *path);

#endif
