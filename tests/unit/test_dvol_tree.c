/* Tree files: what differs from an epoch on another host, from a file of its digests; hostile files are errors. */
#include "tests/lib/dvolkit.h"
#include "tests/lib/test.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

enum { BLOCKS = 1000 };

static struct memdisk disk;

static int teardown(void **unused)
{
	(void)unused;
	memdisk_free(&disk);
	return 0;
}

/* sealed: a volume of so many blocks with every third one written, those of `other` otherwise (0: none). */
static struct dvol *sealed(const char *path, uint64_t blocks, const uint64_t *other, struct dvol_id *id)
{
	uint8_t root[DVOL_ROOT];
	struct dvol *vol = kit_volume(&disk, path, blocks, 0);
	for (uint64_t block = 0; block < BLOCKS && block < blocks; block += 3)
		kit_fill(vol, block, 1);
	for (; other != NULL && *other != 0; other++)
		kit_fill(vol, *other, 2);
	*id = kit_close_epoch(vol);
	kit_root(vol, *id, root);
	return vol;
}

/* check: comparing the epoch of vol with the file gives the blocks of `wanted`, which ends with 0, to the granularity. */
static void check(const char *path, struct dvol_id id, const char *file, uint64_t grain,
		  const uint64_t *wanted)
{
	struct err err = {0};
	struct dvol_extent *list;
	size_t count;
	struct dvol *epoch = kit_open(&disk, path, id);
	struct kit_reads reads = {0};
	kit_count(&disk, &reads, path, id);
	if (dvol_tree_compare(epoch, file, &list, &count, &err) < 0)
		fail_msg("%s", err.text);
	assert_int_equal(kit_count_end(&disk, &reads), 0);
	size_t at = 0;
	uint64_t next = 0;
	for (; *wanted != 0; wanted++) {
		uint64_t offset = *wanted * DVOL_BLOCK / grain * grain;
		if (offset < next)
			continue;
		while (at < count && offset >= list[at].offset + list[at].len)
			at++;
		assert_true(at < count);
		/* Neighbours are joined, so an extent begins here or was said to begin before. */
		assert_true(list[at].offset == offset || (offset == next && list[at].offset < offset));
		next = offset + grain;
		uint64_t end = list[at].offset + list[at].len;
		assert_true(end >= next || end == dvol_size(epoch) || end % grain != 0);
	}
	assert_true(count == 0 || at == count - 1);
	free(list);
	dvol_close(epoch, NULL);
}

static void export(struct dvol *vol, struct dvol_id id, uint32_t grain, const char *file)
{
	struct err err = {0};
	if (dvol_tree_export(vol, id, grain, file, &err) < 0)
		fail_msg("%s", err.text);
}

static void test_differences(void **unused)
{
	(void)unused;
	static const uint64_t other[] = {3, 4, 300, 301, 999, 0}, none[] = {0};
	struct dvol_id a, b;
	struct dvol *vol = sealed("a", BLOCKS, NULL, &a), *replica = sealed("b", BLOCKS, other, &b);
	export(vol, a, DVOL_TREE_FINE, "a.fine");
	export(vol, a, DVOL_TREE_COARSE, "a.coarse");
	export(replica, b, DVOL_TREE_FINE, "b.fine");
	check("a", a, "a.fine", DVOL_TREE_FINE, none);
	check("a", a, "a.coarse", DVOL_TREE_COARSE, none);
	check("b", b, "a.fine", DVOL_TREE_FINE, other);
	check("b", b, "a.coarse", DVOL_TREE_COARSE, other);
	check("a", a, "b.fine", DVOL_TREE_FINE, other);
	/* 334 digests with their bitmaps; four digests of MiBs. */
	assert_int_equal(memdisk_file(&disk, "a.fine")->size, 128 + 32 + 4 * 16 + 4 * 32 + 334 * 16 + 32);
	assert_int_equal(memdisk_file(&disk, "a.coarse")->size, 128 + 32 + 4 * 16 + 32);
	/* An older epoch than the one at which the tree stands. */
	uint8_t root[DVOL_ROOT];
	kit_fill(replica, 500, 9);
	kit_root(replica, kit_close_epoch(replica), root);
	check("b", b, "a.fine", DVOL_TREE_FINE, other);
	export(replica, b, DVOL_TREE_FINE, "b.again");
	assert_int_equal(memdisk_file(&disk, "b.again")->size, memdisk_file(&disk, "b.fine")->size);
	assert_memory_equal(memdisk_file(&disk, "b.again")->data, memdisk_file(&disk, "b.fine")->data,
			    memdisk_file(&disk, "b.fine")->size);
	dvol_close(vol, NULL);
	dvol_close(replica, NULL);
}

