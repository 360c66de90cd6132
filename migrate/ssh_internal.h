/* ssh_internal.h: the parts of the SSH client; inside migrate/ only.  All of them use libssh's blocking mode, with
 * the connect timeout on every step. */
#ifndef MIGRATE_SSH_INTERNAL_H
#define MIGRATE_SSH_INTERNAL_H

#include "common/err.h"
#include "migrate/ssh.h"
#include <libssh/libssh.h>
#include <stdint.h>

/* ssh_attempt_socket(attempt, fd): the attempt goes on on this socket, which stays the caller's; one that was given up ends it at
 * once.  Harmless on NULL. */
void ssh_attempt_socket(struct ssh_attempt *attempt, int fd);

/* ssh_tcp_connect(host, port, timeout_ms, attempt, err): try each address that the name has; a non-blocking socket with
 * TCP_NODELAY and keepalive, owned by the caller, or -1 with *err (ERR_LINK). */
int ssh_tcp_connect(const char *host, unsigned port, unsigned timeout_ms, struct ssh_attempt *attempt,
		    struct err *err);

/* ssh_check_host_key(session, name, err): 0 only when the key that the connected host showed is in the known hosts
 * for it and is revoked nowhere in them.  Else -1 with *err (ERR_LINK): fingerprint and remedy.  Nothing is asked
 * and nothing is written. */
int ssh_check_host_key(ssh_session session, const char *name, struct err *err);

/* ssh_authenticate(session, target, name, err): with target->identity alone if it is given, else with the agent and
 * the keys that the configuration names.  0, or -1 with *err (ERR_LINK: what was tried, what the host would take). */
int ssh_authenticate(ssh_session session, const struct ssh_target *target, const char *name, struct err *err);

#endif
