/* test_pages.c: memory goes through the encoder and decoder unchanged; hostile payloads change nothing. */
#include "tests/lib/pages.h"
#include "tests/lib/random.h"
#include <fcntl.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

enum { PAGES = 3000, VOLUME = 9 };

/* A memory: its memfd and a mapping of it. */
struct memory {
	int fd;
	uint8_t *at;
};

static struct memory memory_make(uint64_t pages)
{
	struct memory memory = {.fd = memfd_create("test", MFD_CLOEXEC)};

	assert_int_equal(ftruncate(memory.fd, (off_t)(pages * PAGES_SIZE)), 0);
	memory.at = mmap(NULL, pages * PAGES_SIZE, PROT_READ | PROT_WRITE, MAP_SHARED, memory.fd, 0);
	assert_true(memory.at != MAP_FAILED);
	return memory;
}

static void memory_free(struct memory *memory, uint64_t pages)
{
	munmap(memory->at, pages * PAGES_SIZE);
	close(memory->fd);
}

static long memory_blocks(const struct memory *memory)
{
	struct stat st;

	assert_int_equal(fstat(memory->fd, &st), 0);
	return (long)st.st_blocks * 512 / PAGES_SIZE;
}

/* Source, destination and coders, for one test. */
struct rig {
	uint64_t pages;
	struct memory from, to;
	struct pages_source source;
	struct pages_target target;
	struct pages_encoder *encoder;
	struct pages_decoder *decoder;
};

static struct rig rig_make(uint64_t pages)
{
	struct rig rig = {.pages = pages, .from = memory_make(pages), .to = memory_make(pages)};
	struct err err;

	rig.source = (struct pages_source){.volume = VOLUME, .fd = rig.from.fd, .pages = pages};
	assert_int_equal(pages_target_open(&rig.target, VOLUME, rig.to.fd, pages, &err), 0);
	rig.encoder = pages_encoder_open(PACKER_AUTO, &err);
	rig.decoder = pages_decoder_open(&err);
	assert_non_null(rig.encoder);
	assert_non_null(rig.decoder);
	return rig;
}

static void rig_free(struct rig *rig)
{
	pages_encoder_close(rig->encoder);
	pages_decoder_close(rig->decoder);
	pages_target_close(&rig->target);
	memory_free(&rig->from, rig->pages);
	memory_free(&rig->to, rig->pages);
}

/* Send these pages, each payload from a copy of exactly its size so that a sanitizer sees reads past it. */
static void rig_send(struct rig *rig, const uint64_t *pages, size_t n)
{
	struct buf out = {0};
	struct err err;

	while (n > 0) {
		int64_t taken = pages_encode(rig->encoder, &rig->source, pages, n, &out, &err);
		uint8_t *copy;

		assert_in_range(taken, 1, n);
		copy = malloc(out.len);
		memcpy(copy, out.data, out.len);
		assert_int_equal(pages_decode(rig->decoder, &rig->target, 1, copy, out.len, &err), taken);
		free(copy);
		buf_clear(&out);
		pages += taken;
		n -= (size_t)taken;
	}
	buf_free(&out);
}

static int rig_send_range(struct rig *rig, uint64_t first, uint64_t count)
{
	struct buf out = {0};
	struct err err;
	int frames = 0;

	while (count > 0) {
		int64_t taken = encode_range(rig->encoder, &rig->source, first, count, &out, &err);

		assert_in_range(taken, 1, count);
		assert_int_equal(pages_decode(rig->decoder, &rig->target, 1, out.data, out.len, &err), taken);
		buf_clear(&out);
		first += (uint64_t)taken;
		count -= (uint64_t)taken;
		frames++;
	}
	buf_free(&out);
	return frames;
}

static void scribble(uint64_t *random, uint8_t *page)
{
	switch (random_below(random, 5)) {
	case 0:
		memset(page, 0, PAGES_SIZE);
		break;
	case 1: /* zero but for one byte */
		memset(page, 0, PAGES_SIZE);
		page[random_below(random, PAGES_SIZE)] = 1;
		break;
	case 2:
		random_fill(random, page, PAGES_SIZE);
		break;
	case 3:
		memset(page, (int)random_next(random), PAGES_SIZE);
		break;
	default: /* half random, half repetitive */
		random_fill(random, page, PAGES_SIZE / 2);
		memset(page + PAGES_SIZE / 2, 'r', PAGES_SIZE / 2);
	}
}

