/* packer.c: which codec pays.
 *
 * For each codec the packer keeps what a block took and what was left of it, of late.  Sending costs what the link takes for
 * a byte; so each codec has a cost for the next block, and the cheapest one has it.  Now and then another one is tried, so
 * that its numbers stay true when the content or the link changes: a block in EXPLORE, which bounds what being wrong costs.
 *
 * After a block that nothing shrank, one page of the next is tried with lz4 first: content that does not compress comes in
 * long stretches, and giving up early is most of the gain there.
 *
 * lz4 and zstd both look back at most over the block, since a block must be readable by itself; 64 KiB is all that lz4
 * looks back anyhow, and up to there it uses a smaller table, which makes it 1.4 times faster than over more. */
#include "migrate/packer.h"

#include "common/io.h"
#include <lz4.h>
#include <stdlib.h>
#include <string.h>
#include <zstd.h>

#define STORED   0x80000000u
#define ZSTD     0x40000000u
#define LEN_MASK 0x3fffffffu

enum {
	ACCELERATION = 2,
	MIN_GAIN = 32, /* a block must shrink by 1/32 at least to be worth unpacking */
	PROBE = 4096,  /* bytes tried of a block that probably does not shrink */
	EXPLORE = 32,
	SMOOTH = 8, /* the newest measurement counts for 1/8 */
};

enum codec { NONE, LZ4, ZSTD_FAST, ZSTD_BEST, CODECS };
static const int zstd_level[CODECS] = {[ZSTD_FAST] = -1, [ZSTD_BEST] = 1};

const char *const packer_modes[] = {"auto", "none", "lz4", "zstd", NULL};

struct packer {
	enum packer_mode mode;
	uint64_t mib_ns;
	/* Of a whole block, of late; 0: never tried. */
	uint64_t took_ns[CODECS];
	uint64_t left[CODECS];
	unsigned blocks;   /* since the packer was made */
	unsigned explored; /* the codec tried last out of turn */
	bool hard;         /* the last block did not shrink */
	void *lz4;
	ZSTD_CCtx *zstd;
	uint8_t probe[PROBE];
};

struct unpacker {
	ZSTD_DCtx *zstd;
};

struct packer *packer_open(enum packer_mode mode)
{
	struct packer *packer = calloc(1, sizeof(*packer));

	if (!packer)
		return NULL;
	packer->mode = mode;
	packer->lz4 = malloc((size_t)LZ4_sizeofState());
	packer->zstd = ZSTD_createCCtx();
	if (packer->lz4 && packer->zstd)
		return packer;
	packer_close(packer);
	return NULL;
}

void packer_close(struct packer *packer)
{
	if (!packer)
		return;
	free(packer->lz4);
	ZSTD_freeCCtx(packer->zstd);
	free(packer);
}

void packer_link(struct packer *packer, uint64_t mib_ns)
{
	packer->mib_ns = mib_ns;
}

/* Packs [from, from+len) to `to`, which has room for `most` bytes.  0: that is not enough. */
static size_t run(struct packer *packer, enum codec codec, const uint8_t *from, size_t len, uint8_t *to,
		  size_t most)
{
	size_t got;

	if (codec == LZ4) {
		int lz4 = LZ4_compress_fast_extState(packer->lz4, (const char *)from, (char *)to, (int)len,
						     (int)most, ACCELERATION);

		return lz4 > 0 ? (size_t)lz4 : 0;
	}
	got = ZSTD_compressCCtx(packer->zstd, to, most, from, len, zstd_level[codec]);
	return ZSTD_isError(got) ? 0 : got;
}

static uint64_t cost(const struct packer *packer, enum codec codec)
{
	uint64_t left = codec == NONE ? PACKER_BLOCK : packer->left[codec];

	return packer->took_ns[codec] + ((left * packer->mib_ns) >> 20);
}

static enum codec cheapest(const struct packer *packer)
{
	enum codec best = LZ4;

	if (packer->mib_ns == 0)
		return LZ4;
	for (enum codec codec = NONE; codec < CODECS; codec++)
		if ((codec == NONE || packer->took_ns[codec]) && cost(packer, codec) < cost(packer, best))
			best = codec;
	return best;
}

