/* prng.h: reproducible randomness for tests: the seed is printed, and $DROVER_TEST_SEED repeats a run. */
#ifndef TESTS_LIB_PRNG_H
#define TESTS_LIB_PRNG_H

#include <stddef.h>
#include <stdint.h>

struct prng {
	uint64_t state;
};

/* prng_open(): from $DROVER_TEST_SEED, else from the clock; prints the seed on stderr. */
struct prng prng_open(const char *test);
uint64_t prng_next(struct prng *prng);
uint64_t prng_below(struct prng *prng, uint64_t limit); /* 0 .. limit-1; limit not 0 */
void prng_fill(struct prng *prng, void *data, size_t len);

#endif