/* Many rounds of random writes; after each, what was written is sent, and both memories must be equal. */
static void test_rounds_against_a_model(void **state)
{
	uint64_t random = random_begin();
	struct rig rig = rig_make(PAGES);
	static uint64_t list[PAGES];
	static bool dirty[PAGES];

	(void)state;
	for (int round = 0; round < 60; round++) {
		size_t n = 0;

		memset(dirty, 0, sizeof(dirty));
		for (uint64_t burst = random_below(&random, 40); burst > 0; burst--) {
			uint64_t page = random_below(&random, PAGES);
			uint64_t count = random_below(&random, random_below(&random, 2) ? 4 : 200) + 1;

			for (; count > 0 && page < PAGES; page++, count--) {
				scribble(&random, rig.from.at + page * PAGES_SIZE);
				dirty[page] = true;
			}
		}
		for (uint64_t page = 0; page < PAGES; page++) /* and some that did not change */
			if (dirty[page] || random_below(&random, 50) == 0)
				list[n++] = page;
		if (n > 0)
			rig_send(&rig, list, n);
		assert_memory_equal(rig.from.at, rig.to.at, PAGES * PAGES_SIZE);
	}
	assert_int_equal(pages_encoder_stats(rig.encoder)->pages, pages_decoder_stats(rig.decoder)->pages);
	assert_int_equal(pages_encoder_stats(rig.encoder)->zero_pages,
			 pages_decoder_stats(rig.decoder)->zero_pages);
	assert_int_equal(pages_encoder_stats(rig.encoder)->encoded_bytes,
			 pages_decoder_stats(rig.decoder)->encoded_bytes);
	rig_free(&rig);
}

static void test_sparse_memory_stays_sparse(void **state)
{
	const uint64_t pages = 4 << 18; /* 4 GiB */
	struct rig rig = rig_make(pages);
	int frames;

	(void)state;
	memset(rig.from.at + 77 * PAGES_SIZE, 'a', PAGES_SIZE);
	memset(rig.from.at + (pages - 5) * PAGES_SIZE, 'b', 2 * PAGES_SIZE);
	frames = rig_send_range(&rig, 0, pages);
	assert_in_range(frames, 1, 3);
	assert_in_range(pages_encoder_stats(rig.encoder)->encoded_bytes, 1, 1000);
	assert_int_equal(pages_encoder_stats(rig.encoder)->zero_pages, pages - 3);
	assert_int_equal(memory_blocks(&rig.from), 3);
	assert_int_equal(memory_blocks(&rig.to), 3);
	assert_memory_equal(rig.to.at + 77 * PAGES_SIZE, rig.from.at + 77 * PAGES_SIZE, PAGES_SIZE);
	assert_memory_equal(rig.to.at + (pages - 6) * PAGES_SIZE, rig.from.at + (pages - 6) * PAGES_SIZE,
			    6 * PAGES_SIZE);
	rig_free(&rig);
}

/* What was filled and is zero again reads as zero, and a long stretch gives its memory back. */
static void test_zeroes_over_filled_pages(void **state)
{
	struct rig rig = rig_make(PAGES);

	(void)state;
	memset(rig.from.at, 'x', PAGES * PAGES_SIZE);
	rig_send_range(&rig, 0, PAGES);
	assert_int_equal(memory_blocks(&rig.to), PAGES);
	memset(rig.from.at + 100 * PAGES_SIZE, 0, 1000 * PAGES_SIZE);
	memset(rig.from.at + 2000 * PAGES_SIZE, 0, 3 * PAGES_SIZE);
	rig_send_range(&rig, 0, PAGES);
	assert_int_equal(memory_blocks(&rig.to), PAGES - 1000);
	assert_memory_equal(rig.from.at, rig.to.at, PAGES * PAGES_SIZE);
	rig_free(&rig);
}

/* A destination of which nothing is known (not empty when it was opened) is cleared where the source is zero. */
static void test_zeroes_over_unknown_memory(void **state)
{
	struct memory from = memory_make(64), to = memory_make(64);
	struct pages_source source = {.volume = VOLUME, .fd = from.fd, .pages = 64};
	struct pages_encoder *encoder = pages_encoder_open(PACKER_AUTO, NULL);
	struct pages_decoder *decoder = pages_decoder_open(NULL);
	struct pages_target target;
	struct buf out = {0};

	(void)state;
	memset(to.at + 9 * PAGES_SIZE, 'x', PAGES_SIZE);
	assert_int_equal(pages_target_open(&target, VOLUME, to.fd, 64, NULL), 0);
	assert_int_equal(encode_range(encoder, &source, 0, 64, &out, NULL), 64);
	assert_int_equal(pages_decode(decoder, &target, 1, out.data, out.len, NULL), 64);
	assert_memory_equal(from.at, to.at, 64 * PAGES_SIZE);
	buf_free(&out);
	pages_target_close(&target);
	pages_encoder_close(encoder);
	pages_decoder_close(decoder);
	memory_free(&from, 64);
	memory_free(&to, 64);
}

