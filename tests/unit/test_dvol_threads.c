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
	    cmocka_unit_test_setup_teardown(test_other_process, temp_setup, temp_teardown),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
