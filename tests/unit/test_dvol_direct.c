/* Transfers of a volume's blocks by its user itself: which ranges, where they are, and that nothing moves them meanwhile. */
#include "imagefmt/dvol.h"
#include "tests/lib/temp.h"
#include "tests/lib/test.h"

#include <pthread.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { BLOCKS = 64, LEN = 4 * DVOL_BLOCK };

static char folder[TEMP_MAX], path[TEMP_MAX + 16];
static struct dvol *volume;
static uint8_t *data; /* LEN bytes, aligned */

static int setup(void **state)
{
	(void)state;
	const struct dvol_create_options create = {.size_bytes = BLOCKS * DVOL_BLOCK};
	const struct dvol_open_options open = {.writable = true, .direct = true};
	struct err err = {0};
	temp_make(folder);
	snprintf(path, sizeof(path), "%s/volume", folder);
	data = aligned_alloc(DVOL_BLOCK, LEN);
	if (!data || dvol_create(path, &create, &err) || !(volume = dvol_open(path, &open, &err)))
		fail_msg("%s", err.text);
	memset(data, 1, LEN);
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	dvol_close(volume, NULL);
	free(data);
	temp_remove(folder);
	return 0;
}

static enum dvol_direct_kind direct(bool write, size_t len, uint64_t offset, struct dvol_direct *where)
{
	const struct iovec iov = {.iov_base = data, .iov_len = len};
	return dvol_direct(volume, write, &iov, 1, offset, where);
}

static void write_all(uint8_t value, size_t len, uint64_t offset)
{
	struct err err = {0};
	memset(data, value, LEN);
	if (dvol_write(volume, data, len, offset, &err))
		fail_msg("%s", err.text);
}

static void expect(uint8_t value, uint64_t offset)
{
	uint8_t have[DVOL_BLOCK];
	struct err err = {0};
	assert_int_equal(dvol_read(volume, have, sizeof(have), offset, &err), 0);
	for (size_t i = 0; i < sizeof(have); i++)
		assert_int_equal(have[i], value);
}

static void test_new_blocks(void **state)
{
	(void)state;
	struct dvol_direct where, other;
	/* Zeroes need no transfer; but the pages of the map must be known, which a write sees to. */
	write_all(5, DVOL_BLOCK, 0);
	assert_int_equal(direct(false, DVOL_BLOCK, 8 * DVOL_BLOCK, &where), DVOL_DIRECT_DONE);
	assert_int_equal(data[0], 0);
	assert_int_equal(data[DVOL_BLOCK - 1], 0);
	assert_int_equal(data[DVOL_BLOCK], 5);
	/* A write there takes a place, which is theirs when the data is there, and not before. */
	memset(data, 6, LEN);
	assert_int_equal(direct(true, LEN, 8 * DVOL_BLOCK, &where), DVOL_DIRECT_IO);
	assert_int_equal(pwrite(where.fd, data, LEN, (off_t)where.at), LEN);
	expect(0, 8 * DVOL_BLOCK);
	/* Meanwhile nobody else gives these blocks another one without waiting. */
	assert_int_equal(direct(true, DVOL_BLOCK, 9 * DVOL_BLOCK, &other), DVOL_DIRECT_NO);
	assert_true(dvol_direct_end(volume, &where, true));
	for (unsigned i = 0; i < LEN / DVOL_BLOCK; i++)
		expect(6, (8 + i) * DVOL_BLOCK);
	assert_int_equal(direct(true, LEN, 8 * DVOL_BLOCK, &other), DVOL_DIRECT_IO);
	assert_int_equal(other.at, where.at);
	assert_true(dvol_direct_end(volume, &other, true));
}

/* One that failed leaves everything as it was, space too. */
static void test_failed(void **state)
{
	(void)state;
	struct dvol_direct where;
	struct dvol_info before, after;
	struct err err = {0};
	write_all(5, DVOL_BLOCK, 0);
	assert_int_equal(dvol_flush(volume, &err), 0);
	assert_int_equal(dvol_info(volume, &before, &err), 0);
	assert_int_equal(direct(true, LEN, 8 * DVOL_BLOCK, &where), DVOL_DIRECT_IO);
	memset(data, 6, LEN);
	assert_int_equal(pwrite(where.fd, data, LEN, (off_t)where.at), LEN);
	assert_false(dvol_direct_end(volume, &where, false));
	expect(0, 8 * DVOL_BLOCK);
	assert_int_equal(dvol_flush(volume, &err), 0);
	assert_int_equal(dvol_info(volume, &after, &err), 0);
	assert_int_equal(after.used_bytes, before.used_bytes);
	assert_int_equal(dvol_check(volume, &after, NULL, NULL, &err), 0);
}

/* A block of a closed epoch goes elsewhere, and the epoch keeps what it had; all of it is there after the file was opened
 * again. */
