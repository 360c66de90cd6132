#include "pattern.h"

#define GROUPS      8
#define GROUP_WORDS (PATTERN_WORDS / GROUPS)
#define LANE_WORDS  8 /* random words made at a time */

typedef uint64_t pair __attribute__((vector_size(16)));

static uint64_t seed_key;
static unsigned marks;
static unsigned random_words[GROUPS];

/* The finaliser of SplitMix64: every bit of x changes half of the result. */
static uint64_t mix(uint64_t x)
{
	x += 0x9e3779b97f4a7c15;
	x = (x ^ x >> 30) * 0xbf58476d1ce4e5b9;
	x = (x ^ x >> 27) * 0x94d049bb133111eb;
	return x ^ x >> 31;
}

void pattern_init(uint64_t seed, unsigned compress, unsigned words)
{
	unsigned random = PATTERN_WORDS * (100 - compress) / 100;

	seed_key = mix(seed);
	marks = words;
	for (unsigned i = 0; i < GROUPS; i++)
		random_words[i] = random * (i + 1) / GROUPS - random * i / GROUPS;
}

static void mark(uint64_t *words, uint64_t key, uint32_t version)
{
	uint64_t value = mix(key + version + 1);

	for (unsigned i = 0; i < marks; i++) {
		unsigned part = PATTERN_WORDS / marks;

		words[i * part + ((key >> 8 * (i % 8)) & (part - 1))] = value;
		value = (value << 23 | value >> 41) + key;
	}
}

void pattern_mark(uint64_t *words, uint64_t page, uint32_t version)
{
	mark(words, mix(seed_key ^ page), version);
}

/* Eight xorshift generators side by side, in vectors, since the compiler cannot know that they are
 * independent. */
static void base(uint64_t *out, uint64_t key)
{
	pair lane[LANE_WORDS / 2];
	pair record = {key & 0x0000fffffffffff8, key >> 56 | 1};

	for (unsigned i = 0; i < LANE_WORDS / 2; i++)
		lane[i] = (pair){mix(key + 2 * i) | 1, mix(key + 2 * i + 1) | 1};
	for (unsigned g = 0; g < GROUPS; g++) {
		pair *group = (pair *)(out + g * GROUP_WORDS);
		unsigned at = 0;

		for (; at < random_words[g] / 2; at += LANE_WORDS / 2) {
			for (unsigned i = 0; i < LANE_WORDS / 2; i++) {
				lane[i] ^= lane[i] << 13;
				lane[i] ^= lane[i] >> 7;
				lane[i] ^= lane[i] << 17;
				group[at + i] = lane[i];
			}
		}
		for (at = random_words[g] / 2; at < GROUP_WORDS / 2; at++)
			group[at] = record;
	}
}

void pattern_page(uint64_t *out, uint64_t page, uint32_t version)
{
	uint64_t key = mix(seed_key ^ page);

	base(out, key);
	mark(out, key, version);
}
