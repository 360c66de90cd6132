/* pager.h: a restored guest's RAM comes from a closed epoch of a volume while the guest runs already: first what it touches, the
 * rest in the background.  Threads of its own; they touch neither the machine nor its locks. */
#ifndef VMM_PAGER_H
#define VMM_PAGER_H

#include "common/err.h"
#include "imagefmt/dvol.h"
#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

struct pager {
	struct dvol *volume; /* NULL: there is nothing to do */
	uint8_t *base;       /* RAM, as this process has it mapped */
	uint64_t bytes;
	int uffd;    /* -1: there is none */
	int stop_fd; /* eventfd: the threads return */
	int done_fd; /* eventfd: all of RAM is there, or failed */
	bool stop;   /* atomic */
	bool failed; /* atomic; err is set */
	struct err err;
	pthread_t answerer, filler;
	bool has_answerer, has_filler;
};

/* pager_start(pager, path, id, base, bytes, ram_fd, device, lazy, err): RAM, of which nothing was touched yet and which has the
 * epoch's size or less, is the epoch's from the return on.  device: uffd_device's.
 * *lazy false: there is no userfaultfd (pager->err says why), all was read before the return.  Else done_fd becomes
 * readable when all of it has come, or when a page cannot be read: pager->failed, and who waits for that page waits for ever, so
 * that nobody takes zeroes for it: the process must end without a word to the guest, which the pager sees to itself after
 * PAGER_GRACE_S. */
enum { PAGER_GRACE_S = 5 };
int pager_start(struct pager *pager, const char *path, struct dvol_id id, void *base, uint64_t bytes,
		int device, bool *lazy, struct err *err);
/* pager_stop: the threads end, and what is still missing stays zeroes: once all is there, or when nobody will touch RAM any
 * more.  Harmless on a zeroed struct. */
void pager_stop(struct pager *pager);
bool pager_has_failed(const struct pager *pager);

#endif
