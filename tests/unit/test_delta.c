/* test_delta.c: what has changed of a page makes the page again, of the right base only; digests are kept for as much as there is
 * room for. */
#include "migrate/delta.h"
#include "migrate/sentpages.h"
#include "tests/lib/random.h"
#include "tests/lib/test.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

/* ---- a delta --------------------------------------------------------------------------------------------------- */

/* Change one byte in each of so many blocks; which they are. */
static uint64_t change_blocks(uint64_t *random, uint8_t *page, unsigned blocks)
{
	uint64_t changed = 0;

	while ((unsigned)__builtin_popcountll(changed) < blocks) {
		unsigned block = (unsigned)random_below(random, DELTA_BLOCKS);

		if (changed >> block & 1)
			continue;
		page[block * DELTA_BLOCK + random_below(random, DELTA_BLOCK)] ^=
		    (uint8_t)(1 + random_below(random, 255));
		changed |= 1ull << block;
	}
	return changed;
}

static void what_changed_makes_the_page_again(void **state)
{
	uint8_t base[DELTA_PAGE], now[DELTA_PAGE], delta[DELTA_MAX];
	uint64_t random = random_begin(), seed = random_next(&random);
	uint32_t digest[DELTA_BLOCKS];

	(void)state;
	for (unsigned blocks = 0; blocks <= DELTA_BLOCKS_MAX; blocks++) {
		uint64_t changed;
		struct reader reader;
		uint8_t *copy;
		size_t len;

		random_fill(&random, base, sizeof(base));
		memcpy(now, base, sizeof(now));
		delta_digest(base, seed, digest);
		changed = change_blocks(&random, now, blocks);
		assert_int_equal(delta_update(digest, now, seed), changed);
		assert_int_equal(delta_update(digest, now, seed), 0);
		len = delta_put(now, changed, delta);
		assert_int_equal(len, DELTA_HEAD + blocks * DELTA_BLOCK);
		copy = malloc(len); /* so that a sanitizer sees reads past it */
		memcpy(copy, delta, len);
		reader = reader_of(copy, len);
		assert_int_equal(delta_take(&reader, base), DELTA_DONE);
		assert_int_equal(reader.left, 0);
		assert_memory_equal(base, now, sizeof(now));
		free(copy);
	}
}

static void digests_differ_by_seed(void **state)
{
	static const uint8_t page[DELTA_PAGE];
	uint32_t one[DELTA_BLOCKS], two[DELTA_BLOCKS];

	(void)state;
	delta_digest(page, 1, one);
	delta_digest(page, 2, two);
	for (unsigned i = 0; i < DELTA_BLOCKS; i++)
		assert_int_not_equal(one[i], two[i]);
}

/* One bit of the base that is not as it was, in a block that the delta has not. */
static void a_wrong_base_is_told(void **state)
{
	uint8_t base[DELTA_PAGE], now[DELTA_PAGE], delta[DELTA_MAX];
	uint64_t random = random_begin();

	(void)state;
	for (int i = 0; i < 500; i++) {
		unsigned bit = (unsigned)random_below(&random, DELTA_PAGE * 8);
		struct reader reader;
		uint64_t changed;

		random_fill(&random, now, sizeof(now));
		memcpy(base, now, sizeof(base));
		changed = change_blocks(&random, now, (unsigned)random_below(&random, DELTA_BLOCKS_MAX));
		base[bit / 8] ^= (uint8_t)(1 << bit % 8);
		reader = reader_of(delta, delta_put(now, changed, delta));
		assert_int_equal(delta_take(&reader, base),
				 changed >> bit / 8 / DELTA_BLOCK & 1 ? DELTA_DONE : DELTA_OTHER);
	}
}

static void a_delta_that_is_cut_is_bad(void **state)
{
	uint8_t page[DELTA_PAGE] = {1}, delta[DELTA_MAX];
	size_t len = delta_put(page, 5, delta);

	(void)state;
	for (size_t cut = 0; cut < len; cut++) {
		uint8_t *copy = malloc(cut + 1);
		struct reader reader = reader_of(copy, cut);

		memcpy(copy, delta, cut);
		assert_int_equal(delta_take(&reader, page), DELTA_BAD);
		free(copy);
	}
}

/* ---- what was sent ----------------------------------------------------------------------------------------------- */

enum { SLOT = SENTPAGES_RANGE * DELTA_BLOCKS * 4 }; /* bytes of digests of a range */

static const uint8_t content[DELTA_PAGE] = "content";

static struct sentpages *open_sent(uint64_t pages, size_t bytes)
{
	struct err err;
	struct sentpages *sent = sentpages_open(pages, bytes, &err);

	assert_non_null(sent);
	return sent;
}

/* A round with one page of each of these ranges. */
static void begin_round(struct sentpages *sent, uint64_t pages, const uint64_t *ranges, size_t n)
{
	struct pageset todo;
	struct err err;

	assert_int_equal(pageset_create(&todo, pages, &err), 0);
	for (size_t i = 0; i < n; i++)
		pageset_add(&todo, ranges[i] * SENTPAGES_RANGE + 77);
	sentpages_round(sent, &todo);
	pageset_close(&todo);
}

static bool note(struct sentpages *sent, uint64_t page)
{
	uint64_t changed;
	bool known = sentpages_note(sent, page, content, &changed);

	if (known)
		assert_int_equal(changed, 0);
	return known;
}

