/* test_pageset.c: the set behaves as a plain array of booleans would, whoever shares it. */
#include "common/pageset.h"
#include "tests/lib/random.h"
#include "tests/lib/test.h"

#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

static void make(struct pageset *set, uint64_t pages)
{
	struct err err = {0};

	if (pageset_create(set, pages, &err) < 0)
		fail_msg("%s", err.text);
}

/* ---- against a model ------------------------------------------------------------------------------------ */

enum { MODEL_MAX = 9000 }; /* three words of summary */

static uint64_t model_range(bool *model, uint64_t pages, uint64_t first, uint64_t count)
{
	uint64_t added = 0;

	for (uint64_t page = first; page < pages && page - first < count; page++) {
		added += !model[page];
		model[page] = true;
	}
	return added;
}

/* One take of the set and what the model says it must give. */
static void compare_take(struct pageset *set, bool *model, uint64_t cursor, size_t max)
{
	static uint64_t got[MODEL_MAX];
	uint64_t at = cursor;
	size_t count = pageset_take(set, &at, got, max);
	size_t expected = 0;

	for (uint64_t page = cursor; page < set->pages && expected < max; page++) {
		if (!model[page])
			continue;
		assert_true(expected < count);
		assert_int_equal(got[expected], page);
		model[page] = false;
		expected++;
	}
	assert_int_equal(count, expected);
	assert_int_equal(at, count ? got[count - 1] + 1 : cursor);
}

/* The runs from `cursor` on are those of the model, and they stay. */
static void compare_runs(const struct pageset *set, const bool *model, uint64_t cursor)
{
	uint64_t page = cursor, first, count;

	while (pageset_next_run(set, &cursor, &first, &count)) {
		for (; page < first; page++)
			assert_false(model[page]);
		assert_true(count > 0);
		for (; page < first + count; page++)
			assert_true(model[page]);
		assert_true(page == set->pages || !model[page]);
		assert_int_equal(cursor, page);
	}
	for (; page < set->pages; page++)
		assert_false(model[page]);
}

static uint64_t model_remove(bool *model, uint64_t pages, uint64_t page, uint64_t count)
{
	uint64_t removed = 0;

	for (; page < pages && count > 0; page++, count--) {
		removed += model[page];
		model[page] = false;
	}
	return removed;
}

static void one_random_step(struct pageset *set, bool *model, uint64_t *random)
{
	uint64_t pages = set->pages;
	uint64_t page = random_next(random) % (pages + 10);
	uint64_t count =
	    random_next(random) % 4 ? random_next(random) % 130 : random_next(random) % (2 * pages);

	switch (random_next(random) % 16) {
	case 0:
		assert_int_equal(pageset_add_range(set, page, count), model_range(model, pages, page, count));
		break;
	case 1:
		assert_int_equal(pageset_add_range(set, page, UINT64_MAX),
				 model_range(model, pages, page, UINT64_MAX));
		break;
	case 2:
	case 3:
		compare_take(set, model, page, count % MODEL_MAX);
		break;
	case 4:
		compare_take(set, model, 0, MODEL_MAX);
		break;
	case 5:
		if (count < 3) {
			pageset_clear(set);
			memset(model, 0, pages);
		}
		break;
	case 6:
		assert_int_equal(pageset_has(set, page), page < pages && model[page]);
		break;
	case 7:
		assert_int_equal(pageset_remove_range(set, page, count),
				 model_remove(model, pages, page, count));
		break;
	case 8:
		compare_runs(set, model, page);
		break;
	default:
		assert_int_equal(pageset_add(set, page), model_range(model, pages, page, 1));
		break;
	}
}

