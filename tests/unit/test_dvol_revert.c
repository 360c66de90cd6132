/* dvol_revert: the head reads as an older epoch again and the later epochs stay; what a power cut, a failing disk or a cancel
 * leaves is the old head or, after the next writable open, the epoch's, and never a mixture that somebody can read.
 * $DROVER_TEST_SEED repeats a run. */
#include "tests/lib/dvolkit.h"
#include "tests/lib/powercut.h"
#include "tests/lib/random.h"
#include "tests/lib/test.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define PATH "vol"
enum { BLOCKS = 600, EPOCHS = 4, WRITES = 90, STATES = 400 };

/* What a volume is to hold: in each epoch, and at last in the head. */
struct model {
	struct dvol_id id[EPOCHS];
	uint8_t bytes[EPOCHS + 1][BLOCKS]; /* 0: zeroes */
};

static const struct dvol_id head = {0};

static struct dvol *make(struct memdisk *disk, struct model *model, uint64_t *random)
{
	struct dvol *vol = kit_volume(disk, PATH, BLOCKS, 0);
	for (size_t epoch = 0; epoch <= EPOCHS; epoch++) {
		if (epoch > 0)
			memcpy(model->bytes[epoch], model->bytes[epoch - 1], BLOCKS);
		for (int i = 0; i < WRITES; i++) {
			uint64_t block = random_below(random, BLOCKS);
			uint8_t byte = (uint8_t)random_below(random, 3);
			model->bytes[epoch][block] = byte;
			if (byte)
				kit_fill(vol, block, byte);
			else
				assert_int_equal(dvol_discard(vol, block * DVOL_BLOCK, DVOL_BLOCK, NULL), 0);
		}
		if (epoch < EPOCHS)
			model->id[epoch] = kit_close_epoch(vol);
	}
	return vol;
}

static bool holds(struct dvol *vol, const uint8_t bytes[BLOCKS])
{
	uint8_t data[DVOL_BLOCK], expected[DVOL_BLOCK];
	for (uint64_t block = 0; block < BLOCKS; block++) {
		memset(expected, bytes[block], sizeof(expected));
		if (bytes[block])
			memcpy(expected, &block, sizeof(block));
		assert_int_equal(dvol_read(vol, data, sizeof(data), block * DVOL_BLOCK, NULL), 0);
		if (memcmp(data, expected, sizeof(data)) != 0)
			return false;
	}
	return true;
}

static void epochs_hold(struct memdisk *disk, const struct model *model)
{
	for (size_t i = 0; i < EPOCHS; i++) {
		struct dvol *epoch = kit_open(disk, PATH, model->id[i]);
		assert_true(holds(epoch, model->bytes[i]));
		dvol_close(epoch, NULL);
	}
}

static void check_clean(struct dvol *vol)
{
	struct dvol_info info;
	size_t pins;
	struct dvol_pinned *list;
	assert_int_equal(dvol_check(vol, &info, NULL, NULL, NULL), 0);
	assert_int_equal(info.errors, 0);
	assert_int_equal(dvol_pins(vol, &list, &pins, NULL), 0);
	assert_int_equal(pins, 0);
	free(list);
}

static void test_back_and_forth(void **state)
{
	static const size_t order[] = {0, 2, 1, 3, 0, 3};
	struct memdisk disk = {0};
	struct model model = {0};
	struct err err = {0};
	uint64_t random = random_begin();
	struct dvol *vol = make(&disk, &model, &random);
	(void)state;
	for (size_t i = 0; i < sizeof(order) / sizeof(order[0]); i++) {
		if (dvol_revert(vol, model.id[order[i]], &err) < 0)
			fail_msg("%s", err.text);
		assert_true(holds(vol, model.bytes[order[i]]));
		epochs_hold(&disk, &model);
		check_clean(vol);
	}
	assert_int_equal(dvol_revert(vol, (struct dvol_id){9, 9}, &err), -1);
	assert_int_equal(err.kind, ERR_STATE);
	assert_int_equal(dvol_pin(vol, model.id[0], DVOL_PIN_REVERT, &err), -1);
	assert_int_equal(err.kind, ERR_USAGE);
	dvol_close(vol, NULL);
	memdisk_free(&disk);
}

