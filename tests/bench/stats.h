/* stats.h: what a handful of repeated measurements say. */
#ifndef BENCH_STATS_H
#define BENCH_STATS_H

#include <stddef.h>

enum { STATS_MAX = 64 };

struct stats {
	double values[STATS_MAX];
	size_t count;
};

/* stats_add: the value is dropped when there are STATS_MAX already.  stats_median (the mean of the two in the
 * middle for an even count), stats_min, stats_max: 0 when there is none. */
void stats_add(struct stats *stats, double value);
double stats_median(const struct stats *stats);
double stats_min(const struct stats *stats);
double stats_max(const struct stats *stats);

#endif
