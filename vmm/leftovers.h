/* leftovers.h: what a VM process leaves behind, which has no file system any more when it ends. */
#ifndef VMM_LEFTOVERS_H
#define VMM_LEFTOVERS_H

#include "common/err.h"

/* leftovers_sockets(name): remove the sockets of a VM that has no process.  The caller holds the VM's lock. */
void leftovers_sockets(const char *name);

/* leftovers_remove(name): the same for a VM whose process has ended or failed to start; and of one that this host did not
 * know before, and that never was, the folder too.  Does nothing where a process holds the VM's lock. */
void leftovers_remove(const char *name);

#endif
