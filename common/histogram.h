/* histogram.h: how long something took, many times: power-of-two buckets of microseconds. */
#ifndef COMMON_HISTOGRAM_H
#define COMMON_HISTOGRAM_H

#include <stdint.h>

enum { HISTOGRAM_BUCKETS = 32 };

/* Zeroed: empty.  Not synchronised. */
struct histogram {
	uint64_t count;
	uint64_t max_us;
	uint64_t bucket
	    [HISTOGRAM_BUCKETS]; /* n: those under 2^n us that are in none before; the last one: all others */
};

void histogram_add(struct histogram *histogram, uint64_t us);
/* histogram_percentile(histogram, percent): the upper bound, in us, of the bucket in which the so many percent lowest end, but no more
 * than the largest; 0 when it is empty. */
uint64_t histogram_percentile(const struct histogram *histogram, unsigned percent);

#endif