static void test_compression_adapts(void **state)
{
	uint64_t random = 1;
	struct rig rig = rig_make(PAGES);
	const struct pages_stats *stats = pages_encoder_stats(rig.encoder);
	uint64_t before;

	(void)state;
	random_fill(&random, rig.from.at, 1000 * PAGES_SIZE);
	memset(rig.from.at + 1000 * PAGES_SIZE, 'c', 1000 * PAGES_SIZE);
	rig_send_range(&rig, 0, 1000);
	assert_in_range(stats->encoded_bytes, 1000 * PAGES_SIZE, 1000 * PAGES_SIZE * 101 / 100);
	assert_int_equal(stats->frames_raw, stats->frames);
	before = stats->encoded_bytes;
	rig_send_range(&rig, 1000, 1000);
	assert_in_range(stats->encoded_bytes - before, 1, 1000 * PAGES_SIZE / 20);
	assert_memory_equal(rig.from.at, rig.to.at, PAGES * PAGES_SIZE);
	rig_free(&rig);
}

/* Compression is given up where the link is faster than lz4, and taken up again when it gets slow. */
static void test_compression_pays(void **state)
{
	struct rig rig = rig_make(PAGES);
	const struct pages_stats *stats = pages_encoder_stats(rig.encoder);
	uint64_t before;

	(void)state;
	memset(rig.from.at, 'c', PAGES * PAGES_SIZE);
	pages_encoder_link(rig.encoder, 1000, 1ull << 30); /* no time at all */
	rig_send_range(&rig, 0, PAGES);
	assert_in_range(stats->encoded_bytes, PAGES * PAGES_SIZE * 9 / 10, PAGES * PAGES_SIZE * 101 / 100);
	for (uint64_t i = 2; i < 20; i++)
		pages_encoder_link(rig.encoder, i << 40, i << 30);
	rig_send_range(&rig, 0, PAGES);
	before = stats->encoded_bytes;
	rig_send_range(&rig, 0, PAGES);
	assert_in_range(stats->encoded_bytes - before, 1, PAGES * PAGES_SIZE / 20);
	assert_memory_equal(rig.from.at, rig.to.at, PAGES * PAGES_SIZE);
	rig_free(&rig);
}

static void test_encoder_refuses_bad_lists(void **state)
{
	static const uint64_t lists[][3] = {
	    {1, 2, PAGES}, {1, 3, 2}, {5, 5, 6}, {UINT64_MAX, 1, 2}, {1, 2, UINT64_MAX}};
	struct rig rig = rig_make(PAGES);
	struct buf out = {0};
	struct err err;

	(void)state;
	memset(rig.from.at, 'x', 10 * PAGES_SIZE);
	for (size_t i = 0; i < sizeof(lists) / sizeof(*lists); i++) {
		assert_int_equal(pages_encode(rig.encoder, &rig.source, lists[i], 3, &out, &err), -1);
		assert_int_equal(err.kind, ERR_STATE);
		assert_int_equal(out.len, 0);
	}
	assert_int_equal(encode_range(rig.encoder, &rig.source, 0, PAGES + 1, &out, &err), -1);
	assert_int_equal(encode_range(rig.encoder, &rig.source, PAGES - 1, 2, &out, &err), -1);
	assert_int_equal(encode_range(rig.encoder, &rig.source, 0, 0, &out, &err), -1);
	buf_free(&out);
	rig_free(&rig);
}

/* ---- a guest that writes while its pages are encoded ---- */

struct writer {
	uint8_t *at;
	atomic_bool stop;
	atomic_ulong rounds;
};

