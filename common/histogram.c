#include "common/histogram.h"

void histogram_add(struct histogram *histogram, uint64_t us)
{
	unsigned n = us ? 64 - (unsigned)__builtin_clzll(us) : 0;

	histogram->bucket[n < HISTOGRAM_BUCKETS ? n : HISTOGRAM_BUCKETS - 1]++;
	histogram->count++;
	if (us > histogram->max_us)
		histogram->max_us = us;
}

uint64_t histogram_percentile(const struct histogram *histogram, unsigned percent)
{
	/* Rounded up, without a product that could overflow. */
	uint64_t below = histogram->count - histogram->count / 100 * (100 - percent) -
			 histogram->count % 100 * (100 - percent) / 100;

	for (unsigned n = 0; n < HISTOGRAM_BUCKETS - 1 && histogram->count > 0; n++) {
		if (histogram->bucket[n] >= below)
			return 1ull << n < histogram->max_us ? 1ull << n : histogram->max_us;
		below -= histogram->bucket[n];
	}
	return histogram->max_us;
}
