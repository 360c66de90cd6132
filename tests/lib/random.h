/* random.h: random numbers of which every run can be had again. */
#ifndef TESTS_LIB_RANDOM_H
#define TESTS_LIB_RANDOM_H

#include <stddef.h>
#include <stdint.h>

/* random_seed(): the seed of this run: $DROVER_TEST_SEED, or the time when it is not set; prints it.  random_from(seed): the
 * state of a new generator; random_begin(): the same with random_seed().  random_next(&state): the next 64 bits; each
 * thread has a state of its own. */
uint64_t random_seed(void);
uint64_t random_from(uint64_t seed);
uint64_t random_begin(void);
uint64_t random_next(uint64_t *state);
/* random_below: 0 to limit - 1 (limit not 0).  random_fill: random bytes. */
uint64_t random_below(uint64_t *state, uint64_t limit);
void random_fill(uint64_t *state, void *data, size_t len);

#endif
