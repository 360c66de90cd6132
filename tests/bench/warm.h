/* warm.h: memory that is really there.
 *
 * Where the machine is itself virtual, its free memory may have gone back to the host (balloon, free page
 * reporting), and the first use of each page then costs a fault out of the machine: filling 1 GiB takes 0.6 s or
 * 3 s, depending on how long ago somebody used these pages.  So the benchmark touches what a run will need and
 * lets go of it right before it is needed; the kernel hands out first what was freed last.  Elsewhere this does
 * nothing. */
#ifndef BENCH_WARM_H
#define BENCH_WARM_H

#include <stddef.h>

struct warm {
	void *base;
	size_t len;
};

/* warm_hold(warm, mib): touch that much memory and hold it; holds nothing where the machine has not twice as
 * much free.  warm_release(warm, mib): let go of so much of it, at most all. */
void warm_hold(struct warm *warm, unsigned mib);
void warm_release(struct warm *warm, unsigned mib);

#endif
