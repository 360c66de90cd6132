/* Compression at rest: the head and every closed epoch read as before, digests too; space is won, and comes back exactly when
 * the blocks go, in any order; packed blocks are overwritten, cut and discarded like others; damage is found; readers
 * of closed epochs are not disturbed. */
#include "imagefmt/dvol.h"
#include "tests/lib/memdisk.h"
#include "tests/lib/random.h"
#include "tests/lib/test.h"

#include <stdlib.h>
#include <string.h>

enum { BLOCKS = 600, SIZE = BLOCKS * DVOL_BLOCK, EPOCHS = 4 };

static struct memdisk disk;
static uint64_t seed;

static void make(const char *path, unsigned compress, const uint8_t *lineage)
{
	struct err err = {0};
	struct dvol_create_options create = {.size_bytes = SIZE,
					     .journal_blocks = 16,
					     .compress = compress,
					     .lineage = lineage,
					     .files = &memdisk_ops,
					     .files_context = &disk};
	assert_int_equal(dvol_create(path, &create, &err), 0);
}

static struct dvol *open_it(const char *path, bool writable, struct dvol_id epoch)
{
	struct err err = {0};
	struct dvol_open_options options = {.writable = writable,
					    .epoch = epoch,
					    .cache_pages = 8,
					    .files = &memdisk_ops,
					    .files_context = &disk};
	struct dvol *vol = dvol_open(path, &options, &err);
	if (vol == NULL)
		fail_msg("%s", err.text);
	return vol;
}

static int setup(void **state)
{
	memset(&disk, 0, sizeof(disk));
	seed = random_begin();
	*state = calloc(EPOCHS + 1, SIZE);
	return *state == NULL;
}

static int teardown(void **state)
{
	free(*state);
	memdisk_free(&disk);
	return 0;
}

/* fill: text of a sort, which shrinks to a third or so; every ninth block does not shrink. */
static void fill(uint8_t *data, size_t len)
{
	for (size_t block = 0; block < len; block += DVOL_BLOCK) {
		bool noise = random_next(&seed) % 9 == 0;
		for (size_t i = block; i < len && i < block + DVOL_BLOCK; i++)
			data[i] =
			    noise ? (uint8_t)random_next(&seed) : (uint8_t) "abcd"[random_next(&seed) % 4];
	}
}

static void scribble(struct dvol *vol, uint8_t *expected, int times, uint64_t unit)
{
	struct err err = {0};
	for (int i = 0; i < times; i++) {
		uint64_t offset = random_next(&seed) % SIZE / unit * unit;
		uint64_t len = (1 + random_next(&seed) % (20 * DVOL_BLOCK)) / unit * unit;
		len = len < SIZE - offset ? len : SIZE - offset;
		if (random_next(&seed) % 8 == 0) {
			memset(expected + offset, 0, len);
			assert_int_equal(dvol_write_zeroes(vol, offset, len, &err), 0);
			continue;
		}
		fill(expected + offset, len);
		if (dvol_write(vol, expected + offset, len, offset, &err) < 0)
			fail_msg("%s", err.text);
	}
}

static void assert_content(struct dvol *vol, const uint8_t *expected, const char *what)
{
	static uint8_t data[SIZE];
	struct err err = {0};
	if (dvol_read(vol, data, SIZE, 0, &err) < 0)
		fail_msg("%s: %s", what, err.text);
	for (size_t i = 0; i < SIZE; i++)
		if (data[i] != expected[i])
			fail_msg("%s: byte %zu (block %zu) is wrong", what, i, i / DVOL_BLOCK);
	/* Also in pieces that cut blocks. */
	for (int i = 0; i < 50; i++) {
		uint64_t offset = random_next(&seed) % SIZE, len = 1 + random_next(&seed) % 9000;
		len = len < SIZE - offset ? len : SIZE - offset;
		assert_int_equal(dvol_read(vol, data, len, offset, &err), 0);
		assert_memory_equal(data, expected + offset, len);
	}
}

static void report(void *context, const char *text)
{
	(void)context;
	print_message("check: %s\n", text);
}

static struct dvol_info checked(struct dvol *vol)
{
	struct err err = {0};
	struct dvol_info info;
	if (dvol_check(vol, &info, report, NULL, &err) < 0)
		fail_msg("%s", err.text);
	assert_int_equal(info.errors, 0);
	return info;
}

