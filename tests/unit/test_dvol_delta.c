/* Deltas: a replica that gets them has the same roots; what does not fit is refused; a failure at any call leaves the
 * replica at the epoch where it was. */
#include "imagefmt/dvol.h"
#include "tests/lib/memdisk.h"
#include "tests/lib/random.h"
#include "tests/lib/test.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

enum { BLOCKS = 300 };
static const uint8_t lineage[16] = "one volume";

static struct dvol *open_at(struct memdisk *disk, const char *path, bool writable, struct dvol_id id)
{
	struct err err = {0};
	struct dvol_open_options options = {
	    .writable = writable, .epoch = id, .files = &memdisk_ops, .files_context = disk};
	struct dvol *vol = dvol_open(path, &options, &err);
	if (vol == NULL)
		fail_msg("%s", err.text);
	return vol;
}

static struct dvol *make(struct memdisk *disk, const char *path, const uint8_t *of)
{
	struct err err = {0};
	struct dvol_create_options create = {.size_bytes = BLOCKS * DVOL_BLOCK - 1024,
					     .journal_blocks = 16,
					     .lineage = of,
					     .files = &memdisk_ops,
					     .files_context = disk};
	assert_int_equal(dvol_create(path, &create, &err), 0);
	return open_at(disk, path, true, (struct dvol_id){0});
}

static void change(struct dvol *vol, uint64_t *random)
{
	struct err err = {0};
	uint8_t data[5000];
	for (int i = 0; i < 25; i++) {
		uint64_t offset = random_next(random) % (dvol_size(vol) - sizeof(data));
		memset(data, (int)(random_next(random) % 5), sizeof(data));
		if (random_next(random) % 5 == 0)
			assert_int_equal(dvol_discard(vol, offset,
						      9 * sizeof(data) < dvol_size(vol) - offset
							  ? 9 * sizeof(data)
							  : sizeof(data),
						      &err),
					 0);
		else
			assert_int_equal(dvol_write(vol, data, sizeof(data), offset, &err), 0);
	}
}

static struct dvol_id seal(struct dvol *vol, uint8_t root[DVOL_ROOT])
{
	struct err err = {0};
	struct dvol_id id;
	assert_int_equal(dvol_epoch_close(vol, NULL, &id, &err), 0);
	assert_int_equal(dvol_digest(vol, id, root, &err), 0);
	return id;
}

static void export(struct memdisk *disk, struct dvol_id from, struct dvol_id to, const char *path)
{
	struct err err = {0};
	struct dvol *epoch = open_at(disk, "primary", false, to);
	if (dvol_export(epoch, from, path, &err) < 0)
		fail_msg("%s", err.text);
	dvol_close(epoch, NULL);
}

static void assert_same(struct dvol *a, struct dvol *b)
{
	struct err err = {0};
	struct dvol_extent *list;
	size_t count;
	assert_int_equal(dvol_compare(a, b, &list, &count, NULL, &err), 0);
	assert_int_equal(count, 0);
	free(list);
}

static void test_replica(void **unused)
{
	(void)unused;
	struct memdisk disk = {0};
	struct err err = {0};
	struct dvol_info info;
	uint64_t random = random_begin();
	uint8_t root[DVOL_ROOT], replica_root[DVOL_ROOT];
	struct dvol *vol = make(&disk, "primary", lineage), *replica = make(&disk, "replica", lineage);
	struct dvol_id last = {0};
	for (int i = 0; i < 12; i++) {
		change(vol, &random);
		if (i == 5)
			assert_int_equal(dvol_resize(vol, dvol_size(vol) + 100 * DVOL_SECTOR, &err), 0);
		struct dvol_id id = seal(vol, root);
		if (i % 3 == 1)
			continue; /* the next delta covers two epochs */
		export(&disk, last, id, "delta");
		if (dvol_apply(replica, "delta", &err) < 0)
			fail_msg("%s", err.text);
		assert_int_equal(dvol_digest(replica, id, replica_root, &err), 0);
		assert_memory_equal(root, replica_root, DVOL_ROOT);
		assert_same(vol, replica);
		/* Once more is refused: its base is not the newest epoch any longer. */
		assert_int_equal(dvol_apply(replica, "delta", &err), -1);
		assert_int_equal(err.kind, ERR_REFUSED);
		memdisk_ops.unlink(&disk, "delta");
		last = id;
	}
	assert_int_equal(dvol_check(replica, &info, NULL, NULL, &err), 0);
	assert_int_equal(info.errors, 0);
	dvol_close(vol, NULL);
	dvol_close(replica, NULL);
	memdisk_free(&disk);
}

