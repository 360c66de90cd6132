/* Every system call under a volume fails once, or for good, or writes half: the error says so, and the volume opens at
 * its last flush, checks clean and has all its closed epochs. */
#include "imagefmt/dvol.h"
#include "tests/lib/memdisk.h"
#include "tests/lib/test.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define PATH "vol"
enum { BLOCKS = 600, EPOCHS = 4 };

/* A block's content is a tag, repeated.  Failing writes leave a block with its old or its new tag, by sectors. */
struct load {
	struct memdisk disk;
	struct dvol *vol;
	uint32_t flushed[BLOCKS], now[BLOCKS], epochs[EPOCHS][BLOCKS];
	bool closed[EPOCHS], maybe[EPOCHS]; /* maybe: failed while it was closed or deleted */
	bool rolled;                        /* a rollback to epoch 2 was begun */
	struct err err;
};

static struct dvol *open_it(struct load *l, bool writable, uint64_t epoch, struct err *err)
{
	struct dvol_open_options options = {.writable = writable,
					    .epoch = {.term = epoch != 0, .number = epoch},
					    .cache_pages = 4,
					    .files = &memdisk_ops,
					    .files_context = &l->disk};
	return dvol_open(PATH, &options, err);
}

static bool flushed(struct load *l)
{
	if (dvol_flush(l->vol, &l->err) < 0)
		return false;
	memcpy(l->flushed, l->now, sizeof(l->now));
	return true;
}

static bool put(struct load *l, uint32_t first, uint32_t count, uint32_t stride, uint32_t tag)
{
	uint32_t data[DVOL_BLOCK / 4];
	for (size_t i = 0; i < DVOL_BLOCK / 4; i++)
		data[i] = tag;
	for (uint32_t i = 0; i < count; i++) {
		l->now[first + i * stride] = tag;
		if (dvol_write(l->vol, data, DVOL_BLOCK, (uint64_t)(first + i * stride) * DVOL_BLOCK,
			       &l->err) < 0)
			return false;
	}
	return true;
}

static bool drop(struct load *l, uint32_t first, uint32_t count)
{
	memset(l->now + first, 0, count * sizeof(*l->now));
	return dvol_discard(l->vol, (uint64_t)first * DVOL_BLOCK, (uint64_t)count * DVOL_BLOCK, &l->err) == 0;
}

static bool seal(struct load *l, unsigned epoch)
{
	struct dvol_id id = {.term = 1, .number = epoch};
	l->maybe[epoch] = true;
	memcpy(l->epochs[epoch], l->now, sizeof(l->now));
	if (dvol_epoch_close(l->vol, &id, NULL, &l->err) < 0)
		return false;
	l->closed[epoch] = true;
	l->maybe[epoch] = false;
	memcpy(l->flushed, l->now, sizeof(l->now));
	return true;
}

static bool erase(struct load *l, unsigned epoch)
{
	l->maybe[epoch] = true;
	l->closed[epoch] = false;
	if (dvol_epoch_delete(l->vol, (struct dvol_id){.term = 1, .number = epoch}, &l->err) < 0)
		return false;
	l->maybe[epoch] = false;
	return true;
}

static bool roll(struct load *l, unsigned epoch)
{
	l->rolled = true;
	if (dvol_rollback(l->vol, (struct dvol_id){.term = 1, .number = epoch}, &l->err) < 0)
		return false;
	l->rolled = false;
	memcpy(l->now, l->epochs[epoch], sizeof(l->now));
	memcpy(l->flushed, l->now, sizeof(l->now));
	return true;
}

static bool reopen(struct load *l)
{
	struct dvol *vol = l->vol;
	l->vol = NULL;
	if (dvol_close(vol, &l->err) < 0)
		return false;
	memcpy(l->flushed, l->now, sizeof(l->now));
	l->vol = open_it(l, true, 0, &l->err);
	return l->vol != NULL;
}

/* run: false at the first error. */
static bool run(struct load *l)
{
	struct dvol_create_options options = {.size_bytes = (uint64_t)BLOCKS * DVOL_BLOCK,
					      .journal_blocks = 16,
					      .files = &memdisk_ops,
					      .files_context = &l->disk};
	if (dvol_create(PATH, &options, &l->err) < 0)
		return false;
	l->vol = open_it(l, true, 0, &l->err);
	return l->vol != NULL && put(l, 0, 60, 9, 1) && flushed(l) && put(l, 3, 20, 5, 2) && seal(l, 1) &&
	       put(l, 1, 80, 7, 3) && flushed(l) && drop(l, 40, 50) && flushed(l) && seal(l, 2) &&
	       put(l, 0, 100, 5, 4) && reopen(l) && put(l, 2, 90, 6, 5) && seal(l, 3) &&
	       put(l, 0, 40, 3, 6) && erase(l, 1) && flushed(l) && put(l, 11, 30, 4, 7) && flushed(l) &&
	       erase(l, 3) && roll(l, 2) && put(l, 5, 50, 5, 8) && flushed(l) && reopen(l);
}

