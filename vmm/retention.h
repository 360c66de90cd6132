/* retention.h: which recovery points stay.  Pure.  docs/replication.md, Retention. */
#ifndef VMM_RETENTION_H
#define VMM_RETENTION_H

#include "common/err.h"
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { RETENTION_RULES = 8, RETENTION_COUNT_MAX = 100000, RETENTION_TEXT = 160 };

/* The newest point in each of the newest `count` spans of time that have any. */
struct retention_rule {
	uint32_t count;
	uint64_t span_s;
};

struct retention {
	bool all; /* without rules */
	unsigned rules;
	struct retention_rule rule[RETENTION_RULES];
};

/* A point as retention sees it. */
struct retention_point {
	uint64_t taken_ns; /* the boundary, by the primary's clock since 1970 */
	bool held;         /* somebody needs it: a pin, a failover */
	bool verified;     /* read again, and found equal to the primary */
	bool keep;         /* the answer */
};

/* retention_parse(text, retention, err): "all", or "12x5m,24x1h,7x1d": COUNTxSPAN, the span in s, m, h, d or w.
 * -1 with *err (ERR_USAGE).  retention_format(retention, text): what gives the same again. */
int retention_parse(const char *text, struct retention *retention, struct err *err);
const char *retention_format(const struct retention *retention, char text[RETENTION_TEXT]);

/* retention_choose(retention, points, n): the points in the order of their epochs, oldest first; sets keep.  Whatever the clock did, the
 * newest point stays, the newest verified one, and those that are held; where the clock went back, points of the
 * same span count as one, the newer epoch of them. */
void retention_choose(const struct retention *retention, struct retention_point *points, size_t n);

#endif