static void a_random_history_matches_a_model(void **state)
{
	static const uint64_t sizes[] = {1, 63, 64, 65, 4095, 4096, 4097, 8192, MODEL_MAX};
	uint64_t random = random_begin();
	static bool model[MODEL_MAX];

	(void)state;
	for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
		struct pageset set;
		uint64_t members = 0;

		make(&set, sizes[i]);
		memset(model, 0, sizeof(model));
		for (int step = 0; step < 3000; step++)
			one_random_step(&set, model, &random);
		for (uint64_t page = 0; page < sizes[i]; page++) {
			assert_int_equal(pageset_has(&set, page), model[page]);
			members += model[page];
		}
		assert_int_equal(pageset_count(&set), members);
		compare_take(&set, model, 0, MODEL_MAX);
		assert_int_equal(pageset_count(&set), 0);
		pageset_close(&set);
	}
}

static void pages_past_the_end_are_ignored(void **state)
{
	uint64_t cursor = 0, page;
	struct pageset set;

	(void)state;
	make(&set, 100);
	assert_false(pageset_add(&set, 100));
	assert_false(pageset_add(&set, UINT64_MAX));
	assert_int_equal(pageset_add_range(&set, 100, 5), 0);
	assert_int_equal(pageset_add_range(&set, UINT64_MAX, UINT64_MAX), 0);
	assert_false(pageset_has(&set, 100));
	assert_false(pageset_has(&set, UINT64_MAX));
	assert_int_equal(pageset_take(&set, &cursor, &page, 1), 0);
	assert_int_equal(pageset_add_range(&set, 99, UINT64_MAX), 1);
	cursor = UINT64_MAX;
	assert_int_equal(pageset_take(&set, &cursor, &page, 1), 0);
	assert_true(cursor == UINT64_MAX);
	cursor = 0;
	assert_int_equal(pageset_take(&set, &cursor, &page, 0), 0);
	assert_int_equal(pageset_take(&set, &cursor, &page, 1), 1);
	assert_int_equal(page, 99);
	pageset_close(&set);
}

/* ---- sharing -------------------------------------------------------------------------------------------- */

static void another_process_adds_and_this_one_takes(void **state)
{
	enum { PAGES = 10000 };
	struct pageset set, view;
	uint64_t pages[8], cursor = 0;
	int status;
	pid_t pid;

	(void)state;
	make(&set, PAGES);
	pid = fork();
	assert_true(pid >= 0);
	if (pid == 0) {
		if (pageset_map(&view, dup(set.fd), PAGES, NULL) < 0 || view.words == set.words)
			_exit(1);
		pageset_add(&view, 7);
		pageset_add(&view, PAGES - 1);
		pageset_close(&view);
		_exit(0);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_int_equal(status, 0);
	assert_int_equal(pageset_take(&set, &cursor, pages, 8), 2);
	assert_int_equal(pages[0], 7);
	assert_int_equal(pages[1], PAGES - 1);
	pageset_close(&set);
}

static void refused(int fd, uint64_t pages, const char *why)
{
	struct pageset set = {0};
	struct err err = {0};

	assert_int_equal(pageset_map(&set, fd, pages, &err), -1);
	assert_non_null(strstr(err.text, why));
	assert_null(set.words);
	/* The descriptor stays the caller's. */
	assert_true(fcntl(fd, F_GETFD) >= 0 || fd < 0);
}

static void what_a_peer_sends_is_checked_before_it_is_mapped(void **state)
{
	int fd = memfd_create("test", MFD_ALLOW_SEALING | MFD_CLOEXEC);
	int null = open("/dev/null", O_RDWR | O_CLOEXEC);
	struct pageset set;

	(void)state;
	assert_int_equal(ftruncate(fd, 1 << 20), 0);
	refused(fd, 100, "sealed");
	assert_int_equal(fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK), 0);
	assert_int_equal(pageset_map(&set, dup(fd), 100, NULL), 0);
	pageset_close(&set);
	refused(fd, 10000000, "need");
	refused(fd, 0, "cannot be");
	refused(fd, UINT64_MAX, "cannot be");
	refused(fd, (1ull << 44) + 1, "cannot be");
	refused(null, 100, "sealed");
	refused(-1, 100, "sealed");
	/* It may not be written: the mapping fails, and says so. */
	assert_int_equal(fcntl(fd, F_ADD_SEALS, F_SEAL_WRITE), 0);
	refused(fd, 100, "cannot map");
	close(fd);
	close(null);
	assert_int_equal(pageset_create(&set, 0, NULL), -1);
	assert_int_equal(pageset_create(&set, UINT64_MAX, NULL), -1);
}