static void compare(struct dvol *vol, const uint32_t *want, const uint32_t *or_now, uint64_t point)
{
	static uint32_t data[BLOCKS][DVOL_BLOCK / 4];
	struct err err = {0};
	assert_int_equal(dvol_read(vol, data, sizeof(data), 0, &err), 0);
	for (size_t b = 0; b < BLOCKS; b++)
		for (size_t i = 0; i < DVOL_BLOCK / 4; i++)
			if (data[b][i] != want[b] && (or_now == NULL || data[b][i] != or_now[b]))
				fail_msg("failure at call %llu: block %zu has tag %u, not %u",
					 (unsigned long long)point, b, data[b][i], want[b]);
}

static void report(void *context, const char *text)
{
	(void)context;
	print_message("check: %s\n", text);
}

static void examine(struct load *l, uint64_t point)
{
	struct err err = {0};
	struct dvol_info info;
	struct dvol *vol = open_it(l, true, 0, &err);
	if (vol == NULL)
		fail_msg("after a failure at call %llu: %s", (unsigned long long)point, err.text);
	assert_int_equal(dvol_check(vol, &info, report, NULL, &err), 0);
	if (info.errors != 0)
		fail_msg("after a failure at call %llu the volume is damaged", (unsigned long long)point);
	/* Blocks written between the flush and the failure may have been overwritten more than once: the load writes
	 * none of its tags twice to a block in that time, so old or new is all there is.  A rollback is all or nothing. */
	if (!l->rolled)
		compare(vol, l->flushed, l->now, point);
	assert_int_equal(dvol_close(vol, &err), 0);
	for (unsigned e = 1; e < EPOCHS; e++) {
		vol = open_it(l, false, e, &err);
		if (vol == NULL && l->closed[e])
			fail_msg("failure at call %llu: epoch %u: %s", (unsigned long long)point, e,
				 err.text);
		if (vol != NULL) {
			assert_true(l->closed[e] || l->maybe[e]);
			compare(vol, l->epochs[e], NULL, point);
			dvol_close(vol, NULL);
		}
	}
}

static bool fail_at(uint64_t point, int code, bool sticky, bool half)
{
	struct load *l = calloc(1, sizeof(*l));
	assert_non_null(l);
	l->disk.fail_in = point;
	l->disk.fail_errno = code;
	l->disk.fail_sticky = sticky;
	l->disk.fail_short = half;
	bool done = run(l);
	bool failed = l->disk.failures > 0;
	if (!done) {
		assert_true(failed);
		assert_true(l->err.text[0] != '\0');
		/* A short write is continued, so it fails only when it goes on failing. */
		if (strstr(l->err.text, strerror(code)) == NULL &&
		    strstr(l->err.text, strerror(ENOSPC)) == NULL &&
		    strstr(l->err.text, "earlier write failed") == NULL)
			fail_msg("call %llu: the error does not say why: %s", (unsigned long long)point,
				 l->err.text);
	}
	l->disk.fail_in = 0;
	(void)dvol_close(l->vol, NULL);
	if (memdisk_file(&l->disk, PATH) != NULL)
		examine(l, point);
	else
		assert_true(!done); /* the volume could not be made, and nothing was left */
	memdisk_free(&l->disk);
	free(l);
	return failed;
}

static void test_each_call_fails_once(void **unused)
{
	(void)unused;
	uint64_t point = 1;
	while (fail_at(point, EIO, false, false))
		point++;
	print_message("%llu calls\n", (unsigned long long)point - 1);
	assert_true(point > 500);
}

static void test_space_runs_out(void **unused)
{
	(void)unused;
	for (uint64_t point = 1; fail_at(point, ENOSPC, true, false);)
		point += 3;
}

static void test_short_writes(void **unused)
{
	(void)unused;
	for (uint64_t point = 1; fail_at(point, EIO, false, true);)
		point += 3;
	for (uint64_t point = 2; fail_at(point, EIO, true, true);)
		point += 7;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_each_call_fails_once),
	    cmocka_unit_test(test_space_runs_out),
	    cmocka_unit_test(test_short_writes),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