/* Volumes of other sizes, with trees of other heights: the shorter one goes on with zeroes. */
static void test_sizes(void **unused)
{
	(void)unused;
	static const uint64_t far[] = {70000, 99999, 0}, none[] = {0};
	struct dvol_id small, tall, empty;
	struct dvol *a = sealed("a", 201, NULL, &small), *b = kit_volume(&disk, "b", 100000, 0);
	struct dvol *c = kit_volume(&disk, "c", 100000, 0);
	uint8_t root[DVOL_ROOT];
	for (uint64_t block = 0; block < 201; block += 3)
		kit_fill(b, block, 1);
	for (const uint64_t *block = far; *block != 0; block++)
		kit_fill(b, *block, 1);
	tall = kit_close_epoch(b);
	kit_root(b, tall, root);
	empty = kit_close_epoch(c);
	kit_root(c, empty, root);
	export(a, small, DVOL_TREE_FINE, "small.fine");
	export(a, small, DVOL_TREE_COARSE, "small.coarse");
	export(b, tall, DVOL_TREE_FINE, "tall.fine");
	export(b, tall, DVOL_TREE_COARSE, "tall.coarse");
	export(c, empty, DVOL_TREE_FINE, "empty");
	check("b", tall, "small.fine", DVOL_TREE_FINE, far);
	check("b", tall, "small.coarse", DVOL_TREE_COARSE, far);
	check("a", small, "tall.fine", DVOL_TREE_FINE, far);
	check("a", small, "tall.coarse", DVOL_TREE_COARSE, far);
	check("a", small, "small.coarse", DVOL_TREE_COARSE, none);
	check("c", empty, "empty", DVOL_TREE_FINE, none);
	assert_int_equal(memdisk_file(&disk, "empty")->size, 128 + 32);
	dvol_close(a, NULL);
	dvol_close(b, NULL);
	dvol_close(c, NULL);
}

/* A file that was cut off anywhere, has bytes behind its end, or has any byte changed, is refused, and nothing is told. */
static void test_damaged(void **unused)
{
	(void)unused;
	struct err err = {0};
	struct dvol_id id;
	struct dvol_extent *list;
	size_t count;
	struct dvol *vol = sealed("a", 600, NULL, &id), *epoch = kit_open(&disk, "a", id);
	export(vol, id, DVOL_TREE_FINE, "tree");
	const struct memdisk_file *file = memdisk_file(&disk, "tree");
	uint64_t size = file->size;
	uint8_t *data = calloc(size + 1, 1);
	assert_non_null(data);
	memcpy(data, file->data, size);
	for (uint64_t i = 0; i <= size + 1; i += i < 160 || i > size - 40 ? 1 : 7) {
		memdisk_put(&disk, "cut", data, i < size ? i : size + 1);
		assert_int_equal(dvol_tree_compare(epoch, "cut", &list, &count, &err), -1);
		assert_int_equal(err.kind, ERR_INPUT);
		assert_null(list);
		memdisk_ops.unlink(&disk, "cut");
		if (i >= size)
			continue;
		data[i] ^= 0x10;
		memdisk_put(&disk, "cut", data, size);
		data[i] ^= 0x10;
		assert_int_equal(dvol_tree_compare(epoch, "cut", &list, &count, &err), -1);
		assert_int_equal(err.kind, ERR_INPUT);
		memdisk_ops.unlink(&disk, "cut");
	}
	assert_int_equal(dvol_tree_compare(epoch, "none", &list, &count, &err), -1);
	assert_int_equal(err.kind, ERR_SYSTEM);
	free(data);
	dvol_close(epoch, NULL);
	dvol_close(vol, NULL);
}

static void test_refusals(void **unused)
{
	(void)unused;
	struct err err = {0};
	uint8_t root[DVOL_ROOT];
	struct dvol_extent *list;
	size_t count;
	struct dvol *vol = kit_volume(&disk, "a", BLOCKS, 0);
	for (uint64_t block = 0; block < BLOCKS; block++)
		kit_fill(vol, block, 1);
	struct dvol_id id = kit_close_epoch(vol), wrong = {.term = 9, .number = 9};
	assert_int_equal(dvol_tree_export(vol, id, DVOL_TREE_FINE, "tree", &err), -1);
	assert_int_equal(err.kind, ERR_STATE);
	kit_root(vol, id, root);
	assert_int_equal(dvol_tree_export(vol, id, 8192, "tree", &err), -1);
	assert_int_equal(err.kind, ERR_USAGE);
	assert_int_equal(dvol_tree_export(vol, wrong, DVOL_TREE_FINE, "tree", &err), -1);
	assert_int_equal(err.kind, ERR_STATE);
	assert_null(memdisk_file(&disk, "tree"));
	/* A disk that fails at any write or sync leaves nothing behind. */
	for (uint64_t n = 1;; n++) {
		disk.failures = 0;
		disk.fail_in = n;
		disk.fail_errno = ENOSPC;
		int result = dvol_tree_export(vol, id, DVOL_TREE_FINE, "tree", &err);
		disk.fail_in = 0;
		if (disk.failures == 0) {
			assert_int_equal(result, 0);
			break;
		}
		if (result < 0)
			assert_null(memdisk_file(&disk, "tree"));
		else
			memdisk_ops.unlink(&disk, "tree");
	}
	assert_int_equal(dvol_tree_export(vol, id, DVOL_TREE_FINE, "tree", &err), -1);
	assert_int_equal(err.kind, ERR_SYSTEM);
	assert_int_equal(dvol_tree_compare(vol, "tree", &list, &count, &err), -1);
	assert_int_equal(err.kind, ERR_USAGE);
	dvol_close(vol, NULL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test_teardown(test_differences, teardown),
	    cmocka_unit_test_teardown(test_sizes, teardown),
	    cmocka_unit_test_teardown(test_damaged, teardown),
	    cmocka_unit_test_teardown(test_refusals, teardown),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