static void the_size_asked_for_is_the_size_checked(void **state)
{
	struct pageset set, view = {0};
	struct stat st;

	(void)state;
	/* 64 words and one of summary; the 65th word and a second summary word are needed for one page more. */
	make(&set, 4096);
	assert_int_equal(fstat(set.fd, &st), 0);
	assert_int_equal(st.st_size, 65 * 8);
	assert_int_equal(pageset_map(&view, dup(set.fd), 4096, NULL), 0);
	pageset_close(&view);
	refused(set.fd, 4097, "need");
	/* Nobody who has the descriptor can take the memory from under the others. */
	assert_int_equal(ftruncate(set.fd, 0), -1);
	pageset_close(&set);
}

static void close_is_harmless_on_nothing(void **state)
{
	struct pageset set = {0};

	(void)state;
	pageset_close(&set);
	pageset_close(&set);
	assert_int_equal(fcntl(0, F_GETFD) >= 0, 1);
}

/* Every bit that the memory has is set: no page past the end comes out, and everything ends. */
static void bits_past_the_end_never_come_out(void **state)
{
	static uint64_t pages[200];
	struct pageset set;
	uint64_t cursor = 0;

	(void)state;
	make(&set, 70);
	memset(set.words, 0xff, set.map_len);
	assert_int_equal(pageset_count(&set), 70);
	assert_int_equal(pageset_take(&set, &cursor, pages, 200), 70);
	assert_int_equal(pages[69], 69);
	assert_int_equal(pageset_take(&set, &cursor, pages, 200), 0);
	memset(set.words, 0xff, set.map_len);
	pageset_clear(&set);
	assert_int_equal(pageset_count(&set), 0);
	pageset_close(&set);
}

/* Members of a part of one set, elsewhere in another one; both keep what they have. */
static void a_part_is_copied_to_another_place(void **state)
{
	struct pageset from, to;
	uint64_t cursor = 0, pages[8];

	(void)state;
	make(&from, 300);
	make(&to, 70000);
	pageset_add(&from, 63); /* before the part */
	pageset_add(&from, 64);
	pageset_add(&from, 200);
	pageset_add(&from, 250); /* behind it */
	pageset_add(&to, 1);
	pageset_add_copy(&to, 65536, &from, 64, 140);
	assert_int_equal(pageset_count(&from), 4);
	assert_int_equal(pageset_take(&to, &cursor, pages, 8), 3);
	assert_int_equal(pages[0], 1);
	assert_int_equal(pages[1], 65536);
	assert_int_equal(pages[2], 65536 + 136);
	pageset_close(&from);
	pageset_close(&to);
}

/* A process that died between the two halves of an add has left a member that nobody finds. */
static void a_set_whose_changer_died_is_mended(void **state)
{
	struct pageset set;
	uint64_t cursor = 0, pages[8];

	(void)state;
	make(&set, 5000);
	__atomic_store_n(&set.words[70], 2, __ATOMIC_SEQ_CST);
	assert_int_equal(pageset_count(&set), 0);
	pageset_mend(&set);
	assert_int_equal(pageset_take(&set, &cursor, pages, 8), 1);
	assert_int_equal(pages[0], 70 * 64 + 1);
	pageset_close(&set);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(a_random_history_matches_a_model),
	    cmocka_unit_test(pages_past_the_end_are_ignored),
	    cmocka_unit_test(another_process_adds_and_this_one_takes),
	    cmocka_unit_test(what_a_peer_sends_is_checked_before_it_is_mapped),
	    cmocka_unit_test(the_size_asked_for_is_the_size_checked),
	    cmocka_unit_test(close_is_harmless_on_nothing),
	    cmocka_unit_test(bits_past_the_end_never_come_out),
	    cmocka_unit_test(a_part_is_copied_to_another_place),
	    cmocka_unit_test(a_set_whose_changer_died_is_mended),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
