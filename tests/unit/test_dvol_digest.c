/* Root digests depend on the content alone; what is computed step by step equals what is computed at once; deletes and
 * rollbacks take the tree with them; passes that were cut short are right later, and cost what changed. */
#include "tests/lib/dvolkit.h"
#include "tests/lib/random.h"
#include "tests/lib/temp.h"
#include "tests/lib/test.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { BLOCKS = 700 };

static struct memdisk disk;

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

static void check_root(struct dvol *vol, struct dvol_id id)
{
	struct err err = {0};
	kit_same_root(&disk, vol, "vol", id);
	struct dvol *epoch = kit_open(&disk, "vol", id);
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
	struct dvol *vol = kit_volume(&disk, "vol", BLOCKS, 0);
	struct dvol_id ids[24];
	size_t n = 0;
	for (int i = 0; i < 60; i++) {
		write_some(vol, &random);
		if (n < 24)
			ids[n++] = kit_close_epoch(vol);
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

/* Equal content has one root, whatever came before it: written in another order, over other things, packed, moved by deletes. */
static void test_histories(void **unused)
{
	(void)unused;
	struct err err = {0};
	uint8_t roots[2][DVOL_ROOT];
	struct dvol *a = kit_volume(&disk, "a", BLOCKS, 0), *b = kit_volume(&disk, "b", BLOCKS, 3);
	for (uint64_t block = 0; block < BLOCKS; block += 3)
		kit_fill(a, block, 4);
	struct dvol_id id = kit_close_epoch(a);
	kit_root(a, id, roots[0]);
	for (int turn = 0; turn < 3; turn++) {
		for (uint64_t block = BLOCKS; block-- > 0;)
			if (block % 3 == 0)
				kit_fill(b, block, turn < 2 ? 9 : 4);
			else if (turn == 0)
				kit_fill(b, block, 1);
			else
				assert_int_equal(dvol_write_zeroes(b, block * DVOL_BLOCK, DVOL_BLOCK, &err),
						 0);
		id = kit_close_epoch(b);
		kit_root(b, id, roots[1]);
		assert_int_equal(memcmp(roots[0], roots[1], DVOL_ROOT) == 0, turn == 2);
	}
	assert_int_equal(dvol_pack(b, 3, NULL, &err), 0);
	id = kit_close_epoch(b);
	kit_root(b, id, roots[1]);
	assert_memory_equal(roots[0], roots[1], DVOL_ROOT);
	dvol_close(a, NULL);
	dvol_close(b, NULL);
	memdisk_free(&disk);
}

static bool stop_at_zero(void *context, uint64_t done, uint64_t total)
{
	(void)done;
	(void)total;
	return (*(int *)context)-- > 0;
}

/* cut_short: a digest that is cancelled after so many nodes of the first level. */
static void cut_short(struct dvol *vol, struct dvol_id id, int nodes)
{
	struct err err = {0};
	uint8_t root[DVOL_ROOT];
	dvol_on_progress(vol, stop_at_zero, &nodes);
	assert_int_equal(dvol_digest(vol, id, root, &err), -1);
	assert_int_equal(err.kind, ERR_CANCELLED);
	dvol_on_progress(vol, NULL, NULL);
}

/* A first tree that is cancelled again and again hashes no block twice, also when the volume is closed in between. */
static void test_first_tree_goes_on(void **unused)
{
	(void)unused;
	struct kit_reads reads = {0};
	uint8_t root[DVOL_ROOT];
	enum { LARGE = 3000 };
	struct dvol *vol = kit_volume(&disk, "vol", LARGE, 0);
	for (uint64_t block = 0; block < LARGE; block++)
		kit_fill(vol, block, 1);
	struct dvol_id id = kit_close_epoch(vol);
	kit_count(&disk, &reads, "vol", id);
	cut_short(vol, id, 4);
	assert_int_equal(reads.count, 4 * 256);
	cut_short(vol, id, 3);
	assert_int_equal(dvol_close(vol, NULL), 0);
	vol = kit_open(&disk, "vol", (struct dvol_id){0});
	cut_short(vol, id, 0);
	kit_root(vol, id, root);
	assert_int_equal(kit_count_end(&disk, &reads), LARGE);
	kit_same_root(&disk, vol, "vol", id);
	dvol_close(vol, NULL);
	memdisk_free(&disk);
}

/* between: a volume whose tree is between its first epoch and its second, in which 6 blocks changed. */
static struct dvol *between(struct dvol_id ids[2])
{
	uint8_t root[DVOL_ROOT];
	struct dvol *vol = kit_volume(&disk, "vol", 3000, 0);
	for (uint64_t block = 0; block < 3000; block++)
		kit_fill(vol, block, 1);
	ids[0] = kit_close_epoch(vol);
	kit_root(vol, ids[0], root);
	for (uint64_t i = 0; i < 6; i++)
		kit_fill(vol, i * 256 + i, 2);
	ids[1] = kit_close_epoch(vol);
	cut_short(vol, ids[1], 3);
	return vol;
}

/* A pass that was cut short is done again for what changed, wherever it goes then; what is verified meanwhile is right. */
static void test_cut_short(void **unused)
{
	(void)unused;
	struct err err = {0};
	for (int variant = 0; variant < 4; variant++) {
		struct kit_reads reads = {0};
		struct dvol_id ids[2];
		struct dvol_bad_block *bad;
		size_t nbad;
		struct dvol *vol = between(ids), *epoch = kit_open(&disk, "vol", ids[0]);
		assert_int_equal(dvol_verify(epoch, NULL, &bad, &nbad, NULL, &err), 0);
		assert_int_equal(nbad, 0);
		free(bad);
		dvol_close(epoch, NULL);
		if (variant == 3) { /* as after a crash */
			assert_int_equal(dvol_close(vol, &err), 0);
			vol = kit_open(&disk, "vol", (struct dvol_id){0});
		}
		kit_fill(vol, 2000, 3);
		struct dvol_id last = kit_close_epoch(vol);
		kit_count(&disk, &reads, "vol", ids[0]);
		kit_count(&disk, &reads, "vol", ids[1]);
		kit_count(&disk, &reads, "vol", last);
		if (variant == 1 || variant == 2)
			assert_int_equal(dvol_epoch_delete(vol, ids[variant - 1], &err), 0);
		uint8_t root[DVOL_ROOT];
		kit_root(vol, last, root);
		assert_int_equal(kit_count_end(&disk, &reads), 7);
		for (int i = 0; i < 2; i++)
			if (variant == 0 || variant == 3 || i != variant - 1)
				kit_same_root(&disk, vol, "vol", ids[i]);
		kit_same_root(&disk, vol, "vol", last);
		assert_int_equal(dvol_close(vol, &err), 0);
		memdisk_free(&disk);
	}
}

/* The only epoch goes while the tree is on its way, or not complete: the next digest builds another one. */
static void test_tree_lost(void **unused)
{
	(void)unused;
	struct err err = {0};
	struct dvol_id ids[2];
	struct dvol *vol = between(ids);
	assert_int_equal(dvol_epoch_delete(vol, ids[0], &err), 0);
	assert_int_equal(dvol_epoch_delete(vol, ids[1], &err), 0);
	struct dvol_id id = kit_close_epoch(vol);
	cut_short(vol, id, 2);
	assert_int_equal(dvol_epoch_delete(vol, id, &err), 0);
	kit_fill(vol, 5, 77);
	id = kit_close_epoch(vol);
	kit_same_root(&disk, vol, "vol", id);
	dvol_close(vol, NULL);
	memdisk_free(&disk);
}

/* A first tree that is not complete follows when its epoch is deleted. */
static void test_part_of_a_tree_moves(void **unused)
{
	(void)unused;
	struct err err = {0};
	struct kit_reads reads = {0};
	uint8_t root[DVOL_ROOT];
	struct dvol *vol = kit_volume(&disk, "vol", 3000, 0);
	for (uint64_t block = 0; block < 3000; block++)
		kit_fill(vol, block, 1);
	struct dvol_id first = kit_close_epoch(vol);
	kit_fill(vol, 100, 2);
	kit_fill(vol, 2900, 2);
	struct dvol_id second = kit_close_epoch(vol);
	cut_short(vol, first, 6);
	kit_count(&disk, &reads, "vol", second);
	assert_int_equal(dvol_epoch_delete(vol, first, &err), 0);
	assert_int_equal(reads.count, 1);
	kit_root(vol, second, root);
	assert_int_equal(kit_count_end(&disk, &reads), 1 + 3000 - 6 * 256);
	kit_same_root(&disk, vol, "vol", second);
	dvol_close(vol, NULL);
	memdisk_free(&disk);
}

/* A block that cannot be read fails the digest, and keeps no epoch from being deleted. */
static uint64_t unreadable;

static int fail_there(void *context, const char *path, uint64_t offset, uint64_t len)
{
	(void)context;
	return strcmp(path, "vol") == 0 && offset <= unreadable && unreadable < offset + len ? EIO : 0;
}

static void test_unreadable(void **unused)
{
	(void)unused;
	struct err err = {0};
	uint8_t root[DVOL_ROOT];
	struct dvol_map_extent *list;
	size_t count;
	struct dvol *vol = kit_volume(&disk, "vol", 300, 0);
	kit_fill(vol, 1, 1);
	struct dvol_id first = kit_close_epoch(vol);
	kit_root(vol, first, root);
	kit_fill(vol, 2, 2);
	struct dvol_id second = kit_close_epoch(vol);
	assert_int_equal(dvol_map(vol, 2 * DVOL_BLOCK, DVOL_BLOCK, 1, &list, &count, &err), 0);
	unreadable = list[0].file_offset;
	free(list);
	disk.on_read = fail_there;
	assert_int_equal(dvol_digest(vol, second, root, &err), -1);
	assert_int_equal(err.kind, ERR_SYSTEM);
	assert_int_equal(dvol_epoch_delete(vol, first, &err), 0);
	disk.on_read = NULL;
	kit_same_root(&disk, vol, "vol", second);
	dvol_close(vol, NULL);
	memdisk_free(&disk);
}

static const uint8_t lineage[16] = "one";

static struct dvol *replica_of_lineage(const char *path)
{
	struct err err = {0};
	struct dvol_create_options create = {.size_bytes = 600 * DVOL_BLOCK,
					     .journal_blocks = 32,
					     .lineage = lineage,
					     .files = &memdisk_ops,
					     .files_context = &disk};
	assert_int_equal(dvol_create(path, &create, &err), 0);
	return kit_open(&disk, path, (struct dvol_id){0});
}

/* deltas: a volume with two epochs: "seed" to the first, from when it had no root; "delta" to the second, with both roots. */
static struct dvol *deltas(struct dvol_id ids[2], uint8_t root[DVOL_ROOT])
{
	struct err err = {0};
	struct dvol *vol = replica_of_lineage("primary");
	for (int e = 0; e < 2; e++) {
		for (uint64_t block = 0; block < 600; block += e == 0 ? 1 : 100)
			kit_fill(vol, block, (uint8_t)(e + 1));
		ids[e] = kit_close_epoch(vol);
		if (e == 1)
			kit_root(vol, ids[e], root);
		struct dvol *epoch = kit_open(&disk, "primary", ids[e]);
		struct dvol_id from = {0};
		if (e > 0)
			from = ids[0];
		assert_int_equal(dvol_export(epoch, from, e == 0 ? "seed" : "delta", &err), 0);
		dvol_close(epoch, NULL);
	}
	return vol;
}

/* A delta of a sender with digests is proven, also where there were none here; a cancel at any moment takes it back. */
static void test_apply_proves(void **unused)
{
	(void)unused;
	struct err err = {0};
	struct dvol_id ids[2];
	uint8_t wanted[DVOL_ROOT], root[DVOL_ROOT];
	struct dvol *primary = deltas(ids, wanted), *vol = replica_of_lineage("vol");
	struct dvol *first = kit_open(&disk, "primary", ids[0]);
	assert_int_equal(dvol_apply(vol, "seed", &err), 0);
	int cancelled = 0;
	for (;; cancelled++) {
		int ticks = cancelled;
		struct dvol_extent *list;
		struct dvol_epoch *epochs;
		size_t count;
		dvol_on_progress(vol, stop_at_zero, &ticks);
		int result = dvol_apply(vol, "delta", &err);
		dvol_on_progress(vol, NULL, NULL);
		if (result == 0)
			break;
		assert_int_equal(err.kind, ERR_CANCELLED);
		assert_int_equal(dvol_epochs(vol, &epochs, &count, &err), 0);
		assert_int_equal(count, 1);
		free(epochs);
		assert_int_equal(dvol_compare(vol, first, &list, &count, NULL, &err), 0);
		assert_int_equal(count, 0);
		free(list);
	}
	assert_true(cancelled > 10);
	kit_root(vol, ids[1], root);
	assert_memory_equal(root, wanted, DVOL_ROOT);
	dvol_close(first, NULL);
	dvol_close(primary, NULL);
	dvol_close(vol, NULL);
	memdisk_free(&disk);
}

/* A base that has the right name and other content is found out before anything is written, also when it had no root yet. */
static void test_apply_to_another_base(void **unused)
{
	(void)unused;
	struct err err = {0};
	struct dvol_id ids[2];
	uint8_t root[DVOL_ROOT];
	struct dvol *primary = deltas(ids, root), *vol = replica_of_lineage("vol");
	kit_fill(vol, 1, 99);
	assert_int_equal(dvol_epoch_close(vol, &ids[0], NULL, &err), 0);
	assert_int_equal(dvol_apply(vol, "delta", &err), -1);
	assert_int_equal(err.kind, ERR_REFUSED);
	assert_non_null(strstr(err.text, "content"));
	dvol_close(primary, NULL);
	dvol_close(vol, NULL);
	memdisk_free(&disk);
}

/* On the host's disk, upon an epoch of another volume where base is named. */
static struct dvol *made_upon(const char *path, const char *base, struct dvol_id epoch)
{
	const struct dvol_create_options how = {.size_bytes = 70 * DVOL_BLOCK,
						.backing_kind = base ? DVOL_BACKING_DVOL : DVOL_BACKING_NONE,
						.backing_path = base,
						.backing_epoch = epoch};
	const struct dvol_open_options writable = {.writable = true};
	struct err err = {0};
	if (dvol_create(path, &how, &err) < 0)
		fail_msg("%s", err.text);
	struct dvol *vol = dvol_open(path, &writable, &err);
	if (!vol)
		fail_msg("%s", err.text);
	return vol;
}

/* A VM process sees no files once its guest runs: digests come from what it has open, the backing's too. */
static void test_without_a_file_system(void **unused)
{
	(void)unused;
	char folder[TEMP_MAX], path[3][TEMP_MAX + 32];
	uint8_t root[DVOL_ROOT], same[DVOL_ROOT];
	temp_make(folder);
	for (int i = 0; i < 3; i++)
		snprintf(path[i], sizeof(path[i]), "%s/%d.dvol", folder, i);
	struct dvol *base = made_upon(path[0], NULL, (struct dvol_id){0});
	kit_fill(base, 3, 1);
	struct dvol_id id = kit_close_epoch(base);
	assert_int_equal(dvol_close(base, NULL), 0);
	struct dvol *vol = made_upon(path[1], path[0], id), *flat = made_upon(path[2], NULL, id);
	kit_fill(vol, 65, 2);
	struct dvol_id first = kit_close_epoch(vol);
	kit_fill(vol, 4, 3);
	struct dvol_id second = kit_close_epoch(vol);
	temp_remove(folder);
	kit_fill(flat, 3, 1);
	kit_fill(flat, 65, 2);
	kit_root(flat, kit_close_epoch(flat), same);
	kit_root(vol, first, root);
	assert_memory_equal(root, same, DVOL_ROOT);
	kit_fill(flat, 4, 3);
	kit_root(flat, kit_close_epoch(flat), same);
	kit_root(vol, second, root);
	assert_memory_equal(root, same, DVOL_ROOT);
	/* Nobody holds the epochs afterwards. */
	assert_int_equal(dvol_epoch_delete(vol, first, NULL), 0);
	assert_int_equal(dvol_close(vol, NULL), 0);
	assert_int_equal(dvol_close(flat, NULL), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_roots),
	    cmocka_unit_test(test_histories),
	    cmocka_unit_test(test_first_tree_goes_on),
	    cmocka_unit_test(test_cut_short),
	    cmocka_unit_test(test_tree_lost),
	    cmocka_unit_test(test_part_of_a_tree_moves),
	    cmocka_unit_test(test_unreadable),
	    cmocka_unit_test(test_apply_proves),
	    cmocka_unit_test(test_apply_to_another_base),
	    cmocka_unit_test(test_without_a_file_system),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
