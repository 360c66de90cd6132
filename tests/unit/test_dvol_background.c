/* Digests in the background: every closed epoch gets its root, beside writers, and what is written, flushed and closed meanwhile does
 * not wait for it; closing the volume cuts it short, and it goes on later.  On the file system, as there are threads. */
#include "imagefmt/dvol.h"
#include "tests/lib/temp.h"
#include "tests/lib/test.h"

#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { WRITERS = 2, BLOCKS = 2048, ROUNDS = 24 };

static char path[TEMP_MAX + 8];
static struct dvol *volume;
static atomic_bool stop;
static atomic_uint failures;

/* The shim under a volume: reads of the file block at `special` fail, or stop until they may go on. */
static struct file_ops shim;
static atomic_ullong special;
static atomic_int shim_errno;
static atomic_bool shim_hold;
static atomic_uint shim_hits;

static ssize_t shim_readv(void *file, const struct iovec *iov, int count, uint64_t offset)
{
	if (special != 0 && offset == special) {
		shim_hits++;
		while (shim_hold)
			sched_yield();
		if (shim_errno != 0) {
			errno = shim_errno;
			return -1;
		}
	}
	return file_system.readv(file, iov, count, offset);
}

static struct dvol *open_volume(bool create)
{
	struct err err = {0};
	struct dvol_create_options make = {.size_bytes = (uint64_t)BLOCKS * DVOL_BLOCK, .journal_blocks = 64};
	struct dvol_open_options options = {.writable = true, .digest_in_background = true, .files = &shim};
	if (create)
		assert_int_equal(dvol_create(path, &make, &err), 0);
	struct dvol *vol = dvol_open(path, &options, &err);
	if (vol == NULL)
		fail_msg("%s", err.text);
	return vol;
}

static int setup(void **state)
{
	if (temp_setup(state) < 0)
		return -1;
	snprintf(path, sizeof(path), "%s/vol", (const char *)*state);
	shim = file_system;
	shim.readv = shim_readv;
	special = 0;
	shim_errno = 0;
	shim_hold = false;
	shim_hits = 0;
	return 0;
}

static int teardown(void **state)
{
	unlink(path);
	return temp_teardown(state);
}

static void fill(struct dvol *vol, uint64_t block, uint8_t byte)
{
	struct err err = {0};
	uint8_t data[DVOL_BLOCK];
	memset(data, byte, sizeof(data));
	data[0] = (uint8_t)block;
	if (dvol_write(vol, data, sizeof(data), block * DVOL_BLOCK, &err) < 0)
		fail_msg("%s", err.text);
}

/* special_at: the file block of a block of the head is the shim's from now on. */
static void special_at(struct dvol *vol, uint64_t block)
{
	struct err err = {0};
	struct dvol_map_extent *list;
	size_t count;
	assert_int_equal(dvol_map(vol, block * DVOL_BLOCK, DVOL_BLOCK, 1, &list, &count, &err), 0);
	assert_int_equal(list[0].kind, DVOL_MAP_DATA);
	special = list[0].file_offset;
	free(list);
}

static bool has_root(struct dvol *vol, struct dvol_id id)
{
	struct err err = {0};
	struct dvol_epoch *list;
	size_t count;
	bool found = false;
	assert_int_equal(dvol_epochs(vol, &list, &count, &err), 0);
	for (size_t i = 0; i < count; i++)
		found = found || (list[i].id.number == id.number && list[i].has_root);
	free(list);
	return found;
}

/* proven: what is on the disk is what the root says. */
static void proven(struct dvol_id id)
{
	struct err err = {0};
	struct dvol_bad_block *bad;
	size_t nbad;
	struct dvol_open_options options = {.epoch = id};
	struct dvol *epoch = dvol_open(path, &options, &err);
	assert_non_null(epoch);
	if (dvol_verify(epoch, NULL, &bad, &nbad, NULL, &err) < 0)
		fail_msg("%s", err.text);
	assert_int_equal(nbad, 0);
	free(bad);
	dvol_close(epoch, NULL);
}

static void *writer(void *context)
{
	uint64_t first = (uintptr_t)context;
	struct err err = {0};
	uint8_t data[DVOL_BLOCK];
	for (unsigned pass = 1; !stop; pass++) {
		memset(data, (int)pass, sizeof(data));
		for (uint64_t block = first; block < BLOCKS && !stop; block += WRITERS * 5)
			if (dvol_write(volume, data, sizeof(data), block * DVOL_BLOCK, &err) < 0)
				failures++;
		if (dvol_flush(volume, &err) < 0)
			failures++;
	}
	return NULL;
}

