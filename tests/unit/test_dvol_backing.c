/* Overlays: what was never written comes from the backing, what was discarded does not; a chain of them; pins; what a backing
 * must not be. */
#include "imagefmt/dvol.h"
#include "tests/lib/memdisk.h"
#include "tests/lib/random.h"
#include "tests/lib/test.h"

#include <stdlib.h>
#include <string.h>

enum { BLOCKS = 64, SIZE = BLOCKS * DVOL_BLOCK, RAW = SIZE / 2 + 700 };

static struct memdisk disk;

static int make(const char *path, enum dvol_backing_kind kind, const char *backing, struct dvol_id epoch,
		struct err *err)
{
	struct dvol_create_options create = {.size_bytes = SIZE,
					     .backing_kind = kind,
					     .backing_path = backing,
					     .backing_epoch = epoch,
					     .files = &memdisk_ops,
					     .files_context = &disk};
	return dvol_create(path, &create, err);
}

static struct dvol *open_it(const char *path, bool writable, struct dvol_id epoch, struct err *err)
{
	struct dvol_open_options options = {
	    .writable = writable, .epoch = epoch, .files = &memdisk_ops, .files_context = &disk};
	return dvol_open(path, &options, err);
}

static void assert_content(struct dvol *vol, const uint8_t *expected)
{
	static uint8_t data[SIZE];
	struct err err = {0};
	if (dvol_read(vol, data, SIZE, 0, &err) < 0)
		fail_msg("%s", err.text);
	for (size_t i = 0; i < SIZE; i++)
		if (data[i] != expected[i])
			fail_msg("byte %zu is %u, not %u", i, data[i], expected[i]);
}

/* scribble: writes, zeroes and discards, on the volume and on the expected bytes. */
static void scribble(struct dvol *vol, uint8_t *expected, uint64_t *random)
{
	struct err err = {0};
	for (int i = 0; i < 40; i++) {
		uint64_t offset = random_next(random) % SIZE, len = 1 + random_next(random) % 20000;
		len = len < SIZE - offset ? len : SIZE - offset;
		if (random_next(random) % 3 == 0) {
			assert_int_equal(dvol_write_zeroes(vol, offset, len, &err), 0);
			memset(expected + offset, 0, len);
			continue;
		}
		memset(expected + offset, (int)random_next(random), len);
		assert_int_equal(dvol_write(vol, expected + offset, len, offset, &err), 0);
	}
}

static int setup(void **state)
{
	static uint8_t raw[SIZE];
	for (size_t i = 0; i < RAW; i++)
		raw[i] = (uint8_t)(i * 7 + i / 4096);
	memset(raw + RAW, 0, SIZE - RAW);
	memset(&disk, 0, sizeof(disk));
	memdisk_put(&disk, "dir/raw", raw, RAW);
	*state = raw;
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	memdisk_free(&disk);
	return 0;
}

static void test_chain(void **state)
{
	struct err err = {0};
	struct dvol_info info;
	uint8_t root[DVOL_ROOT];
	static uint8_t expected[3][SIZE];
	uint64_t random = random_begin();
	struct dvol_id id[2];
	/* Relative paths are seen from the overlay's folder. */
	assert_int_equal(make("dir/a", DVOL_BACKING_RAW, "raw", (struct dvol_id){0}, &err), 0);
	struct dvol *a = open_it("dir/a", true, (struct dvol_id){0}, &err);
	memcpy(expected[0], *state, SIZE);
	assert_content(a, expected[0]);
	scribble(a, expected[0], &random);
	assert_content(a, expected[0]);
	assert_int_equal(dvol_epoch_close(a, NULL, &id[0], &err), 0);
	memcpy(expected[1], expected[0], SIZE);
	scribble(a, expected[1], &random);
	assert_content(a, expected[1]);

	/* An overlay upon a closed epoch of a volume that is being written, and one upon that. */
	assert_int_equal(make("dir/b", DVOL_BACKING_DVOL, "a", id[0], &err), 0);
	struct dvol *b = open_it("dir/b", true, (struct dvol_id){0}, &err);
	memcpy(expected[2], expected[0], SIZE);
	assert_content(b, expected[2]);
	assert_int_equal(dvol_epoch_delete(a, id[0], &err), -1);
	assert_int_equal(err.kind, ERR_STATE);
	scribble(b, expected[2], &random);
	assert_content(b, expected[2]);
	assert_int_equal(dvol_epoch_close(b, NULL, &id[1], &err), 0);
	assert_int_equal(make("dir/c", DVOL_BACKING_DVOL, "b", id[1], &err), 0);
	struct dvol *c = open_it("dir/c", true, (struct dvol_id){0}, &err);
	assert_content(c, expected[2]);
	scribble(c, expected[2], &random);
	assert_content(c, expected[2]);
	assert_int_equal(dvol_epoch_close(c, NULL, &id[1], &err), 0);
	assert_int_equal(dvol_digest(c, id[1], root, &err), 0);

	/* The digest is that of the content, wherever it lies. */
	uint8_t flat_root[DVOL_ROOT];
	assert_int_equal(make("flat", DVOL_BACKING_NONE, NULL, (struct dvol_id){0}, &err), 0);
	struct dvol *flat = open_it("flat", true, (struct dvol_id){0}, &err);
	assert_int_equal(dvol_write(flat, expected[2], SIZE, 0, &err), 0);
	assert_int_equal(dvol_epoch_close(flat, NULL, &id[1], &err), 0);
	assert_int_equal(dvol_digest(flat, id[1], flat_root, &err), 0);
	assert_memory_equal(root, flat_root, DVOL_ROOT);

	assert_content(a, expected[1]);
	struct dvol *all[] = {flat, c, b, a};
	for (int i = 0; i < 4; i++) {
		assert_int_equal(dvol_check(all[i], &info, NULL, NULL, &err), 0);
		assert_int_equal(info.errors, 0);
		assert_int_equal(dvol_close(all[i], &err), 0);
	}
}