struct history {
	struct dvol *vol;
	struct dvol_id ids[EPOCHS];
	uint8_t *head, *epochs[EPOCHS];
};

static void history_make(struct history *h, uint8_t *memory)
{
	struct err err = {0};
	make("vol", 0, NULL);
	h->vol = open_it("vol", true, (struct dvol_id){0});
	h->head = memory;
	fill(h->head, SIZE / 2);
	assert_int_equal(dvol_write(h->vol, h->head, SIZE / 2, 0, &err), 0);
	for (size_t i = 0; i < EPOCHS; i++) {
		scribble(h->vol, h->head, 25, 1);
		assert_int_equal(dvol_epoch_close(h->vol, NULL, &h->ids[i], &err), 0);
		h->epochs[i] = memory + (i + 1) * SIZE;
		memcpy(h->epochs[i], h->head, SIZE);
	}
	scribble(h->vol, h->head, 25, 1);
}

static void history_compare(const struct history *h, const char *when)
{
	assert_content(h->vol, h->head, when);
	for (size_t i = 0; i < EPOCHS; i++) {
		if (h->epochs[i] == NULL)
			continue;
		struct dvol *epoch = open_it("vol", false, h->ids[i]);
		assert_content(epoch, h->epochs[i], when);
		dvol_close(epoch, NULL);
	}
}

static void test_history(void **state)
{
	struct err err = {0};
	struct history h;
	struct dvol_pack_result result;
	uint8_t before[DVOL_ROOT], after[DVOL_ROOT];
	history_make(&h, *state);
	assert_int_equal(dvol_digest(h.vol, h.ids[1], before, &err), 0);
	struct dvol_info plain = checked(h.vol);
	if (dvol_pack(h.vol, 0, &result, &err) < 0)
		fail_msg("%s", err.text);
	assert_true(result.packed_blocks > BLOCKS);
	history_compare(&h, "packed");
	struct dvol_info packed = checked(h.vol);
	assert_int_equal(packed.packed_blocks, result.packed_blocks);
	assert_int_equal(plain.data_bytes - packed.data_bytes, result.freed_blocks * DVOL_BLOCK);
	assert_true(packed.data_bytes < plain.data_bytes * 2 / 3);

	/* The same again wins nothing, and a digest over packed blocks is that of their content. */
	assert_int_equal(dvol_pack(h.vol, 0, &result, &err), 0);
	assert_true(result.packed_blocks < BLOCKS / 4);
	for (size_t i = 0; i < EPOCHS; i++) {
		assert_int_equal(dvol_digest(h.vol, h.ids[i], after, &err), 0);
		if (i == 1)
			assert_memory_equal(before, after, DVOL_ROOT);
	}
	dvol_close(h.vol, &err);
	h.vol = open_it("vol", true, (struct dvol_id){0});
	scribble(h.vol, h.head, 60, 1);
	history_compare(&h, "written after packing");
	checked(h.vol);

	/* Each epoch goes, in an order of chance; each time exactly what is needed stays. */
	for (size_t left = EPOCHS; left > 0; left--) {
		size_t at = random_next(&seed) % EPOCHS;
		while (h.epochs[at] == NULL)
			at = (at + 1) % EPOCHS;
		assert_int_equal(dvol_epoch_delete(h.vol, h.ids[at], &err), 0);
		h.epochs[at] = NULL;
		history_compare(&h, "after a delete");
		checked(h.vol);
	}
	assert_int_equal(dvol_write_zeroes(h.vol, 0, SIZE, &err), 0);
	struct dvol_info empty = checked(h.vol);
	assert_int_equal(empty.data_bytes, 0);
	assert_int_equal(empty.packed_blocks, 0);
	assert_int_equal(dvol_close(h.vol, &err), 0);
}

static void test_rollback(void **state)
{
	struct err err = {0};
	struct history h;
	history_make(&h, *state);
	assert_int_equal(dvol_pack(h.vol, 1, NULL, &err), 0);
	scribble(h.vol, h.head, 60, 1);
	assert_int_equal(dvol_rollback(h.vol, h.ids[EPOCHS - 1], &err), 0);
	assert_content(h.vol, h.epochs[EPOCHS - 1], "rolled back");
	checked(h.vol);
	assert_int_equal(dvol_close(h.vol, &err), 0);
}

