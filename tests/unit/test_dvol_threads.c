/* A volume under several threads, and closed epochs read by other handles meanwhile: on the file system, so that the locks
 * are the real ones. */
#include "imagefmt/dvol.h"
#include "tests/lib/temp.h"
#include "tests/lib/test.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

enum { WRITERS = 3, BLOCKS = 512, ROUNDS = 40 };

static char path[TEMP_MAX + 8];
static struct dvol *volume;
static atomic_bool stop;
static atomic_uint failures;

/* Each writer has the sectors of its number modulo WRITERS in every block, so that all of them write to parts of the same
 * blocks.  Its value rises by one with each pass over the volume: in an epoch no sector of a writer is older than
 * one before it by more than a pass. */
static void *writer(void *context)
{
	unsigned number = (unsigned)(uintptr_t)context;
	struct err err = {0};
	uint32_t data[DVOL_SECTOR / 4];
	for (uint32_t pass = 1; !stop; pass++) {
		for (size_t i = 0; i < DVOL_SECTOR / 4; i++)
			data[i] = pass;
		for (uint64_t sector = number; sector < BLOCKS * 8 && !stop; sector += WRITERS)
			if (dvol_write(volume, data, sizeof(data), sector * DVOL_SECTOR, &err) < 0) {
				print_message("%s\n", err.text);
				failures++;
				return NULL;
			}
		if (dvol_flush(volume, &err) < 0)
			failures++;
	}
	return NULL;
}

static bool sound(struct dvol *vol)
{
	static _Thread_local uint32_t data[BLOCKS * 8][DVOL_SECTOR / 4];
	struct err err = {0};
	if (dvol_read(vol, data, sizeof(data), 0, &err) < 0) {
		print_message("%s\n", err.text);
		return false;
	}
	for (unsigned w = 0; w < WRITERS; w++)
		for (size_t s = w + WRITERS; s < BLOCKS * 8; s += WRITERS) {
			uint32_t now = data[s][0], before = data[s - WRITERS][0];
			if (memcmp(data[s], (uint8_t *)data[s] + 4, DVOL_SECTOR - 4) != 0 || now > before ||
			    now + 1 < data[w][0])
				return false;
		}
	return true;
}

static struct dvol *open_epoch(struct dvol_id id)
{
	struct err err = {0};
	struct dvol_open_options options = {.epoch = id, .cache_pages = 4};
	struct dvol *vol = dvol_open(path, &options, &err);
	if (vol == NULL)
		print_message("%s\n", err.text);
	return vol;
}

static void test_epochs_under_load(void **state)
{
	struct err err = {0};
	struct dvol_create_options create = {.size_bytes = BLOCKS * DVOL_BLOCK, .journal_blocks = 16};
	struct dvol_open_options options = {.writable = true, .compact = true};
	pthread_t threads[WRITERS];
	struct dvol_id ids[ROUNDS];
	struct dvol *readers[ROUNDS] = {NULL};
	snprintf(path, sizeof(path), "%s/vol", (const char *)*state);
	assert_int_equal(dvol_create(path, &create, &err), 0);
	volume = dvol_open(path, &options, &err);
	assert_non_null(volume);
	for (uintptr_t i = 0; i < WRITERS; i++)
		assert_int_equal(pthread_create(&threads[i], NULL, writer, (void *)i), 0);
	for (int i = 0; i < ROUNDS; i++) {
		uint8_t root[DVOL_ROOT];
		assert_int_equal(dvol_epoch_close(volume, NULL, &ids[i], &err), 0);
		readers[i] = open_epoch(ids[i]);
		assert_non_null(readers[i]);
		assert_true(sound(readers[i]));
		if (i % 8 == 0 && dvol_digest(volume, ids[i], root, &err) < 0)
			fail_msg("%s", err.text);
		if (i < 6)
			continue;
		/* Somebody reads it: not to be deleted.  Then nobody does, and it goes, while others are read on. */
		int old = i - 3 - i % 3;
		if (readers[old] == NULL)
			continue;
		assert_int_equal(dvol_epoch_delete(volume, ids[old], &err), -1);
		assert_int_equal(err.kind, ERR_STATE);
		assert_true(sound(readers[old]));
		dvol_close(readers[old], NULL);
		readers[old] = NULL;
		if (dvol_epoch_delete(volume, ids[old], &err) < 0)
			fail_msg("%s", err.text);
		assert_true(sound(readers[0]) && sound(readers[i]));
	}
	stop = true;
	for (int i = 0; i < WRITERS; i++)
		pthread_join(threads[i], NULL);
	assert_int_equal(failures, 0);
	for (int i = 0; i < ROUNDS; i++) {
		if (readers[i] != NULL)
			assert_true(sound(readers[i]));
		dvol_close(readers[i], NULL);
	}
	struct dvol_info info;
	assert_int_equal(dvol_check(volume, &info, NULL, NULL, &err), 0);
	assert_int_equal(info.errors, 0);
	assert_int_equal(dvol_close(volume, &err), 0);
	unlink(path);
}

