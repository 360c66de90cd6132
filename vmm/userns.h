/* userns.h: user namespaces in which a user is nobody else. */
#ifndef VMM_USERNS_H
#define VMM_USERNS_H

#include <sys/types.h>

/* userns_map_self(uid, gid): right after this process came into a user namespace of its own: the ids that it had before are
 * what it has there, and there are no others.  0, or -1 with errno.  Calls nothing that is unsafe after a fork. */
int userns_map_self(uid_t uid, gid_t gid);

#endif
