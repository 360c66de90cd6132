/* Root digests depend on the content alone; what is computed step by step equals what is computed at once; deletes and
 * rollbacks take the tree with them. */
#include "imagefmt/dvol.h"
#include "tests/lib/memdisk.h"
#include "tests/lib/random.h"
#include "tests/lib/test.h"

#include <stdlib.h>
#include <string.h>

enum { BLOCKS = 700 };

static struct memdisk disk;

static struct dvol *volume(const char *path, uint64_t blocks, struct err *err)
{
	struct dvol_create_options create = {.size_bytes = blocks * DVOL_BLOCK,
					     .journal_blocks = 32,
					     .files = &memdisk_ops,
					     .files_context = &disk};
	struct dvol_open_options options = {.writable = true, .files = &memdisk_ops, .files_context = &disk};
	assert_int_equal(dvol_create(path, &create, err), 0);
	return dvol_open(path, &options, err);
}

static struct dvol *epoch_of(const char *path, struct dvol_id id, struct err *err)
{
	struct dvol_open_options options = {.epoch = id, .files = &memdisk_ops, .files_context = &disk};
	return dvol_open(path, &options, err);
}

static struct dvol_id seal(struct dvol *vol)
{
	struct err err = {0};
	struct dvol_id id;
	assert_int_equal(dvol_epoch_close(vol, NULL, &id, &err), 0);
	return id;
}

static void write_some(struct dvol *vol, uint64_t *random)
{
	struct err err = {0};
	uint8_t data[DVOL_BLOCK];
	for (int i = 0; i < 40; i++) {
		uint64_t block = random_next(random) % BLOCKS;
		memset(data, (int)(random_next(random) % 4), sizeof(data));
		if (random_next(random) % 8 == 0)
			assert_int_equal(dvol_discard(vol, block * DVOL_BLOCK, DVOL_BLOCK, &err), 0);
		else
			assert_int_equal(dvol_write(vol, data, sizeof(data), block * DVOL_BLOCK, &err), 0);
	}
}

/* fresh_root: of a new volume that got the epoch's bytes in one go. */
static void fresh_root(struct dvol *epoch, uint8_t root[DVOL_ROOT])
{
	struct err err = {0};
	uint64_t size = dvol_size(epoch);
	uint8_t *data = malloc(size);
	assert_non_null(data);
	struct dvol *copy = volume("copy", size / DVOL_BLOCK, &err);
	assert_non_null(copy);
	assert_int_equal(dvol_read(epoch, data, size, 0, &err), 0);
	assert_int_equal(dvol_write(copy, data, size, 0, &err), 0);
	struct dvol_id id = seal(copy);
	assert_int_equal(dvol_digest(copy, id, root, &err), 0);
	assert_int_equal(dvol_close(copy, &err), 0);
	assert_int_equal(memdisk_ops.unlink(&disk, "copy"), 0);
	free(data);
}

static void check_root(struct dvol *vol, struct dvol_id id)
{
	struct err err = {0};
	uint8_t root[DVOL_ROOT], expected[DVOL_ROOT];
	if (dvol_digest(vol, id, root, &err) < 0)
		fail_msg("%s", err.text);
	struct dvol *epoch = epoch_of("vol", id, &err);
	assert_non_null(epoch);
	fresh_root(epoch, expected);
	assert_memory_equal(root, expected, DVOL_ROOT);
	struct dvol_bad_block *bad;
	size_t nbad;
	assert_int_equal(dvol_verify(epoch, NULL, &bad, &nbad, NULL, &err), 0);
	assert_int_equal(nbad, 0);
	free(bad);
	dvol_close(epoch, NULL);
}