static void *keep_writing(void *arg)
{
	struct writer *writer = arg;

	for (unsigned value = 0; !atomic_load(&writer->stop); value++) {
		for (size_t page = 0; page < 256; page++) {
			/* from zero to not zero and back, compressible and not */
			memset(writer->at + page * PAGES_SIZE, value % 3 ? (int)value : 0, PAGES_SIZE);
			writer->at[page * PAGES_SIZE + (value * 61 + page) % PAGES_SIZE] ^= (uint8_t)value;
		}
		atomic_fetch_add(&writer->rounds, 1);
	}
	return NULL;
}

static void test_concurrent_writes_are_harmless(void **state)
{
	struct rig rig = rig_make(512);
	struct writer writer = {.at = rig.from.at};
	pthread_t thread;

	(void)state;
	memset(rig.from.at + 256 * PAGES_SIZE, 'k', 256 * PAGES_SIZE);
	assert_int_equal(pthread_create(&thread, NULL, keep_writing, &writer), 0);
	for (int round = 0; round < 200 || atomic_load(&writer.rounds) < 20; round++)
		rig_send_range(&rig, 0, 512); /* asserts that every payload is valid */
	assert_memory_equal(rig.from.at + 256 * PAGES_SIZE, rig.to.at + 256 * PAGES_SIZE, 256 * PAGES_SIZE);
	atomic_store(&writer.stop, true);
	pthread_join(thread, NULL);
	rig_send_range(&rig, 0, 512);
	assert_memory_equal(rig.from.at, rig.to.at, 512 * PAGES_SIZE);
	rig_free(&rig);
}

/* ---- hostile payloads ---- */

static void put_head(struct buf *out, unsigned volume, unsigned encoding, unsigned runs, unsigned decoded)
{
	buf_clear(out);
	buf_put_u16(out, (uint16_t)volume);
	buf_put_u16(out, (uint16_t)encoding);
	buf_put_u32(out, runs);
	buf_put_u32(out, decoded);
}

static void put_run(struct buf *out, uint64_t first, unsigned count, unsigned kind)
{
	buf_put_u64(out, first);
	buf_put_u32(out, count);
	buf_put_u32(out, kind);
}

static void put_data(struct buf *out, size_t len)
{
	memset(buf_reserve(out, len), 'h', len);
	out->len += len;
}

/* The payload is refused, says why, and the memory is as it was. */
static void refuse(struct rig *rig, const struct buf *payload, const char *why)
{
	uint8_t *copy = malloc(payload->len ? payload->len : 1);
	struct err err = {0};

	memcpy(copy, payload->data, payload->len);
	assert_int_equal(pages_decode(rig->decoder, &rig->target, 1, copy, payload->len, &err), -1);
	free(copy);
	assert_int_equal(err.kind, ERR_INPUT);
	if (!strstr(err.text, why))
		fail_msg("\"%s\" does not say \"%s\"", err.text, why);
	assert_int_equal(memory_blocks(&rig->to), 0);
}

static void test_hostile_heads(void **state)
{
	struct rig rig = rig_make(PAGES);
	struct buf out = {0};

	(void)state;
	put_head(&out, VOLUME, 0, 1, PAGES_SIZE);
	put_run(&out, 0, 1, PAGES_RUN_DATA);
	put_data(&out, PAGES_SIZE);
	for (out.len = 0; out.len < PAGES_HEADER; out.len++)
		refuse(&rig, &out, "too short");
	for (out.len = PAGES_HEADER; out.len < PAGES_HEADER + PAGES_RUN; out.len++)
		refuse(&rig, &out, "end inside the list of runs");
	for (; out.len < PAGES_HEADER + PAGES_RUN + PAGES_SIZE; out.len += 511)
		refuse(&rig, &out, "shorter or longer");

	put_head(&out, VOLUME + 1, 0, 1, 0);
	put_run(&out, 0, 1, PAGES_RUN_ZERO);
	refuse(&rig, &out, "volume 10, which is not known");
	put_head(&out, VOLUME, 2, 1, 0);
	put_run(&out, 0, 1, PAGES_RUN_ZERO);
	refuse(&rig, &out, "encoding 2");
	put_head(&out, VOLUME, 0, 0, 0);
	refuse(&rig, &out, "no runs or too many");
	put_head(&out, VOLUME, 0, PAGES_RUNS_MAX + 1, 0);
	for (uint64_t i = 0; i <= PAGES_RUNS_MAX; i++)
		put_run(&out, 2 * i, 1, PAGES_RUN_ZERO);
	refuse(&rig, &out, "no runs or too many");
	put_head(&out, VOLUME, 0, UINT32_MAX, 0);
	refuse(&rig, &out, "no runs or too many");
	buf_free(&out);
	rig_free(&rig);
}

