/* jail_impl.h: the parts of jail_enter. */
#ifndef VMM_JAIL_IMPL_H
#define VMM_JAIL_IMPL_H

#include "common/err.h"
#include <sys/types.h>

/* jail_id_take(id, err): a user id that nobody on this host has and no running VM took.  It stays this process's while the
 * descriptor that is returned is open.  -1 with *err.  For root. */
int jail_id_take(uid_t *id, struct err *err);

/* jail_filter(err): from now on only the system calls of a running VM, for this and all later threads. */
int jail_filter(struct err *err);

#endif
