/* serve.h: the receiving end: `drover serve`, started by sshd on a standby host. */
#ifndef MIGRATE_SERVE_H
#define MIGRATE_SERVE_H

#include "common/err.h"
#include "migrate/permit.h"

/* serve_run(in, out, err): one session of the epoch stream (docs/stream.md) on the two descriptors, until it
 * ends. Nothing else may write to `out`.  Returns 0 when the session did what it was opened for (a guest was
 * started, a question answered), else -1 with *err, which the other side was told where that was possible.
 * SIGPIPE must be ignored.  permit: what may be asked for; anything else is refused. */
int serve_run(int in, int out, const struct permit *permit, struct err *err);
/* serve_supersede(name, uuid): a session on this host that receives that VM, or points of it, shall end; returns when it has, or after a
 * while. */
void serve_supersede(const char *name, const char *uuid);

#endif