static void test_hostile_runs(void **state)
{
	static const struct {
		uint64_t first;
		unsigned count, kind;
		const char *why;
	} runs[] = {
	    {0, 0, PAGES_RUN_DATA, "empty or of unknown kind"},
	    {0, 1, 3, "empty or of unknown kind"},
	    {PAGES, 1, PAGES_RUN_ZERO, "past the end"},
	    {PAGES - 1, 2, PAGES_RUN_ZERO, "past the end"},
	    {UINT64_MAX, 1, PAGES_RUN_DATA, "past the end"},
	    {UINT64_MAX - 5, 10, PAGES_RUN_DATA, "past the end"},
	    {1ull << 52, 1, PAGES_RUN_DATA, "past the end"}, /* x 4096 is 0 in 64 bits */
	    {0, UINT32_MAX, PAGES_RUN_ZERO, "past the end"},
	    {9, 1, PAGES_RUN_DATA, "overlap"},
	    {10, 1, PAGES_RUN_ZERO, "overlap"},
	    {3, 8, PAGES_RUN_ZERO, "overlap"},
	    {12, PAGES_BATCH_MAX, PAGES_RUN_DATA, "length of the data"},
	    {12, 1u << 20, PAGES_RUN_ZERO, "past the end"},
	};
	struct rig rig = rig_make(PAGES);
	struct buf out = {0};

	(void)state;
	for (size_t i = 0; i < sizeof(runs) / sizeof(*runs); i++) {
		put_head(&out, VOLUME, 0, 2, PAGES_SIZE);
		put_run(&out, 10, 1, PAGES_RUN_DATA);
		put_run(&out, runs[i].first, runs[i].count, runs[i].kind);
		put_data(&out, PAGES_SIZE);
		refuse(&rig, &out, runs[i].why);
	}
	/* a length that says less, more, and far more than the runs; none for data */
	for (unsigned len = 0; len <= 3 * PAGES_SIZE; len += PAGES_SIZE) {
		if (len == 2 * PAGES_SIZE)
			continue;
		put_head(&out, VOLUME, 0, 1, len);
		put_run(&out, 10, 2, PAGES_RUN_DATA);
		put_data(&out, len);
		refuse(&rig, &out, "length of the data");
	}
	put_head(&out, VOLUME, 0, 1, 0);
	put_run(&out, 0, 1u << 20, PAGES_RUN_DATA); /* 2^20 pages: 0 in 32 bits of bytes */
	refuse(&rig, &out, "past the end");
	put_head(&out, VOLUME, 0, 1, (PAGES_BATCH_MAX + 1) * PAGES_SIZE);
	put_run(&out, 0, PAGES_BATCH_MAX + 1, PAGES_RUN_DATA);
	put_data(&out, (PAGES_BATCH_MAX + 1) * PAGES_SIZE);
	refuse(&rig, &out, "length of the data");
	/* something after the data */
	put_head(&out, VOLUME, 0, 1, 0);
	put_run(&out, 0, 1, PAGES_RUN_ZERO);
	buf_put_u8(&out, 0);
	refuse(&rig, &out, "shorter or longer");
	buf_free(&out);
	rig_free(&rig);
}

static void put_lz4(struct buf *out, unsigned pages)
{
	put_head(out, VOLUME, PAGES_PACKED, 1, pages * PAGES_SIZE);
	put_run(out, 0, pages, PAGES_RUN_DATA);
}

