/* preflight.h: is a host fit, before anything is sent to it? */
#ifndef MIGRATE_PREFLIGHT_H
#define MIGRATE_PREFLIGHT_H

#include "common/err.h"
#include "migrate/peer.h"
#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

/* What is asked for. */
struct preflight_ask {
	unsigned links;        /* measured together; 0: as many as a move would use */
	const char *vm, *uuid; /* a VM that may go there; NULL: none */
	bool only_ask;         /* nothing is measured */
};

struct preflight {
	uint64_t connect_ns;  /* to the answer to HELLO */
	uint64_t rtt_ns;      /* of the link */
	unsigned links;       /* that were measured */
	uint64_t bytes_per_s; /* that all of these carried together, of data that does not compress */
	json_t *facts;        /* of the host (facts.h); an unread one's form is not to be trusted */
	json_t *there;        /* what it says of the VM (docs/stream.md), as little trusted; NULL: nothing */
};

/* preflight_run(peer, ask, preflight, err): connect, ask, measure for half a second at most.  0, or -1 with *err: not reachable, not
 * let in, no drover there, another version.  Further links that cannot be had are done without.  The caller frees with
 * preflight_free, also after a failure. */
int preflight_run(const struct peer *peer, const struct preflight_ask *ask, struct preflight *preflight,
		  struct err *err);
void preflight_free(struct preflight *preflight);

/* preflight_links(chosen, rtt_ns): how many links a move uses when its user chose so many (0: none): one carries at most what the SSH
 * channel's window, 2 MiB, lets through in a round trip, and uses one CPU at each end. */
unsigned preflight_links(unsigned chosen, uint64_t rtt_ns);

#endif
