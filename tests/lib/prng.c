/* prng.c: see prng.h.  (splitmix64: every 64-bit state is a good one.) */
#include "tests/lib/prng.h"

#include "common/io.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct prng prng_open(const char *test)
{
	const char *given = getenv("DROVER_TEST_SEED");
	uint64_t seed = given ? strtoull(given, NULL, 0) : clock_real_ns();

	fprintf(stderr, "%s: DROVER_TEST_SEED=%#llx\n", test, (unsigned long long)seed);
	return (struct prng){seed};
}

uint64_t prng_next(struct prng *prng)
{
	uint64_t z = prng->state += 0x9e3779b97f4a7c15;

	z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9;
	z = (z ^ z >> 27) * 0x94d049bb133111eb;
	return z ^ z >> 31;
}

uint64_t prng_below(struct prng *prng, uint64_t limit)
{
	return prng_next(prng) % limit;
}

void prng_fill(struct prng *prng, void *data, size_t len)
{
	uint8_t *to = data;

	while (len > 0) {
		uint64_t value = prng_next(prng);
		size_t n = len < sizeof(value) ? len : sizeof(value);

		memcpy(to, &value, n);
		to += n;
		len -= n;
	}
}