/* Without any closed epoch the head is packed, and written again: in blocks, in parts of blocks. */
static void test_head(void **state)
{
	uint8_t *expected = *state;
	struct err err = {0};
	make("vol", 0, NULL);
	struct dvol *vol = open_it("vol", true, (struct dvol_id){0});
	for (int round = 0; round < 6; round++) {
		scribble(vol, expected, 40, round % 2 ? 1 : DVOL_BLOCK);
		struct dvol_pack_result result;
		assert_int_equal(dvol_pack(vol, 3, &result, &err), 0);
		assert_true(result.packed_blocks > 0 && result.freed_blocks > 0);
		assert_content(vol, expected, "a packed head");
		checked(vol);
	}
	assert_int_equal(dvol_close(vol, &err), 0);
}

static void test_refused_while_read(void **state)
{
	struct err err = {0};
	struct history h;
	struct dvol_pack_result result;
	history_make(&h, *state);
	struct dvol *reader = open_it("vol", false, h.ids[2]);
	assert_int_equal(dvol_pack(h.vol, 0, &result, &err), -1);
	assert_int_equal(err.kind, ERR_STATE);
	assert_non_null(strstr(err.text, "somebody is reading epoch 1.3"));
	assert_int_equal(result.packed_blocks, 0);
	dvol_close(reader, NULL);
	assert_int_equal(dvol_pack(h.vol, 0, &result, &err), 0);
	/* And the locks are gone again. */
	history_compare(&h, "packed");
	assert_int_equal(dvol_pack(h.vol, 20, NULL, &err), -1);
	assert_int_equal(err.kind, ERR_USAGE);
	assert_int_equal(dvol_close(h.vol, &err), 0);
}

static void test_noise(void **state)
{
	uint8_t *expected = *state;
	struct err err = {0};
	struct dvol_pack_result result;
	make("vol", 0, NULL);
	struct dvol *vol = open_it("vol", true, (struct dvol_id){0});
	for (size_t i = 0; i < SIZE; i++)
		expected[i] = (uint8_t)random_next(&seed);
	assert_int_equal(dvol_write(vol, expected, SIZE, 0, &err), 0);
	uint64_t used = checked(vol).data_bytes;
	assert_int_equal(dvol_pack(vol, 0, &result, &err), 0);
	assert_int_equal(result.packed_blocks, 0);
	assert_int_equal(checked(vol).data_bytes, used);
	assert_content(vol, expected, "noise");
	assert_int_equal(dvol_close(vol, &err), 0);
}

/* A byte of a packed extent is changed in the file: reads say so, verify names the blocks. */
static void test_damage(void **state)
{
	uint8_t *expected = *state, root[DVOL_ROOT], data[DVOL_BLOCK];
	struct err err = {0};
	make("vol", 0, NULL);
	struct dvol *vol = open_it("vol", true, (struct dvol_id){0});
	for (size_t i = 0; i < SIZE; i++)
		expected[i] = (uint8_t)(i / 64);
	struct dvol_id id;
	assert_int_equal(dvol_write(vol, expected, SIZE, 0, &err), 0);
	assert_int_equal(dvol_epoch_close(vol, NULL, &id, &err), 0);
	assert_int_equal(dvol_pack(vol, 0, NULL, &err), 0);
	assert_int_equal(dvol_digest(vol, id, root, &err), 0);
	struct dvol_map_extent *list;
	size_t count;
	assert_int_equal(dvol_map(vol, 160 * DVOL_BLOCK, DVOL_BLOCK, 1, &list, &count, &err), 0);
	assert_int_equal(list[0].kind, DVOL_MAP_PACKED);
	uint64_t at = list[0].file_offset;
	free(list);
	assert_int_equal(dvol_close(vol, &err), 0);
	memdisk_file(&disk, "vol")->data[at + 700] ^= 4;
	vol = open_it("vol", false, id);
	assert_int_equal(dvol_read(vol, data, DVOL_BLOCK, 160 * DVOL_BLOCK, &err), -1);
	assert_int_equal(err.kind, ERR_INPUT);
	assert_non_null(strstr(err.text, "the compressed blocks at byte"));
	assert_int_equal(dvol_read(vol, data, DVOL_BLOCK, 0, &err), 0);
	struct dvol_bad_block *bad;
	size_t nbad;
	assert_int_equal(dvol_verify(vol, NULL, &bad, &nbad, NULL, &err), 0);
	assert_int_equal(nbad, 16);
	assert_int_equal(bad[0].offset, 160 * DVOL_BLOCK);
	free(bad);
	dvol_close(vol, NULL);
}