/* ---- the cache of the map trimmed and grown, and the gate shut, under readers and writers that take no lock ---- */
enum { OWNERS = 2, WIDE = 40 * 504, PER_PAGE = 504, TURNS = 30 };

/* A block holds its number and a version, again and again. */
static void stamp(uint64_t data[DVOL_BLOCK / 8], uint64_t block, uint64_t version)
{
	for (size_t i = 0; i < DVOL_BLOCK / 8; i++)
		data[i] = block << 32 | version;
}

/* stamped: zeroes, or words of this block, of whatever versions: who reads while somebody overwrites sees some of both. */
static bool stamped(const uint64_t data[DVOL_BLOCK / 8], uint64_t block)
{
	for (size_t i = 0; i < DVOL_BLOCK / 8; i++)
		if (data[i] != 0 && data[i] >> 32 != block)
			return false;
	return true;
}

/* A block of a few in each page of the map, so that there are far more pages than the cache may hold. */
static uint64_t some_block(uint64_t *x, unsigned owner)
{
	*x = *x * 6364136223846793005ULL + 1442695040888963407ULL;
	return (*x >> 33) % (WIDE / PER_PAGE) * PER_PAGE + (*x >> 50) % 4 * OWNERS + owner;
}

/* What an owner has written it reads again, as only a rollback takes it back, and that to what it wrote earlier. */
static void *owner(void *context)
{
	unsigned number = (unsigned)(uintptr_t)context;
	uint64_t x = number, data[DVOL_BLOCK / 8];
	struct err err = {0};
	for (uint64_t version = 1; !stop; version++) {
		uint64_t block = some_block(&x, number);
		stamp(data, block, version);
		if (dvol_write(volume, data, DVOL_BLOCK, block * DVOL_BLOCK, &err) < 0 ||
		    dvol_read(volume, data, DVOL_BLOCK, block * DVOL_BLOCK, &err) < 0 ||
		    !stamped(data, block) || (data[0] & UINT32_MAX) > version ||
		    memcmp(data, data + 1, DVOL_BLOCK - 8) != 0) {
			print_message("owner %u, block %llu: %s\n", number, (unsigned long long)block,
				      err.text);
			failures++;
		}
		if (version % 64 == 0 && dvol_flush(volume, &err) < 0)
			failures++;
	}
	return NULL;
}

static void *watcher(void *context)
{
	uint64_t x = 99, data[DVOL_BLOCK / 8];
	struct err err = {0};
	(void)context;
	while (!stop) {
		uint64_t block = some_block(&x, x >> 40 & 1);
		if (dvol_read(volume, data, DVOL_BLOCK, block * DVOL_BLOCK, &err) < 0 ||
		    !stamped(data, block)) {
			print_message("block %llu: %s\n", (unsigned long long)block, err.text);
			failures++;
		}
	}
	return NULL;
}

