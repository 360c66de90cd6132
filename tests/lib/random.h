/* random.h: random numbers of which every run can be had again. */
#ifndef TESTS_LIB_RANDOM_H
#define TESTS_LIB_RANDOM_H

#include <stddef.h>
#include <stdint.h>

/* random_begin(): the state of a new generator, seeded with $DROVER_TEST_SEED, or the time when it is not set;
 * prints the seed.  random_next(&state): the next 64 bits; each thread has a state of its own. */
uint64_t random_begin(void);
uint64_t random_next(uint64_t *state);
/* random_below: 0 to limit - 1 (limit not 0).  random_fill: random bytes. */
uint64_t random_below(uint64_t *state, uint64_t limit);
void random_fill(uint64_t *state, void *data, size_t len);

#endif