/* What is applied to, and written to stay in, a volume that compresses. */
static void test_cold(void **state)
{
	uint8_t *expected = *state;
	struct err err = {0};
	struct history h;
	struct dvol_info info;
	history_make(&h, expected);
	assert_int_equal(dvol_info(h.vol, &info, &err), 0);
	make("copy", 3, info.lineage);
	struct dvol *copy = open_it("copy", true, (struct dvol_id){0});
	for (size_t i = 0; i < EPOCHS; i++) {
		uint8_t here[DVOL_ROOT], there[DVOL_ROOT];
		struct dvol *epoch = open_it("vol", false, h.ids[i]);
		struct dvol_id from = {0};
		if (dvol_export(epoch, i > 0 ? h.ids[i - 1] : from, "delta", &err) < 0)
			fail_msg("%s", err.text);
		dvol_close(epoch, NULL);
		if (dvol_apply(copy, "delta", &err) < 0)
			fail_msg("%s", err.text);
		assert_int_equal(memdisk_ops.unlink(&disk, "delta"), 0);
		assert_content(copy, h.epochs[i], "the copy");
		assert_int_equal(dvol_digest(h.vol, h.ids[i], here, &err), 0);
		assert_int_equal(dvol_digest(copy, h.ids[i], there, &err), 0);
		assert_memory_equal(here, there, DVOL_ROOT);
	}
	info = checked(copy);
	assert_int_equal(info.compress, 3);
	assert_true(info.packed_blocks > BLOCKS / 2);
	assert_true(info.data_bytes < checked(h.vol).data_bytes * 2 / 3);
	/* Over what is packed and over the open epoch's own, at any alignment. */
	memcpy(h.head, h.epochs[EPOCHS - 1], SIZE);
	for (int i = 0; i < 60; i++) {
		uint64_t offset = random_next(&seed) % SIZE, len = random_next(&seed) % (40 * DVOL_BLOCK);
		len = len < SIZE - offset ? len : SIZE - offset;
		fill(h.head + offset, len);
		assert_int_equal(dvol_write_cold(copy, h.head + offset, len, offset, &err), 0);
	}
	assert_int_equal(dvol_write_cold(copy, h.head, DVOL_BLOCK, SIZE - 100, &err), -1);
	assert_int_equal(err.kind, ERR_USAGE);
	assert_content(copy, h.head, "written cold");
	checked(copy);
	assert_int_equal(dvol_close(copy, &err), 0);
	assert_int_equal(dvol_close(h.vol, &err), 0);
}

static bool tick(void *context, uint64_t done, uint64_t total)
{
	uint64_t *left = context;
	assert_true(done <= total);
	return (*left)-- > 0;
}

static void test_cancel(void **state)
{
	struct err err = {0};
	struct history h;
	history_make(&h, *state);
	for (uint64_t left = 0;; left++) {
		uint64_t some = left;
		dvol_on_progress(h.vol, tick, &some);
		int result = dvol_pack(h.vol, 0, NULL, &err);
		dvol_on_progress(h.vol, NULL, NULL);
		history_compare(&h, "cancelled");
		checked(h.vol);
		if (result == 0)
			break;
		assert_int_equal(err.kind, ERR_CANCELLED);
	}
	assert_int_equal(dvol_close(h.vol, &err), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test_setup_teardown(test_history, setup, teardown),
	    cmocka_unit_test_setup_teardown(test_rollback, setup, teardown),
	    cmocka_unit_test_setup_teardown(test_head, setup, teardown),
	    cmocka_unit_test_setup_teardown(test_refused_while_read, setup, teardown),
	    cmocka_unit_test_setup_teardown(test_noise, setup, teardown),
	    cmocka_unit_test_setup_teardown(test_damage, setup, teardown),
	    cmocka_unit_test_setup_teardown(test_cold, setup, teardown),
	    cmocka_unit_test_setup_teardown(test_cancel, setup, teardown),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