/* The codec that the mode asks for, or else the cheapest one. */
static enum codec usual(const struct packer *packer)
{
	switch (packer->mode) {
	case PACKER_NONE:
		return NONE;
	case PACKER_LZ4:
		return LZ4;
	case PACKER_ZSTD:
		return ZSTD_BEST;
	case PACKER_AUTO:
		break;
	}
	return cheapest(packer);
}

uint64_t packer_block_ns(const struct packer *packer)
{
	return packer->mib_ns ? cost(packer, usual(packer)) : 0;
}

static enum codec choose(struct packer *packer)
{
	if (packer->mode != PACKER_AUTO)
		return usual(packer);
	if (++packer->blocks % EXPLORE == 0 && packer->mib_ns) {
		packer->explored = packer->explored % (CODECS - 1) + 1;
		return (enum codec)packer->explored;
	}
	return cheapest(packer);
}

static uint64_t smooth(uint64_t before, uint64_t now)
{
	/* A thread that lost its CPU meanwhile measured something else. */
	if (before && now > 4 * before)
		now = 4 * before;
	return before ? (before * (SMOOTH - 1) + now) / SMOOTH : now;
}

static void note(struct packer *packer, enum codec codec, uint64_t took_ns, size_t left, size_t len)
{
	packer->took_ns[codec] = smooth(packer->took_ns[codec], took_ns * PACKER_BLOCK / len);
	packer->left[codec] = smooth(packer->left[codec], left * PACKER_BLOCK / len);
}

static bool is_hard(struct packer *packer, const uint8_t *block, size_t len)
{
	size_t pages = len / PROBE;

	if (!packer->hard || pages == 0)
		return false;
	/* Not always the same page. */
	return run(packer, LZ4, block + packer->blocks % pages * PROBE, PROBE, packer->probe,
		   PROBE - PROBE / MIN_GAIN) == 0;
}

size_t packer_pack(struct packer *packer, const uint8_t *block, size_t len, uint8_t *to)
{
	enum codec codec;
	uint64_t start;
	size_t got;

	/* So little gains nothing, and tells nothing of other content. */
	if (len < PROBE)
		return 0;
	codec = choose(packer);
	if (codec == NONE || is_hard(packer, block, len))
		return 0;
	start = clock_mono_ns();
	got = run(packer, codec, block, len, to + PACKER_HEAD, len - len / MIN_GAIN);
	packer->hard = got == 0;
	if (got == 0)
		return 0;
	note(packer, codec, clock_mono_ns() - start, got, len);
	le32_put(to, (uint32_t)got | (codec == LZ4 ? 0 : ZSTD));
	return PACKER_HEAD + got;
}

size_t packer_store(const uint8_t *block, size_t len, uint8_t *to)
{
	le32_put(to, (uint32_t)len | STORED);
	memcpy(to + PACKER_HEAD, block, len);
	return PACKER_HEAD + len;
}

struct unpacker *unpacker_open(void)
{
	struct unpacker *unpacker = calloc(1, sizeof(*unpacker));

	if (!unpacker)
		return NULL;
	unpacker->zstd = ZSTD_createDCtx();
	if (unpacker->zstd)
		return unpacker;
	free(unpacker);
	return NULL;
}

void unpacker_close(struct unpacker *unpacker)
{
	if (!unpacker)
		return;
	ZSTD_freeDCtx(unpacker->zstd);
	free(unpacker);
}

const char *unpacker_take(struct unpacker *unpacker, struct reader *reader, uint8_t *to, size_t len)
{
	uint32_t head = reader_u32(reader), packed = head & LEN_MASK;
	const void *from = reader_bytes(reader, packed);

	if (!from || packed > len || (head & STORED && head & ZSTD))
		return "a compressed block has a wrong length";
	if (head & STORED) {
		if (packed != len)
			return "a stored block has a wrong length";
		memcpy(to, from, len);
		return NULL;
	}
	if (head & ZSTD ? ZSTD_decompressDCtx(unpacker->zstd, to, len, from, packed) != len
			: LZ4_decompress_safe(from, (char *)to, (int)packed, (int)len) != (int)len)
		return "a compressed block is damaged";
	return NULL;
}