static void test_roots(void **unused)
{
	(void)unused;
	struct err err = {0};
	struct dvol_info info;
	uint64_t random = random_begin();
	struct dvol *vol = volume("vol", BLOCKS, &err);
	assert_non_null(vol);
	struct dvol_id ids[24];
	size_t n = 0;
	for (int i = 0; i < 60; i++) {
		write_some(vol, &random);
		if (n < 24)
			ids[n++] = seal(vol);
		uint64_t what = random_next(&random) % 6;
		if (what < 2) {
			check_root(vol, ids[random_next(&random) % n]);
		} else if (what < 4 && n > 1) {
			size_t at = random_next(&random) % n;
			assert_int_equal(dvol_epoch_delete(vol, ids[at], &err), 0);
			memmove(ids + at, ids + at + 1, (--n - at) * sizeof(*ids));
		} else if (what == 4) {
			assert_int_equal(dvol_rollback(vol, ids[n - 1], &err), 0);
		} else if (i % 7 == 0) {
			assert_int_equal(dvol_resize(vol, dvol_size(vol) + 70 * DVOL_BLOCK, &err), 0);
		}
	}
	for (size_t i = 0; i < n; i++)
		check_root(vol, ids[i]);
	assert_int_equal(dvol_check(vol, &info, NULL, NULL, &err), 0);
	assert_int_equal(info.errors, 0);
	assert_int_equal(dvol_close(vol, &err), 0);
	memdisk_free(&disk);
}

/* A flipped bit in a closed epoch's block is found, and healed from a copy; a bad copy does not heal. */
static void test_verify_and_heal(void **unused)
{
	(void)unused;
	struct err err = {0};
	uint8_t data[DVOL_BLOCK], root[DVOL_ROOT];
	/* Larger than what is written, so that the map has no pages for the end. */
	struct dvol *vol = volume("vol", 4000, &err), *copy = volume("other", 64, &err);
	memset(data, 0x6b, sizeof(data));
	data[100] = 0x11; /* nothing else in the file looks like it */
	assert_int_equal(dvol_write(vol, data, sizeof(data), 9 * DVOL_BLOCK, &err), 0);
	struct dvol_id id = seal(vol);
	assert_int_equal(dvol_digest(vol, id, root, &err), 0);
	struct memdisk_file *file = memdisk_file(&disk, "vol");
	uint8_t *at = memmem(file->data, file->size, data, sizeof(data));
	assert_non_null(at);
	at[77] ^= 4;

	struct dvol *epoch = epoch_of("vol", id, &err);
	struct dvol_bad_block *bad;
	size_t nbad;
	uint64_t healed;
	assert_int_equal(dvol_verify(epoch, copy, &bad, &nbad, &healed, &err), 0);
	assert_int_equal(nbad, 1);
	assert_int_equal(bad[0].offset, 9 * DVOL_BLOCK);
	assert_int_equal(bad[0].epoch.number, id.number);
	assert_int_equal(healed, 0);
	free(bad);
	assert_int_equal(dvol_write(copy, data, sizeof(data), 9 * DVOL_BLOCK, &err), 0);
	assert_int_equal(dvol_verify(epoch, copy, &bad, &nbad, &healed, &err), 0);
	assert_int_equal(nbad, 0);
	assert_int_equal(healed, 1);
	free(bad);
	assert_memory_equal(at, data, sizeof(data));
	dvol_close(epoch, NULL);
	dvol_close(vol, NULL);
	dvol_close(copy, NULL);
	memdisk_free(&disk);
}

static void test_compare(void **unused)
{
	(void)unused;
	struct err err = {0};
	uint8_t data[3 * DVOL_BLOCK];
	struct dvol *a = volume("vol", 600, &err), *b = volume("other", 640, &err);
	struct dvol_extent *list;
	size_t count;
	memset(data, 1, sizeof(data));
	assert_int_equal(dvol_compare(a, b, &list, &count, NULL, &err), 0);
	assert_int_equal(count, 0);
	free(list);
	assert_int_equal(dvol_write(a, data, sizeof(data), 300 * DVOL_BLOCK, &err), 0);
	assert_int_equal(dvol_write(b, data, 1, 301 * DVOL_BLOCK, &err), 0);
	assert_int_equal(dvol_write(b, data, 1, 639 * DVOL_BLOCK, &err), 0);
	assert_int_equal(dvol_compare(a, b, &list, &count, NULL, &err), 0);
	assert_int_equal(count, 2);
	assert_int_equal(list[0].offset, 300 * DVOL_BLOCK);
	assert_int_equal(list[0].len, 3 * DVOL_BLOCK);
	assert_int_equal(list[1].offset, 639 * DVOL_BLOCK);
	free(list);
	dvol_close(a, NULL);
	dvol_close(b, NULL);
	memdisk_free(&disk);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_roots),
	    cmocka_unit_test(test_verify_and_heal),
	    cmocka_unit_test(test_compare),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