static void test_beside_writers(void **unused)
{
	(void)unused;
	struct err err = {0};
	pthread_t threads[WRITERS];
	struct dvol_id ids[ROUNDS];
	struct dvol_info info;
	uint8_t root[DVOL_ROOT];
	volume = open_volume(true);
	stop = false;
	for (uintptr_t i = 0; i < WRITERS; i++)
		assert_int_equal(pthread_create(&threads[i], NULL, writer, (void *)i), 0);
	for (int i = 0; i < ROUNDS; i++) {
		assert_int_equal(dvol_epoch_close(volume, NULL, &ids[i], &err), 0);
		if (i % 5 == 4)
			assert_int_equal(dvol_digest(volume, ids[i], root, &err), 0);
		/* Epochs go, also where the tree is, or is on its way from or to; the thread reads none of them then. */
		if (i % 3 == 2 && dvol_epoch_delete(volume, ids[i - 1], &err) < 0)
			fail_msg("%s", err.text);
		if (i == 12 && dvol_pack(volume, 1, NULL, &err) < 0)
			fail_msg("%s", err.text);
	}
	stop = true;
	for (int i = 0; i < WRITERS; i++)
		pthread_join(threads[i], NULL);
	assert_int_equal(failures, 0);
	while (!has_root(volume, ids[ROUNDS - 1]))
		sched_yield();
	struct dvol_epoch *list;
	size_t count;
	assert_int_equal(dvol_epochs(volume, &list, &count, &err), 0);
	for (size_t i = 0; i < count; i++) {
		assert_true(list[i].has_root);
		proven(list[i].id);
	}
	free(list);
	assert_int_equal(dvol_check(volume, &info, NULL, NULL, &err), 0);
	assert_int_equal(info.errors, 0);
	assert_int_equal(dvol_close(volume, &err), 0);
}

/* While a pass is in the middle of reading a block, others write, flush, close and delete. */
static void test_nobody_waits(void **unused)
{
	(void)unused;
	struct err err = {0};
	uint8_t root[DVOL_ROOT];
	struct dvol *vol = open_volume(true);
	fill(vol, 1, 1);
	struct dvol_id first, second, third, fourth;
	assert_int_equal(dvol_epoch_close(vol, NULL, &first, &err), 0);
	assert_int_equal(dvol_digest(vol, first, root, &err), 0);
	fill(vol, 700, 2);
	shim_hold = true;
	special_at(vol, 700);
	assert_int_equal(dvol_epoch_close(vol, NULL, &second, &err), 0);
	while (shim_hits == 0)
		sched_yield();
	fill(vol, 700, 3);
	fill(vol, 701, 3);
	assert_int_equal(dvol_flush(vol, &err), 0);
	assert_int_equal(dvol_epoch_close(vol, NULL, &third, &err), 0);
	fill(vol, 702, 4);
	assert_int_equal(dvol_epoch_close(vol, NULL, &fourth, &err), 0);
	assert_int_equal(dvol_epoch_delete(vol, third, &err), 0);
	assert_int_equal(dvol_rollback(vol, fourth, &err), 0);
	assert_false(has_root(vol, second));
	shim_hold = false;
	while (!has_root(vol, fourth))
		sched_yield();
	proven(second);
	proven(fourth);
	assert_int_equal(dvol_close(vol, &err), 0);
}

/* Closing cuts a pass short; opening goes on with it. */
static void test_cut_short(void **unused)
{
	(void)unused;
	struct err err = {0};
	struct dvol *vol = open_volume(true);
	struct dvol_id id;
	for (uint64_t block = 0; block < BLOCKS; block++)
		fill(vol, block, 1);
	shim_hold = true;
	special_at(vol, 1500);
	assert_int_equal(dvol_epoch_close(vol, NULL, &id, &err), 0);
	while (shim_hits == 0)
		sched_yield();
	/* As in a close that comes just then; the close itself waits for the read. */
	shim_errno = EIO;
	shim_hold = false;
	assert_int_equal(dvol_close(vol, &err), 0);
	shim_errno = 0;
	shim_hits = 0;
	special = 0;
	vol = open_volume(false);
	while (!has_root(vol, id))
		sched_yield();
	proven(id);
	assert_int_equal(dvol_close(vol, &err), 0);
}

/* What the thread came upon is told by the next digest, once. */
static void test_errors_are_kept(void **unused)
{
	(void)unused;
	struct err err = {0};
	uint8_t root[DVOL_ROOT];
	struct dvol_id id;
	struct dvol *vol = open_volume(true);
	fill(vol, 5, 1);
	special_at(vol, 5);
	shim_errno = EIO;
	assert_int_equal(dvol_epoch_close(vol, NULL, &id, &err), 0);
	while (shim_hits == 0)
		sched_yield();
	assert_int_equal(dvol_digest(vol, id, root, &err), -1);
	assert_int_equal(err.kind, ERR_SYSTEM);
	shim_errno = 0;
	/* That may have been an error of its own, before the thread's was kept. */
	if (dvol_digest(vol, id, root, &err) < 0) {
		assert_int_equal(err.kind, ERR_SYSTEM);
		assert_int_equal(dvol_digest(vol, id, root, &err), 0);
	}
	proven(id);
	assert_int_equal(dvol_close(vol, &err), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test_setup_teardown(test_beside_writers, setup, teardown),
	    cmocka_unit_test_setup_teardown(test_nobody_waits, setup, teardown),
	    cmocka_unit_test_setup_teardown(test_cut_short, setup, teardown),
	    cmocka_unit_test_setup_teardown(test_errors_are_kept, setup, teardown),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
