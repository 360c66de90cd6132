/* test_pages_delta.c: pages that are sent again, as what has changed: the memory there is always what was sent, and a payload
 * that does not fit what is there changes nothing. */
#include "migrate/delta.h"
#include "migrate/sentpages.h"
#include "tests/lib/pages.h"
#include "tests/lib/random.h"
#include "tests/lib/test.h"

#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

enum { PAGES = 2000, BYTES = PAGES * PAGES_SIZE };

struct rig {
	uint8_t *from, *to;
	struct pages_source source;
	struct pages_target target;
	struct pages_encoder *encoder;
	struct pages_decoder *decoder;
	int to_fd;
};

static int memory(uint8_t **at)
{
	int fd = memfd_create("test", MFD_CLOEXEC);

	assert_int_equal(ftruncate(fd, BYTES), 0);
	*at = mmap(NULL, BYTES, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	assert_true(*at != MAP_FAILED);
	return fd;
}

static struct rig rig_make(enum packer_mode mode)
{
	struct rig rig = {.source = {.pages = PAGES}};
	struct err err;

	rig.source.fd = memory(&rig.from);
	rig.to_fd = memory(&rig.to);
	rig.source.sent = sentpages_open(PAGES, SENTPAGES_BYTES, &err);
	rig.encoder = pages_encoder_open(mode, &err);
	rig.decoder = pages_decoder_open(&err);
	assert_true(rig.source.sent && rig.encoder && rig.decoder);
	assert_int_equal(pages_target_open(&rig.target, 0, rig.to_fd, PAGES, &err), 0);
	return rig;
}

static void rig_free(struct rig *rig)
{
	sentpages_close(rig->source.sent);
	pages_encoder_close(rig->encoder);
	pages_decoder_close(rig->decoder);
	pages_target_close(&rig->target);
	munmap(rig->from, BYTES);
	munmap(rig->to, BYTES);
	close(rig->source.fd);
	close(rig->to_fd);
}

static void begin_round(struct rig *rig)
{
	struct pageset all;
	struct err err;

	assert_int_equal(pageset_create(&all, PAGES, &err), 0);
	pageset_add_range(&all, 0, PAGES);
	sentpages_round(rig->source.sent, &all);
	pageset_close(&all);
}

/* Decoded from a copy of just its size, so that a sanitizer sees reads past it. */
static int64_t decode(struct rig *rig, const struct buf *payload, struct err *err)
{
	uint8_t *copy = malloc(payload->len);
	int64_t got;

	memcpy(copy, payload->data, payload->len);
	got = pages_decode(rig->decoder, &rig->target, 1, copy, payload->len, err);
	free(copy);
	return got;
}

/* Send these; of every payload that `lost` says so of, nothing arrives, and its pages stay in the list.  How many do. */
static size_t send_list(struct rig *rig, uint64_t *list, size_t n, uint64_t *random, unsigned lost)
{
	struct buf out = {0};
	size_t kept = 0;
	struct err err;

	for (size_t at = 0; at < n;) {
		int64_t taken = pages_encode(rig->encoder, &rig->source, list + at, n - at, &out, &err);

		assert_in_range(taken, 1, n - at);
		if (lost && random_below(random, lost) == 0) {
			sentpages_drop(rig->source.sent, list[at],
				       list[at + (size_t)taken - 1] - list[at] + 1);
			memmove(list + kept, list + at, (size_t)taken * sizeof(*list));
			kept += (size_t)taken;
		} else {
			assert_int_equal(decode(rig, &out, &err), taken);
		}
		buf_clear(&out);
		at += (size_t)taken;
	}
	buf_free(&out);
	return kept;
}

static void scribble(uint64_t *random, uint8_t *page)
{
	switch (random_below(random, 6)) {
	case 0:
		memset(page, 0, PAGES_SIZE);
		break;
	case 1:
		random_fill(random, page, PAGES_SIZE);
		break;
	case 2: /* nothing, though it is said to be written to */
		break;
	default:
		for (uint64_t words = random_below(random, 20) + 1; words > 0; words--)
			page[random_below(random, PAGES_SIZE)]++;
	}
}

/* Rounds of random writes; payloads get lost, and their pages come in the next round. */
static void rounds_with_losses_against_a_model(void **state)
{
	static uint64_t list[PAGES], again[PAGES];
	static bool dirty[PAGES];
	struct rig rig = rig_make(PACKER_AUTO);
	uint64_t random = random_begin();
	size_t kept = 0;

	(void)state;
	random_fill(&random, rig.from, BYTES);
	for (int round = 0; round < 80; round++) {
		size_t n = 0;

		memset(dirty, 0, sizeof(dirty));
		for (uint64_t page = 0; page < PAGES; page++)
			if (round == 0 || random_below(&random, 5) == 0) {
				dirty[page] = true;
				if (round > 0)
					scribble(&random, rig.from + page * PAGES_SIZE);
			}
		for (size_t i = 0; i < kept; i++)
			dirty[again[i]] = true;
		for (uint64_t page = 0; page < PAGES; page++)
			if (dirty[page])
				list[n++] = page;
		begin_round(&rig);
		kept = send_list(&rig, list, n, &random, round < 79 ? 6 : 0);
		memcpy(again, list, kept * sizeof(*list));
	}
	assert_memory_equal(rig.from, rig.to, BYTES);
	assert_true(pages_encoder_stats(rig.encoder)->delta_pages > 5000);
	assert_in_range(pages_decoder_stats(rig.decoder)->delta_pages, 1,
			pages_encoder_stats(rig.encoder)->delta_pages);
	rig_free(&rig);
}

static int64_t send_all(struct rig *rig)
{
	struct buf out = {0};
	int64_t bytes = 0;
	struct err err;

	begin_round(rig);
	for (uint64_t first = 0; first < PAGES;) {
		int64_t taken = encode_range(rig->encoder, &rig->source, first, PAGES - first, &out, &err);

		assert_true(taken > 0);
		assert_int_equal(decode(rig, &out, &err), taken);
		first += (uint64_t)taken;
		bytes += (int64_t)out.len;
		buf_clear(&out);
	}
	buf_free(&out);
	assert_memory_equal(rig->from, rig->to, BYTES);
	return bytes;
}

static void a_word_of_a_page_costs_a_block(void **state)
{
	struct rig rig = rig_make(PACKER_NONE);
	uint64_t random = random_begin();

	(void)state;
	random_fill(&random, rig.from, BYTES);
	assert_true(send_all(&rig) > BYTES);
	for (uint64_t page = 0; page < PAGES; page++)
		rig.from[page * PAGES_SIZE + random_below(&random, PAGES_SIZE)]++;
	assert_in_range(send_all(&rig), PAGES * (DELTA_HEAD + DELTA_BLOCK),
			PAGES * (DELTA_HEAD + DELTA_BLOCK + 5));
	assert_in_range(send_all(&rig), PAGES * DELTA_HEAD, PAGES * (DELTA_HEAD + 5));
	rig_free(&rig);
}

/* Every page changes all over: digests are kept of a part of the memory only, until it pays again. */
static void where_it_does_not_pay_it_rests(void **state)
{
	struct rig rig = rig_make(PACKER_NONE);
	uint64_t random = random_begin(), before;

	(void)state;
	pages_encoder_link(rig.encoder, 1, 1); /* the link's speed is told by 4 MiB at least */
	pages_encoder_link(rig.encoder, 20000000, 8 << 20);
	for (int round = 0; round < 3; round++) {
		random_fill(&random, rig.from, BYTES);
		send_all(&rig);
	}
	assert_int_equal(pages_encoder_stats(rig.encoder)->delta_pages, 0);
	send_all(&rig); /* nothing has changed, and hardly anything is known */
	before = pages_encoder_stats(rig.encoder)->delta_pages;
	assert_in_range(before, SENTPAGES_RANGE, SENTPAGES_RANGE);
	for (int round = 0; round < 6; round++) /* but that pays */
		send_all(&rig);
	assert_true(pages_encoder_stats(rig.encoder)->delta_pages - before > 4 * PAGES / 2);
	rig_free(&rig);
}

/* ---- what does not fit ------------------------------------------------------------------------------------------- */

/* Payloads with a page of each kind, of which the second page is a delta. */
static void make_payload(struct rig *rig, struct buf *out)
{
	struct err err;

	memset(rig->from + 1 * PAGES_SIZE, 'b', PAGES_SIZE);
	memset(rig->from + 2 * PAGES_SIZE, 'c', PAGES_SIZE);
	send_all(rig);
	rig->from[1 * PAGES_SIZE + 100] = 'B';
	rig->from[2 * PAGES_SIZE + 200] = 'C';
	memset(rig->from, 'a', PAGES_SIZE);
	assert_int_equal(
	    pages_encode(rig->encoder, &rig->source, (const uint64_t[]){0, 1, 2, 3}, 4, out, &err), 4);
	assert_int_equal(pages_encoder_stats(rig->encoder)->delta_pages, 2);
}

static void refuse(struct rig *rig, const struct buf *payload, enum err_kind kind, const char *why)
{
	uint8_t *before = malloc(BYTES);
	struct err err;

	memcpy(before, rig->to, BYTES);
	assert_int_equal(decode(rig, payload, &err), -1);
	assert_int_equal(err.kind, kind);
	if (!strstr(err.text, why))
		fail_msg("\"%s\" does not say \"%s\"", err.text, why);
	assert_memory_equal(before, rig->to, BYTES);
	free(before);
}

static void a_page_that_is_not_the_base_changes_nothing(void **state)
{
	struct rig rig = rig_make(PACKER_NONE);
	struct buf out = {0};
	struct err err;

	(void)state;
	make_payload(&rig, &out);
	rig.to[2 * PAGES_SIZE + 4000] ^= 1;
	refuse(&rig, &out, ERR_LINK, "page 2 is not what the sender takes it for");
	memset(rig.to + 2 * PAGES_SIZE, 0, PAGES_SIZE); /* as one that was lost */
	refuse(&rig, &out, ERR_LINK, "must come whole");
	/* Whole, it comes. */
	sentpages_drop(rig.source.sent, 0, PAGES);
	buf_clear(&out);
	assert_int_equal(encode_range(rig.encoder, &rig.source, 0, 4, &out, &err), 4);
	assert_int_equal(decode(&rig, &out, &err), 4);
	assert_memory_equal(rig.from, rig.to, BYTES);
	buf_free(&out);
	rig_free(&rig);
}

static int place(void *arg, uint64_t page, uint64_t count, const uint8_t *data, struct err *err)
{
	(void)arg, (void)page, (void)count, (void)data, (void)err;
	fail_msg("a page was placed");
	return -1;
}

static void only_pages_that_are_there_can_be_changed(void **state)
{
	struct rig rig = rig_make(PACKER_NONE);
	struct buf out = {0};

	(void)state;
	make_payload(&rig, &out);
	rig.target.place = place;
	refuse(&rig, &out, ERR_INPUT, "not there to be changed");
	buf_free(&out);
	rig_free(&rig);
}

static void lengths_that_do_not_fit_are_refused(void **state)
{
	enum {
		LEN = 8,
		FIRST_COUNT = PAGES_HEADER + 8,
		RUNS = 3 * PAGES_RUN,
		BLOCKS = PAGES_HEADER + RUNS + PAGES_SIZE + 8
	};
	struct rig rig = rig_make(PACKER_NONE);
	struct buf out = {0};
	uint8_t *at;

	(void)state;
	make_payload(&rig, &out);
	at = out.data;
	assert_int_equal(le32_get(at + 4), 3);
	le32_put(at + FIRST_COUNT + PAGES_RUN, PAGES_BATCH_MAX);
	refuse(&rig, &out, ERR_INPUT, "overlap");
	le32_put(at + FIRST_COUNT + PAGES_RUN, 1); /* a delta too many */
	refuse(&rig, &out, ERR_INPUT, "follows the changes");
	le32_put(at + FIRST_COUNT + PAGES_RUN, 2);
	le64_put(at + BLOCKS, UINT64_MAX);
	refuse(&rig, &out, ERR_INPUT, "inside what has changed");
	le64_put(at + BLOCKS, 2);
	le32_put(at + LEN, PAGES_SIZE - 1); /* not even the data page */
	refuse(&rig, &out, ERR_INPUT, "not that of the runs");
	le32_put(at + LEN, UINT32_MAX);
	refuse(&rig, &out, ERR_INPUT, "not that of the runs");
	buf_free(&out);
	rig_free(&rig);
}

static void mutated_payloads_change_all_or_nothing(void **state)
{
	struct rig rig = rig_make(PACKER_LZ4);
	uint64_t random = random_begin();
	struct buf out = {0};
	uint8_t *whole;

	(void)state;
	make_payload(&rig, &out);
	whole = malloc(out.len);
	memcpy(whole, out.data, out.len);
	for (int i = 0; i < 5000; i++) {
		struct err err = {0};

		memcpy(out.data, whole, out.len);
		for (uint64_t flips = random_below(&random, 3) + 1; flips > 0; flips--)
			out.data[random_below(&random, out.len)] ^= (uint8_t)(1 << random_below(&random, 8));
		if (decode(&rig, &out, &err) < 0)
			assert_true(err.kind == ERR_INPUT || err.kind == ERR_LINK);
	}
	free(whole);
	buf_free(&out);
	rig_free(&rig);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(rounds_with_losses_against_a_model),
	    cmocka_unit_test(a_word_of_a_page_costs_a_block),
	    cmocka_unit_test(where_it_does_not_pay_it_rests),
	    cmocka_unit_test(a_page_that_is_not_the_base_changes_nothing),
	    cmocka_unit_test(only_pages_that_are_there_can_be_changed),
	    cmocka_unit_test(lengths_that_do_not_fit_are_refused),
	    cmocka_unit_test(mutated_payloads_change_all_or_nothing),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
