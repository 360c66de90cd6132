/* preflight.h: is a host fit, before anything is sent to it? */
#ifndef MIGRATE_PREFLIGHT_H
#define MIGRATE_PREFLIGHT_H

#include "common/err.h"
#include "migrate/peer.h"
#include <jansson.h>
#include <stdint.h>

struct preflight {
	uint64_t connect_ns;  /* to the answer to HELLO */
	uint64_t rtt_ns;      /* of the link */
	uint64_t bytes_per_s; /* that one link carried, of data that does not compress */
	json_t *facts;        /* of the host (facts.h); an unread one's form is not to be trusted */
};

/* preflight_run(peer, preflight, err): connect, ask, measure for half a second at most.  0, or -1 with *err: not reachable, not
 * let in, no drover there, another version.  The caller frees with preflight_free, also after a failure. */
int preflight_run(const struct peer *peer, struct preflight *preflight, struct err *err);
void preflight_free(struct preflight *preflight);

#endif
