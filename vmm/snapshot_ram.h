/* snapshot_ram.h: RAM as it was at the boundary, into a volume, while the guest writes on: the client's end of the userfaultfd.
 *
 * Two threads: the caller's goes through the pages that had memory behind them, and lifts the protection of those that it has
 * read; the other one answers the guest's faults: it copies the page, and lifts its protection.  What was copied for faults
 * waits in SNAPSHOT_FAULTS pages of memory at most; when they are full the guest waits for the volume. */
#ifndef VMM_SNAPSHOT_RAM_H
#define VMM_SNAPSHOT_RAM_H

#include "common/err.h"
#include "imagefmt/dvol.h"
#include <stdint.h>

enum { SNAPSHOT_FAULTS = 2048 };

struct snapshot_ram {
	int ram_fd;
	int uffd;      /* -1: the guest stands still */
	uint64_t base; /* of RAM in the guest's process, for uffd */
	uint64_t bytes;
	const uint8_t *touched; /* machine_touched_ram's pairs, checked here */
	size_t touched_len;
	dvol_progress *tick; /* may be NULL; false: ERR_CANCELLED */
	void *tick_context;

	/* What was done. */
	uint64_t copied_bytes;  /* read */
	uint64_t written_bytes; /* of these, what the volume did not hold already */
	uint64_t faults;        /* pages for which the guest waited */
};

/* snapshot_ram_copy(ram, vol, err): the head of vol becomes RAM as it was: vol is at least as large, and what it holds already is not
 * written again.  The guest is not protected any longer where this returns 0; after a failure the caller closes the uffd, which lifts
 * the rest. */
int snapshot_ram_copy(struct snapshot_ram *ram, struct dvol *vol, struct err *err);

#endif