static void test_refusals(void **unused)
{
	(void)unused;
	struct memdisk disk = {0};
	struct err err = {0};
	uint64_t random = random_begin();
	uint8_t root[DVOL_ROOT];
	struct dvol *vol = make(&disk, "primary", lineage), *other = make(&disk, "other", NULL);
	struct dvol *replica = make(&disk, "replica", lineage);
	change(vol, &random);
	struct dvol_id first = seal(vol, root);
	change(vol, &random);
	struct dvol_id second = seal(vol, root);
	export(&disk, (struct dvol_id){0}, first, "seed");
	export(&disk, first, second, "delta");

	assert_int_equal(dvol_apply(other, "seed", &err), -1);
	assert_int_equal(err.kind, ERR_REFUSED); /* another lineage */
	assert_int_equal(dvol_apply(replica, "delta", &err), -1);
	assert_int_equal(err.kind, ERR_REFUSED); /* no base */
	assert_int_equal(dvol_apply(replica, "seed", &err), 0);
	assert_int_equal(dvol_write(replica, root, 1, 0, &err), 0);
	assert_int_equal(dvol_apply(replica, "delta", &err), -1);
	assert_int_equal(err.kind, ERR_STATE); /* changed since */
	assert_int_equal(dvol_rollback(replica, first, &err), 0);

	/* A flipped bit anywhere, or a missing end, is found before anything is changed. */
	struct memdisk_file *file = memdisk_file(&disk, "delta");
	struct dvol *base = open_at(&disk, "replica", false, first);
	for (int i = 0; i < 300; i++) {
		uint64_t at = random_next(&random) % (file->size * 8), size = file->size;
		if (i % 10 == 0)
			file->size = at / 8;
		else
			file->data[at / 8] ^= (uint8_t)(1U << (at % 8));
		assert_int_equal(dvol_apply(replica, "delta", &err), -1);
		file->size = size;
		if (i % 10 != 0)
			file->data[at / 8] ^= (uint8_t)(1U << (at % 8));
	}
	assert_same(base, replica);
	dvol_close(base, NULL);
	assert_int_equal(dvol_apply(replica, "delta", &err), 0);
	assert_same(vol, replica);
	dvol_close(vol, NULL);
	dvol_close(replica, NULL);
	dvol_close(other, NULL);
	memdisk_free(&disk);
}

/* Each call that the apply makes fails from then on, as if the machine had stopped there. */
static void test_all_or_nothing(void **unused)
{
	(void)unused;
	struct memdisk disk = {0};
	struct err err = {0};
	uint64_t random = random_begin();
	uint8_t root[DVOL_ROOT];
	struct dvol *vol = make(&disk, "primary", lineage), *replica = make(&disk, "replica", lineage);
	change(vol, &random);
	struct dvol_id first = seal(vol, root);
	export(&disk, (struct dvol_id){0}, first, "seed");
	change(vol, &random);
	struct dvol_id second = seal(vol, root);
	export(&disk, first, second, "delta");
	assert_int_equal(dvol_apply(replica, "seed", &err), 0);
	assert_int_equal(dvol_close(replica, &err), 0);
	struct memdisk_file *file = memdisk_file(&disk, "replica");
	uint64_t size = file->size;
	uint8_t *kept = malloc(size);
	assert_non_null(kept);
	memcpy(kept, file->data, size);
	struct dvol *was = open_at(&disk, "primary", false, first),
		    *will = open_at(&disk, "primary", false, second);
	bool failed = true;
	unsigned undone = 0, done = 0;
	for (uint64_t point = 1; failed; point++) {
		file->size = size;
		memcpy(file->data, kept, size);
		replica = open_at(&disk, "replica", true, (struct dvol_id){0});
		disk.failures = 0;
		disk.fail_in = point;
		disk.fail_errno = EIO;
		disk.fail_sticky = true;
		int result = dvol_apply(replica, "delta", &err);
		failed = disk.failures > 0;
		disk.fail_in = 0;
		(void)dvol_close(replica, NULL);
		replica = open_at(&disk, "replica", true, (struct dvol_id){0});
		struct dvol_epoch *list;
		size_t count;
		assert_int_equal(dvol_epochs(replica, &list, &count, &err), 0);
		free(list);
		if (result == 0)
			assert_int_equal(count, 2);
		*(count == 2 ? &done : &undone) += 1;
		assert_same(replica, count == 2 ? will : was);
		dvol_close(replica, NULL);
	}
	assert_true(undone > 20 && done > 0);
	free(kept);
	dvol_close(was, NULL);
	dvol_close(will, NULL);
	dvol_close(vol, NULL);
	memdisk_free(&disk);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_replica),
	    cmocka_unit_test(test_refusals),
	    cmocka_unit_test(test_all_or_nothing),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
