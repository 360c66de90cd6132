/* ports.h: where the ports of a VM's console devices are reached at the host: a UNIX stream socket each, in a folder of the
 * VM's own (common/paths.h).  For the VM process, which holds the VM's lock. */
#ifndef VMM_PORTS_H
#define VMM_PORTS_H

#include "common/err.h"

/* ports_listen(vm, port, err): a listening socket, close-on-exec and non-blocking, only for this user; what stands at its
 * path was left by an earlier process (vmm/leftovers.h).  -1 with *err. */
int ports_listen(const char *vm, const char *port, struct err *err);

#endif
