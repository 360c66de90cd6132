/* random.h: random numbers of which every run can be had again. */
#ifndef TESTS_LIB_RANDOM_H
#define TESTS_LIB_RANDOM_H

#include <stdint.h>

/* random_begin(): the state of a new generator, seeded with $DROVER_TEST_SEED, or the time when it is not set;
 * prints the seed.  random_next(&state): the next 64 bits; each thread has a state of its own. */
uint64_t random_begin(void);
uint64_t random_next(uint64_t *state);

#endif
