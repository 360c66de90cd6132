/* test_packer.c: blocks packed and unpacked again; which codec is taken; what an unpacker does with garbage. */
#include "migrate/packer.h"
#include "tests/lib/random.h"
#include "tests/lib/test.h"

#include <stdlib.h>
#include <string.h>

enum { ZSTD_BIT = 1 << 30 };

/* Words of a small vocabulary: as compressible as text. */
static void fill_text(uint8_t *block, size_t len)
{
	uint64_t random = random_from(7);

	for (size_t i = 0; i < len; i += 8) {
		uint64_t word = random_below(&random, 512) * 0x9e3779b97f4a7c15ull;

		memcpy(block + i, &word, 8);
	}
}

static void unpacks_to(const uint8_t *packed, size_t packed_len, const uint8_t *block, size_t len)
{
	static uint8_t back[PACKER_BLOCK];
	struct unpacker *unpacker = unpacker_open();
	struct reader reader = reader_of(packed, packed_len);

	assert_null(unpacker_take(unpacker, &reader, back, len));
	assert_int_equal(reader.left, 0);
	assert_memory_equal(back, block, len);
	unpacker_close(unpacker);
}

static void every_codec_gives_back_what_it_took(void **state)
{
	static const size_t lengths[] = {4096, 8192, 61440, PACKER_BLOCK};
	static uint8_t block[PACKER_BLOCK], packed[PACKER_BLOCK + PACKER_HEAD];

	(void)state;
	fill_text(block, sizeof(block));
	for (enum packer_mode mode = PACKER_AUTO; mode <= PACKER_ZSTD; mode++) {
		struct packer *packer = packer_open(mode);

		for (size_t i = 0; i < sizeof(lengths) / sizeof(lengths[0]); i++) {
			size_t len = packer_pack(packer, block, lengths[i], packed);

			if (mode == PACKER_NONE) {
				assert_int_equal(len, 0);
				len = packer_store(block, lengths[i], packed);
			}
			assert_in_range(len, 1, lengths[i] + PACKER_HEAD);
			unpacks_to(packed, len, block, lengths[i]);
		}
		packer_close(packer);
	}
}

static void noise_is_not_packed(void **state)
{
	static uint8_t block[PACKER_BLOCK], packed[PACKER_BLOCK + PACKER_HEAD];
	uint64_t random = random_from(1);

	(void)state;
	random_fill(&random, block, sizeof(block));
	for (enum packer_mode mode = PACKER_AUTO; mode <= PACKER_ZSTD; mode++) {
		struct packer *packer = packer_open(mode);

		for (int i = 0; i < 100; i++)
			assert_int_equal(packer_pack(packer, block, sizeof(block), packed), 0);
		packer_close(packer);
	}
}

/* How many of 1000 blocks went as they are, and with zstd. */
static void count(struct packer *packer, const uint8_t *block, unsigned *stored, unsigned *zstd)
{
	static uint8_t packed[PACKER_BLOCK + PACKER_HEAD];

	*stored = *zstd = 0;
	for (int i = 0; i < 1000; i++) {
		size_t len = packer_pack(packer, block, PACKER_BLOCK, packed);

		*stored += len == 0;
		*zstd += len > 0 && (le32_get(packed) & ZSTD_BIT);
	}
}

static void the_link_decides(void **state)
{
	static uint8_t block[PACKER_BLOCK];
	struct packer *packer = packer_open(PACKER_AUTO);
	unsigned stored, zstd;

	(void)state;
	fill_text(block, sizeof(block));
	packer_link(packer, 1); /* takes no time: packing cannot pay */
	count(packer, block, &stored, &zstd);
	count(packer, block, &stored, &zstd);
	assert_true(stored > 800);
	packer_link(packer, 1000000000); /* 1 MiB a second: the smallest pays */
	count(packer, block, &stored, &zstd);
	count(packer, block, &stored, &zstd);
	assert_true(zstd > 800);
	packer_close(packer);
}

static void garbage_is_refused(void **state)
{
	static uint8_t packed[PACKER_BLOCK + PACKER_HEAD], block[PACKER_BLOCK], back[PACKER_BLOCK];
	struct unpacker *unpacker = unpacker_open();
	struct packer *packer = packer_open(PACKER_ZSTD);
	uint64_t random = random_from(3);
	size_t len;

	(void)state;
	fill_text(block, sizeof(block));
	len = packer_pack(packer, block, sizeof(block), packed);
	for (int i = 0; i < 2000; i++) {
		uint8_t copy[sizeof(packed)];
		struct reader reader;

		memcpy(copy, packed, len);
		for (int j = 0; j < 3; j++)
			copy[random_below(&random, len)] ^= (uint8_t)(1 + random_below(&random, 255));
		/* Some damage decodes to something; none may leave the buffers (sanitizers watch). */
		reader = reader_of(copy, random_below(&random, 2) ? len : random_below(&random, len));
		(void)unpacker_take(unpacker, &reader, back, sizeof(back));
	}
	le32_put(packed, 0xc0000000u | 16);
	assert_non_null(
	    unpacker_take(unpacker, &(struct reader){.at = packed, .left = len}, back, sizeof(back)));
	le32_put(packed, 0x80000000u | 4096);
	assert_non_null(unpacker_take(unpacker, &(struct reader){.at = packed, .left = len}, back, 8192));
	le32_put(packed, PACKER_BLOCK + 1);
	assert_non_null(
	    unpacker_take(unpacker, &(struct reader){.at = packed, .left = len}, back, sizeof(back)));
	packer_close(packer);
	unpacker_close(unpacker);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(every_codec_gives_back_what_it_took),
	    cmocka_unit_test(noise_is_not_packed),
	    cmocka_unit_test(the_link_decides),
	    cmocka_unit_test(garbage_is_refused),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
