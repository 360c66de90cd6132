/* random.c: random numbers of which every run can be had again (xorshift). */
#include "tests/lib/random.h"
#include "tests/lib/test.h"

#include <stdlib.h>
#include <string.h>
#include <time.h>

uint64_t random_seed(void)
{
	const char *wanted = getenv("DROVER_TEST_SEED");
	uint64_t seed = wanted ? strtoull(wanted, NULL, 10) : (uint64_t)time(NULL);

	print_message("DROVER_TEST_SEED=%llu\n", (unsigned long long)seed);
	return seed;
}

uint64_t random_from(uint64_t seed)
{
	uint64_t state = seed * 0x9e3779b97f4a7c15 | 1; /* spread over all bits; never 0, which stays 0 */

	/* The first numbers of neighbouring seeds are alike. */
	for (int i = 0; i < 16; i++)
		random_next(&state);
	return state;
}

uint64_t random_begin(void)
{
	return random_from(random_seed());
}

uint64_t random_next(uint64_t *state)
{
	*state ^= *state << 13;
	*state ^= *state >> 7;
	*state ^= *state << 17;
	return *state;
}

uint64_t random_below(uint64_t *state, uint64_t limit)
{
	return random_next(state) % limit;
}

void random_fill(uint64_t *state, void *data, size_t len)
{
	uint8_t *to = data;

	while (len > 0) {
		uint64_t value = random_next(state);
		size_t n = len < sizeof(value) ? len : sizeof(value);

		memcpy(to, &value, n);
		to += n;
		len -= n;
	}
}
