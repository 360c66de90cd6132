/* postcopy.h: a guest that runs here before all of its RAM has come from the host that it ran on (docs/stream.md, Post-copy).
 *
 * Serve fills RAM, through the userfaultfd that this process makes and keeps, too: should serve die, whoever waits for a page goes
 * on waiting, and gets no other in its place.  Main thread, unless stated. */
#ifndef VMM_POSTCOPY_H
#define VMM_POSTCOPY_H

#include "common/err.h"
#include "common/pageset.h"
#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

struct postcopy {
	bool on; /* RAM is watched: pages of it may be missing */
	uint8_t *base;
	uint64_t bytes;
	int uffd;
	struct pageset owed; /* what is missing; serve's */
	/* A thread that ends the process soon after serve is gone, in case the main thread waits for a page itself. */
	pthread_t guard;
	bool guarded;
	int parent_fd;
	int stop_fd;
};

/* postcopy_begin(postcopy, base, bytes, device, owed_fd, parent_fd, err): watch RAM, which nobody in this process touches yet.  device:
 * uffd_device's; owed_fd: the set of missing pages, dup'ed; parent_fd: serve's socket, dup'ed.  postcopy->uffd is then to be sent to
 * serve.  On failure there is nothing left of it. */
int postcopy_begin(struct postcopy *postcopy, void *base, uint64_t bytes, int device, int owed_fd,
		   int parent_fd, struct err *err);
/* postcopy_end: nothing is missing, or nobody will touch RAM any more.  Harmless on a zeroed struct. */
void postcopy_end(struct postcopy *postcopy);
/* postcopy_left(postcopy): pages that are missing. */
uint64_t postcopy_left(const struct postcopy *postcopy);
/* postcopy_lost: what is to be said when serve is gone. */
extern const char postcopy_lost[];

#endif
