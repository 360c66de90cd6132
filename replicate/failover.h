/* failover.h: a standby takes a VM over, with nothing else alive (docs/replication.md, Failover). */
#ifndef REPLICATE_FAILOVER_H
#define REPLICATE_FAILOVER_H

#include "common/err.h"
#include "vmm/config.h"
#include "vmm/snapshot_record.h"
#include <stddef.h>
#include <stdint.h>

struct failover {
	uint64_t term;                 /* under which the VM runs from now on */
	struct snapshot_record record; /* of the point that it goes on from; the caller frees it */
	uint64_t age_ns;               /* of that point, by this host's clock */
	size_t later;                  /* points that are newer, and left behind */
};

/* failover_take(vm, point, failover, err): the VM, of which this host has points, is its own from now on, under a new term, and its disks are
 * as they were at `point` (number 0: the newest).  Starting it is the caller's.  Cut short after the new term is durable, the same call goes
 * on.  The VM's lock is free on return. */
int failover_take(const char *vm, struct dvol_id point, struct failover *failover, struct err *err);

#endif
