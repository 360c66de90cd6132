#include "migrate/delta.h"

#include <stdbool.h>
#include <string.h>
#include <xxhash.h>

static uint32_t digest_of(const uint8_t *page, unsigned block, uint64_t seed)
{
	return (uint32_t)XXH3_64bits_withSeed(page + (size_t)block * DELTA_BLOCK, DELTA_BLOCK, seed);
}

void delta_digest(const uint8_t *page, uint64_t seed, uint32_t digest[DELTA_BLOCKS])
{
	for (unsigned i = 0; i < DELTA_BLOCKS; i++)
		digest[i] = digest_of(page, i, seed);
}

uint64_t delta_update(uint32_t digest[DELTA_BLOCKS], const uint8_t *page, uint64_t seed)
{
	uint64_t changed = 0;

	for (unsigned i = 0; i < DELTA_BLOCKS; i++) {
		uint32_t now = digest_of(page, i, seed);

		changed |= (uint64_t)(now != digest[i]) << i;
		digest[i] = now;
	}
	return changed;
}

size_t delta_put(const uint8_t *page, uint64_t blocks, uint8_t *to)
{
	uint8_t *at = to + DELTA_HEAD;

	le64_put(to, XXH3_64bits(page, DELTA_PAGE));
	le64_put(to + 8, blocks);
	for (; blocks; blocks &= blocks - 1, at += DELTA_BLOCK)
		memcpy(at, page + (size_t)__builtin_ctzll(blocks) * DELTA_BLOCK, DELTA_BLOCK);
	return (size_t)(at - to);
}

static bool sum_is(const uint8_t *page, uint64_t sum)
{
#ifdef FUZZING_BUILD_MODE_UNSAFE_FOR_PRODUCTION
	(void)page, (void)sum;
	return true; /* a fuzzer's changes must get past it */
#else
	return XXH3_64bits(page, DELTA_PAGE) == sum;
#endif
}

enum delta_result delta_take(struct reader *reader, uint8_t *page)
{
	uint64_t sum = reader_u64(reader), blocks = reader_u64(reader);

	for (; blocks; blocks &= blocks - 1) {
		const void *block = reader_bytes(reader, DELTA_BLOCK);

		if (!block)
			return DELTA_BAD;
		memcpy(page + (size_t)__builtin_ctzll(blocks) * DELTA_BLOCK, block, DELTA_BLOCK);
	}
	if (reader->bad)
		return DELTA_BAD;
	return sum_is(page, sum) ? DELTA_DONE : DELTA_OTHER;
}
