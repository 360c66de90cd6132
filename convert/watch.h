/* watch.h: whoever waits for something long asks here, several times a second, whether to go on. */
#ifndef CONVERT_WATCH_H
#define CONVERT_WATCH_H

#include "common/err.h"
#include "imagefmt/dvol.h"
#include <stdint.h>

enum { WATCH_MS = 100 }; /* how long one may wait without asking */

struct watch {
	dvol_progress *tick; /* NULL: always go on */
	void *context;
	uint64_t done_bytes, total_bytes;
};

/* watch_go_on(watch, err): 0, or -1 with ERR_CANCELLED. */
static inline int watch_go_on(const struct watch *watch, struct err *err)
{
	if (!watch->tick || watch->tick(watch->context, watch->done_bytes, watch->total_bytes))
		return 0;
	return err_set(err, ERR_CANCELLED, "cancelled");
}

#endif