static void a_page_is_known_from_the_second_time_on(void **state)
{
	enum { PAGES = 3 * SENTPAGES_RANGE + 5 };
	const uint64_t all[] = {0, 1, 2};
	struct sentpages *sent = open_sent(PAGES, SENTPAGES_BYTES);

	(void)state;
	begin_round(sent, PAGES, all, 3);
	for (uint64_t page = 0; page < 3 * SENTPAGES_RANGE; page++)
		assert_false(note(sent, page));
	for (uint64_t page = 0; page < 3 * SENTPAGES_RANGE; page++)
		assert_true(note(sent, page));
	assert_true(sentpages_cost_ns(sent) > 0);
	sentpages_close(sent);
}

static void what_is_dropped_is_not_known(void **state)
{
	enum { PAGES = 4 * SENTPAGES_RANGE, TURNS = 60 };
	const uint64_t all[] = {0, 1, 2, 3};
	struct sentpages *sent = open_sent(PAGES, SENTPAGES_BYTES);
	uint64_t random = random_begin();

	(void)state;
	begin_round(sent, PAGES, all, 4);
	for (uint64_t page = 0; page < PAGES; page++)
		note(sent, page);
	for (int i = 0; i < TURNS; i++) {
		uint64_t first = random_below(&random, PAGES + 10);
		uint64_t count = random_below(&random, random_below(&random, 2) ? 3 : 700);

		sentpages_drop(sent, first, count);
		for (uint64_t page = 0; page < PAGES; page++)
			assert_int_equal(note(sent, page), page < first || page >= first + count);
	}
	sentpages_drop(sent, 5, UINT64_MAX);
	for (uint64_t page = 0; page < PAGES; page++)
		assert_int_equal(note(sent, page), page < 5);
	sentpages_close(sent);
}

/* Room for two ranges of ten: those that are sent again and again keep it; who has none gets that of one that is not. */
static void room_goes_to_what_is_sent(void **state)
{
	enum { PAGES = 10 * SENTPAGES_RANGE };
	struct sentpages *sent = open_sent(PAGES, 2 * SLOT);
	uint64_t at[10];

	(void)state;
	for (uint64_t i = 0; i < 10; i++)
		at[i] = i * SENTPAGES_RANGE;
	begin_round(sent, PAGES, (const uint64_t[]){0, 1, 2, 3}, 4);
	for (int turn = 0; turn < 2; turn++)
		for (uint64_t i = 0; i < 10; i++)
			assert_int_equal(note(sent, at[i]), turn == 1 && i < 2);
	begin_round(sent, PAGES, (const uint64_t[]){0, 1, 2, 3}, 4);
	assert_true(note(sent, at[0]) && note(sent, at[1]) && !note(sent, at[2]));
	begin_round(sent, PAGES, (const uint64_t[]){1, 7}, 2);
	assert_true(note(sent, at[1]) && !note(sent, at[7]) && note(sent, at[7]));
	assert_false(note(sent, at[0])); /* it has lent its room, and nothing of it is believed */
	begin_round(sent, PAGES, (const uint64_t[]){0, 7}, 2);
	assert_true(!note(sent, at[0]) && note(sent, at[0]) && note(sent, at[7]));
	assert_false(note(sent, at[1]));
	sentpages_drop(sent, 0, PAGES);
	assert_false(note(sent, at[7]));
	sentpages_close(sent);
}

static void there_is_room_for_one_range_at_least(void **state)
{
	struct sentpages *sent = open_sent(SENTPAGES_RANGE * 3, 0);

	(void)state;
	begin_round(sent, SENTPAGES_RANGE * 3, (const uint64_t[]){2}, 1);
	assert_true(!note(sent, SENTPAGES_RANGE * 2) && note(sent, SENTPAGES_RANGE * 2));
	sentpages_close(sent);
	sentpages_close(NULL);
}

/* ---- neighbours in threads of their own ------------------------------------------------------------------------------ */

enum { THREADS = 4, LAPS = 200 };
static struct sentpages *shared;

/* Every fourth page is this thread's, so that all of them share words. */
static void *neighbour(void *arg)
{
	uint64_t own = (uint64_t)(uintptr_t)arg, wrong = 0;

	for (int lap = 0; lap < LAPS; lap++)
		for (uint64_t page = own; page < SENTPAGES_RANGE; page += THREADS) {
			uint64_t changed = 0;
			bool known = sentpages_note(shared, page, content, &changed);

			wrong += known != (lap % 2 == 1) || changed;
			if (lap % 2 == 1)
				sentpages_drop(shared, page, 1);
		}
	return (void *)(uintptr_t)wrong;
}

static void neighbours_do_not_disturb_each_other(void **state)
{
	pthread_t thread[THREADS];
	void *wrong;

	(void)state;
	shared = open_sent(SENTPAGES_RANGE, SENTPAGES_BYTES);
	begin_round(shared, SENTPAGES_RANGE, (const uint64_t[]){0}, 1);
	for (uintptr_t i = 0; i < THREADS; i++)
		assert_int_equal(pthread_create(&thread[i], NULL, neighbour, (void *)i), 0);
	for (int i = 0; i < THREADS; i++) {
		pthread_join(thread[i], &wrong);
		assert_null(wrong);
	}
	sentpages_close(shared);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(what_changed_makes_the_page_again),
	    cmocka_unit_test(digests_differ_by_seed),
	    cmocka_unit_test(a_wrong_base_is_told),
	    cmocka_unit_test(a_delta_that_is_cut_is_bad),
	    cmocka_unit_test(a_page_is_known_from_the_second_time_on),
	    cmocka_unit_test(what_is_dropped_is_not_known),
	    cmocka_unit_test(room_goes_to_what_is_sent),
	    cmocka_unit_test(there_is_room_for_one_range_at_least),
	    cmocka_unit_test(neighbours_do_not_disturb_each_other),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