/* A second revert to the same epoch writes nothing: what is equal already takes no space. */
static void test_costs_what_differs(void **state)
{
	struct memdisk disk = {0};
	struct model model = {0};
	struct dvol_info before, after;
	uint64_t random = random_begin();
	struct dvol *vol = make(&disk, &model, &random);
	(void)state;
	assert_int_equal(dvol_revert(vol, model.id[1], NULL), 0);
	assert_int_equal(dvol_info(vol, &before, NULL), 0);
	assert_int_equal(dvol_revert(vol, model.id[1], NULL), 0);
	assert_int_equal(dvol_info(vol, &after, NULL), 0);
	assert_int_equal(after.undo_entries, before.undo_entries);
	dvol_close(vol, NULL);
	memdisk_free(&disk);
}

static void test_grown(void **state)
{
	struct memdisk disk = {0};
	struct dvol *vol = kit_volume(&disk, PATH, 16, 0);
	uint8_t data[DVOL_BLOCK], zeroes[DVOL_BLOCK] = {0};
	(void)state;
	kit_fill(vol, 15, 1);
	struct dvol_id small = kit_close_epoch(vol);
	assert_int_equal(dvol_resize(vol, 32 * DVOL_BLOCK, NULL), 0);
	kit_fill(vol, 31, 2);
	kit_close_epoch(vol);
	assert_int_equal(dvol_revert(vol, small, NULL), 0);
	assert_int_equal(dvol_size(vol), 32 * DVOL_BLOCK);
	assert_int_equal(dvol_read(vol, data, DVOL_BLOCK, 31 * DVOL_BLOCK, NULL), 0);
	assert_memory_equal(data, zeroes, DVOL_BLOCK);
	dvol_close(vol, NULL);
	memdisk_free(&disk);
}

static void test_power_cuts(void **state)
{
	struct powercut *pc = calloc(1, sizeof(*pc));
	struct model model = {0};
	uint64_t random = random_begin();
	unsigned old = 0, new = 0;
	(void)state;
	assert_non_null(pc);
	struct dvol *vol = make(&pc->disk, &model, &random);
	assert_int_equal(dvol_flush(vol, NULL), 0);
	powercut_begin(pc);
	assert_int_equal(dvol_revert(vol, model.id[0], NULL), 0);
	for (unsigned i = 0; i < STATES; i++) {
		powercut_make(pc, &random);
		struct dvol *cut = kit_open(&pc->cut, PATH, head);
		bool reverted = holds(cut, model.bytes[0]);
		assert_true(reverted || holds(cut, model.bytes[EPOCHS]));
		*(reverted ? &new : &old) += 1;
		epochs_hold(&pc->cut, &model);
		check_clean(cut);
		dvol_close(cut, NULL);
	}
	print_message("%u times the old head, %u times the epoch's\n", old, new);
	assert_true(old > 0 && new > 0);
	dvol_close(vol, NULL);
	powercut_free(pc);
	free(pc);
}

static bool no_more(void *context, uint64_t done, uint64_t total)
{
	(void)context, (void)done, (void)total;
	return false;
}

/* Half a revert cannot be read, closed, nor deleted under; the next writable open ends it. */
static void test_cancelled(void **state)
{
	struct memdisk disk = {0};
	struct model model = {0};
	struct err err = {0};
	uint64_t random = random_begin();
	struct dvol *vol = make(&disk, &model, &random);
	struct dvol_open_options read_head = {.files = &memdisk_ops, .files_context = &disk};
	(void)state;
	dvol_on_progress(vol, no_more, NULL);
	assert_int_equal(dvol_revert(vol, model.id[0], &err), -1);
	assert_int_equal(err.kind, ERR_CANCELLED);
	assert_int_equal(dvol_epoch_close(vol, NULL, NULL, &err), -1);
	assert_int_equal(err.kind, ERR_STATE);
	assert_int_equal(dvol_rollback(vol, model.id[EPOCHS - 1], &err), -1);
	assert_int_equal(dvol_revert(vol, model.id[1], &err), -1);
	assert_int_equal(dvol_epoch_delete(vol, model.id[0], &err), -1);
	assert_int_equal(dvol_unpin(vol, model.id[0], DVOL_PIN_REVERT, &err), -1);
	dvol_close(vol, NULL);
	assert_null(dvol_open(PATH, &read_head, &err));
	assert_non_null(strstr(err.text, "its head was being reverted to epoch 1.1"));
	vol = kit_open(&disk, PATH, head);
	assert_true(holds(vol, model.bytes[0]));
	check_clean(vol);
	dvol_close(vol, NULL);
	memdisk_free(&disk);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_back_and_forth), cmocka_unit_test(test_costs_what_differs),
	    cmocka_unit_test(test_grown),          cmocka_unit_test(test_power_cuts),
	    cmocka_unit_test(test_cancelled),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