static void test_hostile_blocks(void **state)
{
	static const uint8_t four_a[] = {0x4f, 'a', 'a', 'a', 'a'};
	struct rig rig = rig_make(PAGES);
	struct buf out = {0};

	(void)state;
	put_lz4(&out, 1); /* no block at all */
	refuse(&rig, &out, "wrong length");
	put_lz4(&out, 1); /* a block that goes past the payload */
	buf_put_u32(&out, 100);
	put_data(&out, 99);
	refuse(&rig, &out, "wrong length");
	put_lz4(&out, 1);
	buf_put_u32(&out, 0x7fffffff);
	put_data(&out, 99);
	refuse(&rig, &out, "wrong length");
	put_lz4(&out, 1); /* longer than what it stands for */
	buf_put_u32(&out, PAGES_SIZE + 1);
	put_data(&out, PAGES_SIZE + 1);
	refuse(&rig, &out, "wrong length");
	put_lz4(&out, 1); /* stored, but not whole */
	buf_put_u32(&out, 0x80000000u | (PAGES_SIZE - 1));
	put_data(&out, PAGES_SIZE - 1);
	refuse(&rig, &out, "stored block");
	put_lz4(&out, 1); /* empty, and rubbish */
	buf_put_u32(&out, 0);
	refuse(&rig, &out, "damaged");
	put_lz4(&out, 1);
	buf_put_u32(&out, 200);
	put_data(&out, 200);
	refuse(&rig, &out, "damaged");
	put_lz4(&out, 1); /* valid lz4 of too few bytes */
	buf_put_u32(&out, sizeof(four_a));
	buf_put(&out, four_a, sizeof(four_a));
	refuse(&rig, &out, "damaged");
	put_lz4(&out, PAGES_BLOCK + 1); /* the first block is good, the second missing */
	buf_put_u32(&out, 0x80000000u | PAGES_BLOCK * PAGES_SIZE);
	put_data(&out, PAGES_BLOCK * PAGES_SIZE);
	refuse(&rig, &out, "wrong length");
	put_lz4(&out, 1); /* and something after the last */
	buf_put_u32(&out, 0x80000000u | PAGES_SIZE);
	put_data(&out, PAGES_SIZE + 1);
	refuse(&rig, &out, "something follows");
	buf_free(&out);
	rig_free(&rig);
}

/* Valid payloads with some bytes changed: never a crash (sanitizers), never a page outside of the runs. */
static void test_mutated_payloads(void **state)
{
	uint64_t random = random_begin();
	struct rig rig = rig_make(PAGES);
	struct buf out = {0};

	(void)state;
	for (uint64_t page = 0; page < PAGES; page++)
		scribble(&random, rig.from.at + page * PAGES_SIZE);
	for (int i = 0; i < 3000; i++) {
		uint64_t first = random_below(&random, PAGES);
		uint8_t *copy;

		buf_clear(&out);
		assert_true(encode_range(rig.encoder, &rig.source, first, PAGES - first, &out, NULL) > 0);
		if (random_below(&random, 4) == 0)
			out.len = random_below(&random, out.len);
		copy = malloc(out.len + 1);
		memcpy(copy, out.data, out.len);
		for (uint64_t n = random_below(&random, 4); n > 0 && out.len > 0; n--)
			copy[random_below(&random, random_below(&random, 2) ? out.len : out.len % 200 + 1) %
			     out.len] = (uint8_t)random_next(&random);
		pages_decode(rig.decoder, &rig.target, 1, copy, out.len, NULL);
		free(copy);
	}
	rig_send_range(&rig, 0, PAGES);
	assert_memory_equal(rig.from.at, rig.to.at, PAGES * PAGES_SIZE);
	buf_free(&out);
	rig_free(&rig);
}

static void test_target_size_is_checked(void **state)
{
	struct memory memory = memory_make(4);
	struct pages_target target;
	struct err err;

	(void)state;
	assert_int_equal(pages_target_open(&target, 0, memory.fd, 5, &err), -1);
	assert_int_equal(pages_target_open(&target, 0, memory.fd, 3, &err), -1);
	assert_int_equal(pages_target_open(&target, 0, memory.fd, 0, &err), -1);
	assert_int_equal(pages_target_open(&target, 0, -1, 4, &err), -1);
	assert_int_equal(ftruncate(memory.fd, 4 * PAGES_SIZE + 1), 0);
	assert_int_equal(pages_target_open(&target, 0, memory.fd, 4, &err), -1);
	memory_free(&memory, 4);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_rounds_against_a_model),
	    cmocka_unit_test(test_sparse_memory_stays_sparse),
	    cmocka_unit_test(test_zeroes_over_filled_pages),
	    cmocka_unit_test(test_zeroes_over_unknown_memory),
	    cmocka_unit_test(test_compression_adapts),
	    cmocka_unit_test(test_compression_pays),
	    cmocka_unit_test(test_encoder_refuses_bad_lists),
	    cmocka_unit_test(test_concurrent_writes_are_harmless),
	    cmocka_unit_test(test_hostile_heads),
	    cmocka_unit_test(test_hostile_runs),
	    cmocka_unit_test(test_hostile_blocks),
	    cmocka_unit_test(test_mutated_payloads),
	    cmocka_unit_test(test_target_size_is_checked),
	};

	return cmocka_run_group_tests_name("pages", tests, NULL, NULL);
}
