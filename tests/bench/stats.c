#include "tests/bench/stats.h"
#include <stdlib.h>
#include <string.h>

void stats_add(struct stats *stats, double value)
{
	if (stats->count < STATS_MAX)
		stats->values[stats->count++] = value;
}

static int compare(const void *a, const void *b)
{
	double left = *(const double *)a;
	double right = *(const double *)b;

	return (left > right) - (left < right);
}

double stats_median(const struct stats *stats)
{
	double sorted[STATS_MAX];
	size_t middle = stats->count / 2;

	if (stats->count == 0)
		return 0;
	memcpy(sorted, stats->values, stats->count * sizeof(sorted[0]));
	qsort(sorted, stats->count, sizeof(sorted[0]), compare);
	return stats->count % 2 ? sorted[middle] : (sorted[middle - 1] + sorted[middle]) / 2;
}

double stats_min(const struct stats *stats)
{
	double best = stats->count ? stats->values[0] : 0;

	for (size_t i = 1; i < stats->count; i++)
		best = stats->values[i] < best ? stats->values[i] : best;
	return best;
}

double stats_max(const struct stats *stats)
{
	double best = stats->count ? stats->values[0] : 0;

	for (size_t i = 1; i < stats->count; i++)
		best = stats->values[i] > best ? stats->values[i] : best;
	return best;
}