static void test_after_close(void **state)
{
	(void)state;
	struct dvol_open_options options = {0};
	struct dvol_direct where;
	struct dvol_id id;
	struct err err = {0};
	uint8_t have[DVOL_BLOCK];
	write_all(5, LEN, 0);
	assert_int_equal(dvol_epoch_close(volume, NULL, &id, &err), 0);
	memset(data, 6, LEN);
	assert_int_equal(direct(true, LEN, 0, &where), DVOL_DIRECT_IO);
	assert_int_equal(pwrite(where.fd, data, LEN, (off_t)where.at), LEN);
	assert_true(dvol_direct_end(volume, &where, true));
	assert_int_equal(dvol_close(volume, &err), 0);
	options.epoch = id;
	volume = dvol_open(path, &options, &err);
	assert_non_null(volume);
	assert_int_equal(dvol_read(volume, have, sizeof(have), DVOL_BLOCK, &err), 0);
	assert_int_equal(have[0], 5);
	assert_int_equal(dvol_close(volume, &err), 0);
	options = (struct dvol_open_options){.writable = true, .direct = true};
	volume = dvol_open(path, &options, &err);
	assert_non_null(volume);
	expect(6, DVOL_BLOCK);
	assert_int_equal(dvol_check(volume, &(struct dvol_info){0}, NULL, NULL, &err), 0);
}

static void test_transfers(void **state)
{
	(void)state;
	struct dvol_direct where;
	write_all(7, LEN, 16 * DVOL_BLOCK);
	assert_int_equal(direct(true, LEN, 16 * DVOL_BLOCK, &where), DVOL_DIRECT_IO);
	memset(data, 8, LEN);
	assert_int_equal(pwrite(where.fd, data, LEN, (off_t)where.at), LEN);
	assert_true(dvol_direct_end(volume, &where, true));
	for (unsigned i = 0; i < LEN / DVOL_BLOCK; i++)
		expect(8, (16 + i) * DVOL_BLOCK);
	memset(data, 0, LEN);
	assert_int_equal(direct(false, LEN, 16 * DVOL_BLOCK, &where), DVOL_DIRECT_IO);
	assert_int_equal(pread(where.fd, data, LEN, (off_t)where.at), LEN);
	assert_true(dvol_direct_end(volume, &where, true));
	assert_int_equal(data[0], 8);
	assert_int_equal(data[LEN - 1], 8);
}

static void test_refused(void **state)
{
	(void)state;
	struct dvol_direct where;
	struct iovec crooked = {.iov_base = data + 512, .iov_len = DVOL_BLOCK};
	write_all(7, LEN, 0);
	assert_int_equal(direct(false, 512, 0, &where), DVOL_DIRECT_NO);
	assert_int_equal(direct(false, DVOL_BLOCK, 512, &where), DVOL_DIRECT_NO);
	assert_int_equal(direct(false, 0, 0, &where), DVOL_DIRECT_NO);
	assert_int_equal(dvol_direct(volume, false, &crooked, 1, 0, &where), DVOL_DIRECT_NO);
	/* Past the end, and where adding up would wrap. */
	assert_int_equal(direct(false, LEN, (BLOCKS - 3) * DVOL_BLOCK, &where), DVOL_DIRECT_NO);
	assert_int_equal(direct(false, DVOL_BLOCK, -(uint64_t)DVOL_BLOCK, &where), DVOL_DIRECT_NO);
	/* Data next to zeroes. */
	assert_int_equal(direct(false, LEN, 2 * DVOL_BLOCK, &where), DVOL_DIRECT_NO);
}

static void *close_epoch(void *arg)
{
	struct err err = {0};
	(void)arg;
	return dvol_epoch_close(volume, NULL, NULL, &err) ? "failed" : NULL;
}

/* A close waits for the transfer, which is of the epoch then; and the block is not written in place any more. */
static void test_epoch_waits(void **state)
{
	(void)state;
	struct dvol_direct first, second;
	pthread_t closer;
	void *result;
	write_all(7, DVOL_BLOCK, 0);
	assert_int_equal(direct(true, DVOL_BLOCK, 0, &first), DVOL_DIRECT_IO);
	assert_int_equal(pthread_create(&closer, NULL, close_epoch, NULL), 0);
	/* Until the one that closes has shut the gate nobody is kept out, and then nobody has to wait to learn of it. */
	while (direct(true, DVOL_BLOCK, 0, &second) == DVOL_DIRECT_IO) {
		assert_true(dvol_direct_end(volume, &second, true));
		sched_yield();
	}
	memset(data, 9, LEN);
	assert_int_equal(pwrite(first.fd, data, DVOL_BLOCK, (off_t)first.at), DVOL_BLOCK);
	assert_true(dvol_direct_end(volume, &first, true));
	pthread_join(closer, &result);
	assert_null(result);
	assert_int_equal(direct(true, DVOL_BLOCK, 0, &second), DVOL_DIRECT_IO);
	assert_int_not_equal(second.at, first.at);
	assert_false(dvol_direct_end(volume, &second, false));
	assert_int_equal(direct(false, DVOL_BLOCK, 0, &second), DVOL_DIRECT_IO);
	assert_true(dvol_direct_end(volume, &second, true));
	expect(9, 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test_setup_teardown(test_new_blocks, setup, teardown),
	    cmocka_unit_test_setup_teardown(test_failed, setup, teardown),
	    cmocka_unit_test_setup_teardown(test_after_close, setup, teardown),
	    cmocka_unit_test_setup_teardown(test_transfers, setup, teardown),
	    cmocka_unit_test_setup_teardown(test_refused, setup, teardown),
	    cmocka_unit_test_setup_teardown(test_epoch_waits, setup, teardown),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