static void wide_turn(int turn)
{
	struct err err = {0};
	struct dvol_id id;
	struct dvol_info info;
	assert_int_equal(dvol_epoch_close(volume, NULL, &id, &err), 0);
	/* The blocks of both owners in one page of the map: they are freed while others look for them. */
	uint64_t page = (uint64_t)turn % (WIDE / PER_PAGE) * PER_PAGE * DVOL_BLOCK;
	assert_int_equal(dvol_discard(volume, page, 16 * DVOL_BLOCK, &err), 0);
	if (turn % 3 == 0 && dvol_rollback(volume, id, &err) < 0)
		fail_msg("%s", err.text);
	if (turn % 2 == 0 && dvol_epoch_delete(volume, id, &err) < 0)
		fail_msg("%s", err.text);
	if (turn % 10 == 9) {
		assert_int_equal(dvol_check(volume, &info, NULL, NULL, &err), 0);
		assert_int_equal(info.errors, 0);
	}
}

static void test_cache_under_load(void **state)
{
	struct err err = {0};
	struct dvol_create_options create = {.size_bytes = (uint64_t)WIDE * DVOL_BLOCK};
	struct dvol_open_options options = {.writable = true, .compact = true, .cache_pages = 4};
	pthread_t threads[OWNERS + 2];
	snprintf(path, sizeof(path), "%s/vol", (const char *)*state);
	assert_int_equal(dvol_create(path, &create, &err), 0);
	volume = dvol_open(path, &options, &err);
	assert_non_null(volume);
	stop = false;
	for (uintptr_t i = 0; i < OWNERS + 2; i++)
		assert_int_equal(pthread_create(&threads[i], NULL, i < OWNERS ? owner : watcher, (void *)i),
				 0);
	for (int turn = 0; turn < TURNS; turn++)
		wide_turn(turn);
	stop = true;
	for (int i = 0; i < OWNERS + 2; i++)
		pthread_join(threads[i], NULL);
	assert_int_equal(failures, 0);
	assert_int_equal(dvol_close(volume, &err), 0);
	unlink(path);
}

/* Another process: the head is refused, closed epochs are not, and its second writer is. */
static void test_other_process(void **state)
{
	struct err err = {0};
	struct dvol_create_options create = {.size_bytes = BLOCKS * DVOL_BLOCK};
	struct dvol_open_options options = {.writable = true};
	struct dvol_id id;
	snprintf(path, sizeof(path), "%s/vol", (const char *)*state);
	assert_int_equal(dvol_create(path, &create, &err), 0);
	struct dvol *vol = dvol_open(path, &options, &err);
	assert_non_null(vol);
	assert_int_equal(dvol_write(vol, "old", 3, 5, &err), 0);
	assert_int_equal(dvol_epoch_close(vol, NULL, &id, &err), 0);
	assert_int_equal(dvol_write(vol, "new", 3, 5, &err), 0);
	assert_int_equal(dvol_flush(vol, &err), 0);
	pid_t child = fork();
	if (child == 0) {
		char text[4] = "";
		bool refused = dvol_open(path, &options, &err) == NULL && err.kind == ERR_STATE;
		refused = refused && dvol_open(path, NULL, &err) == NULL && err.kind == ERR_STATE;
		struct dvol *epoch = open_epoch(id);
		bool read =
		    epoch != NULL && dvol_read(epoch, text, 3, 5, &err) == 0 && strcmp(text, "old") == 0;
		_exit(refused && read ? 0 : 1);
	}
	int status;
	assert_int_equal(waitpid(child, &status, 0), child);
	assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 0);
	assert_int_equal(dvol_close(vol, &err), 0);
	unlink(path);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test_setup_teardown(test_epochs_under_load, temp_setup, temp_teardown),
	    cmocka_unit_test_setup_teardown(test_cache_under_load, temp_setup, temp_teardown),
	    cmocka_unit_test_setup_teardown(test_other_process, temp_setup, temp_teardown),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
