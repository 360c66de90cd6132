/* peer.h: other hosts under names of our own: <state>/peers/NAME.json, each replaced as a whole. */
#ifndef MIGRATE_PEER_H
#define MIGRATE_PEER_H

#include "common/err.h"
#include "migrate/ssh.h"
#include <stddef.h>

struct peer {
	char *name; /* as it was asked for: a peer's, or an ssh URL */
	char *url;
	char *identity;       /* NULL: the agent and the user's keys */
	char *known_hosts;    /* NULL: the user's */
	char *remote_command; /* NULL: PEER_COMMAND */
};

#define PEER_COMMAND "drover serve"

/* peer_find(word, peer, err): a peer's name, or an ssh URL, which then is all that is known.  0, or -1 with ERR_USAGE (neither
 * a URL nor a name), ERR_STATE (no peer of that name), ERR_INPUT (its file is damaged).  The caller frees with peer_free,
 * also after a failure. */
int peer_find(const char *word, struct peer *peer, struct err *err);
/* peer_override(peer, …): what is given counts instead of what is stored; NULL: nothing given.  Copied. */
void peer_override(struct peer *peer, const char *identity, const char *known_hosts,
		   const char *remote_command);
/* peer_target(peer, target, err): how to connect; borrows from peer. */
int peer_target(const struct peer *peer, struct ssh_target *target, struct err *err);
void peer_free(struct peer *peer);

/* peer_save: durable on return; peer_remove: ERR_STATE when there is none.  peer_list: the names, sorted; the caller frees
 * with names_free. */
int peer_save(const struct peer *peer, struct err *err);
int peer_remove(const char *name, struct err *err);
int peer_list(char ***names, size_t *count, struct err *err);

#endif
