/* fence.h: a host that comes back must not start a VM which a standby has taken over meanwhile (docs/replication.md, The old primary). */
#ifndef REPLICATE_FENCE_H
#define REPLICATE_FENCE_H

#include "common/err.h"

/* fence_check(vm, uuid, note, err): before this host starts a VM of its own: the hosts that its jobs send points to are asked under which term it
 * ran there.  -1 with ERR_STATE: one has taken it over; this host is a standby from now on, also on disk.  0: none says so.  note(sentence): a
 * host that could not be asked, which is no reason not to start. */
int fence_check(const char *vm, const char *uuid, void (*note)(const char *sentence), struct err *err);

#endif