static void test_pins(void **state)
{
	(void)state;
	struct err err = {0};
	struct dvol_id id;
	assert_int_equal(make("dir/a", DVOL_BACKING_NONE, NULL, (struct dvol_id){0}, &err), 0);
	struct dvol *a = open_it("dir/a", true, (struct dvol_id){0}, &err);
	assert_int_equal(dvol_epoch_close(a, NULL, &id, &err), 0);
	assert_int_equal(dvol_pin(a, id, "drill", &err), 0);
	assert_int_equal(dvol_pin(a, id, "drill", &err), -1);
	assert_int_equal(dvol_close(a, &err), 0);
	a = open_it("dir/a", true, (struct dvol_id){0}, &err);
	assert_int_equal(dvol_epoch_delete(a, id, &err), -1);
	assert_non_null(strstr(err.text, "drill"));
	assert_int_equal(dvol_unpin(a, id, "drill", &err), 0);
	assert_int_equal(dvol_unpin(a, id, "drill", &err), -1);
	assert_int_equal(dvol_epoch_delete(a, id, &err), 0);
	assert_int_equal(dvol_close(a, &err), 0);
}

/* Files that are moved after the overlays were made can form a circle. */
static void test_circle(void **state)
{
	(void)state;
	struct err err = {0};
	struct dvol_id id = {0};
	assert_int_equal(make("dir/a", DVOL_BACKING_NONE, NULL, id, &err), 0);
	struct dvol *a = open_it("dir/a", true, id, &err);
	assert_int_equal(dvol_epoch_close(a, NULL, &id, &err), 0);
	dvol_close(a, NULL);
	assert_int_equal(make("dir/b", DVOL_BACKING_DVOL, "a", id, &err), 0);
	struct dvol *b = open_it("dir/b", true, (struct dvol_id){0}, &err);
	assert_int_equal(dvol_epoch_close(b, NULL, &id, &err), 0);
	dvol_close(b, NULL);
	struct memdisk_file *from = memdisk_file(&disk, "dir/b");
	memdisk_put(&disk, "dir/a", from->data, from->size);
	assert_null(open_it("dir/b", false, (struct dvol_id){0}, &err));
	assert_true(err.text[0] != '\0');
}

static void test_not_there(void **state)
{
	(void)state;
	struct err err = {0};
	assert_int_equal(make("dir/a", DVOL_BACKING_RAW, "nothing", (struct dvol_id){0}, &err), -1);
	assert_null(memdisk_file(&disk, "dir/a")); /* nothing half-made is left */
	assert_int_equal(
	    make("dir/a", DVOL_BACKING_DVOL, "raw", (struct dvol_id){.term = 1, .number = 1}, &err), -1);
	assert_non_null(strstr(err.text, "not a .dvol volume"));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test_setup_teardown(test_chain, setup, teardown),
	    cmocka_unit_test_setup_teardown(test_pins, setup, teardown),
	    cmocka_unit_test_setup_teardown(test_circle, setup, teardown),
	    cmocka_unit_test_setup_teardown(test_not_there, setup, teardown),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
