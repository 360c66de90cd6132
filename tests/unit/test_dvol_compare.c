/* Comparing closed epochs walks their trees: exactly the blocks that differ, without reading data; where there are no digests,
 * by reading. */
#include "tests/lib/dvolkit.h"
#include "tests/lib/random.h"
#include "tests/lib/test.h"

#include <stdlib.h>
#include <string.h>

enum { BLOCKS = 1500, EPOCHS = 5 };

static struct memdisk disk;

static int teardown(void **unused)
{
	(void)unused;
	memdisk_free(&disk);
	return 0;
}

static uint8_t *content(struct dvol *vol, uint64_t blocks)
{
	struct err err = {0};
	uint8_t *data = calloc(blocks, DVOL_BLOCK);
	assert_non_null(data);
	assert_int_equal(dvol_read(vol, data, dvol_size(vol), 0, &err), 0);
	return data;
}

/* check_exact: the list against a comparison of the bytes. */
static void check_exact(struct dvol *a, struct dvol *b, enum dvol_compared expected)
{
	struct err err = {0};
	struct dvol_extent *list;
	size_t count, at = 0;
	enum dvol_compared way;
	if (dvol_compare(a, b, &list, &count, &way, &err) < 0)
		fail_msg("%s", err.text);
	assert_int_equal(way, expected);
	uint64_t size = dvol_size(a) > dvol_size(b) ? dvol_size(a) : dvol_size(b);
	uint8_t *in_a = content(a, size / DVOL_BLOCK), *in_b = content(b, size / DVOL_BLOCK);
	for (uint64_t offset = 0; offset < size; offset += DVOL_BLOCK) {
		while (at < count && list[at].offset + list[at].len <= offset)
			at++;
		bool said = at < count && list[at].offset <= offset;
		assert_int_equal(said, memcmp(in_a + offset, in_b + offset, DVOL_BLOCK) != 0);
	}
	free(in_a);
	free(in_b);
	free(list);
}

static void write_some(struct dvol *vol, uint64_t *random, int writes, uint64_t blocks)
{
	struct err err = {0};
	for (int i = 0; i < writes; i++) {
		uint64_t block = random_next(random) % blocks;
		if (random_next(random) % 6 == 0)
			assert_int_equal(dvol_discard(vol, block * DVOL_BLOCK, DVOL_BLOCK, &err), 0);
		else
			kit_fill(vol, block, (uint8_t)(random_next(random) % 3));
	}
}

/* Every epoch of one volume with every one of another, which began the same and took another way; also of different sizes. */
static void test_trees(void **unused)
{
	(void)unused;
	struct err err = {0};
	uint64_t random = random_begin(), same;
	struct dvol *vols[2];
	struct dvol_id ids[2][EPOCHS];
	struct kit_reads reads[2] = {0};
	const char *const paths[2] = {"a", "b"};
	uint8_t root[DVOL_ROOT];
	for (int v = 0; v < 2; v++) {
		vols[v] = kit_volume(&disk, paths[v], v == 0 ? 200 : BLOCKS, 0);
		same = 42;
		write_some(vols[v], &same, 300, 200);
		for (int e = 0; e < EPOCHS; e++) {
			ids[v][e] = kit_close_epoch(vols[v]);
			if (e == 1)
				assert_int_equal(dvol_resize(vols[v], BLOCKS * DVOL_BLOCK, &err), 0);
			write_some(vols[v], &random, 12, dvol_size(vols[v]) / DVOL_BLOCK);
		}
		/* One volume's tree stands at the last epoch, the other's in between. */
		kit_root(vols[v], ids[v][v == 0 ? EPOCHS - 1 : 2], root);
	}
	for (int i = 0; i < EPOCHS; i++)
		for (int k = 0; k < 3; k++) {
			struct dvol *a = kit_open(&disk, "a", ids[0][i]),
				    *b = kit_open(&disk, "b", ids[1][k]);
			check_exact(a, b, DVOL_COMPARED_DIGESTS);
			check_exact(b, a, DVOL_COMPARED_DIGESTS);
			struct dvol_extent *list;
			size_t count;
			for (int v = 0; v < 2; v++) {
				kit_count(&disk, &reads[v], paths[v], ids[v][v == 0 ? i : k]);
				assert_int_equal(dvol_compare(a, b, &list, &count, NULL, &err), 0);
				assert_int_equal(kit_count_end(&disk, &reads[v]), 0);
				free(list);
			}
			dvol_close(a, NULL);
			dvol_close(b, NULL);
		}
	for (int v = 0; v < 2; v++)
		dvol_close(vols[v], NULL);
}

/* A large volume of which little differs: the reads grow with that, not with the volume. */
static void test_cost(void **unused)
{
	(void)unused;
	struct err err = {0};
	uint8_t root[DVOL_ROOT];
	struct dvol *a = kit_volume(&disk, "a", 40000, 0), *b = kit_volume(&disk, "b", 40000, 0);
	for (uint64_t block = 0; block < 40000; block += 5) {
		kit_fill(a, block, 1);
		kit_fill(b, block, 1);
	}
	struct dvol_id first = kit_close_epoch(a), id = kit_close_epoch(b);
	kit_fill(a, 30000, 2);
	kit_root(a, kit_close_epoch(a), root);
	kit_fill(b, 20000, 7);
	id = kit_close_epoch(b);
	kit_root(b, id, root);
	struct dvol *epoch_a = kit_open(&disk, "a", first), *epoch_b = kit_open(&disk, "b", id);
	struct dvol_extent *list;
	size_t count;
	uint64_t before = disk.operations;
	assert_int_equal(dvol_compare(epoch_a, epoch_b, &list, &count, NULL, &err), 0);
	assert_int_equal(count, 1);
	assert_int_equal(list[0].offset, 20000 * DVOL_BLOCK);
	assert_int_equal(list[0].len, DVOL_BLOCK);
	/* Metadata pages on a few paths, and two journals and catalogs. */
	assert_true(disk.operations - before < 150);
	free(list);
	dvol_close(epoch_a, NULL);
	dvol_close(epoch_b, NULL);
	dvol_close(a, NULL);
	dvol_close(b, NULL);
}

static bool stop_second(void *context, uint64_t done, uint64_t total)
{
	(void)done;
	(void)total;
	return ++*(int *)context < 2;
}

/* While the tree is between two epochs it serves as well. */
static void test_in_motion(void **unused)
{
	(void)unused;
	struct err err = {0};
	uint8_t root[DVOL_ROOT];
	int ticks = 0;
	struct dvol *a = kit_volume(&disk, "a", BLOCKS, 0), *b = kit_volume(&disk, "b", BLOCKS, 0);
	for (uint64_t block = 0; block < BLOCKS; block++) {
		kit_fill(a, block, 1);
		kit_fill(b, block, block == 77 ? 2 : 1);
	}
	struct dvol_id first = kit_close_epoch(a), other = kit_close_epoch(b);
	kit_root(a, first, root);
	kit_root(b, other, root);
	kit_fill(a, 3, 5);
	kit_fill(a, 700, 5);
	struct dvol_id second = kit_close_epoch(a);
	dvol_on_progress(a, stop_second, &ticks);
	assert_int_equal(dvol_digest(a, second, root, &err), -1);
	assert_int_equal(err.kind, ERR_CANCELLED);
	dvol_on_progress(a, NULL, NULL);
	struct dvol *epoch_a = kit_open(&disk, "a", first), *epoch_b = kit_open(&disk, "b", other);
	check_exact(epoch_a, epoch_b, DVOL_COMPARED_DIGESTS);
	/* The handle stays while the pass is done after all. */
	kit_root(a, second, root);
	check_exact(epoch_a, epoch_b, DVOL_COMPARED_DIGESTS);
	dvol_close(epoch_a, NULL);
	dvol_close(epoch_b, NULL);
	dvol_close(a, NULL);
	dvol_close(b, NULL);
}

/* Heads, and epochs without digests, are read; packed blocks have their digests with them. */
static void test_other_ways(void **unused)
{
	(void)unused;
	struct err err = {0};
	uint8_t root[DVOL_ROOT];
	struct dvol *a = kit_volume(&disk, "a", 600, 0), *b = kit_volume(&disk, "b", 640, 0);
	for (uint64_t block = 0; block < 500; block++) {
		kit_fill(a, block, 1);
		kit_fill(b, block, block == 301 || block == 302 ? 2 : 1);
	}
	kit_fill(b, 639, 9);
	check_exact(a, b, DVOL_COMPARED_DATA);
	struct dvol_id ids[2] = {kit_close_epoch(a), kit_close_epoch(b)};
	struct dvol *epochs[2] = {kit_open(&disk, "a", ids[0]), kit_open(&disk, "b", ids[1])};
	kit_root(a, ids[0], root);
	check_exact(epochs[0], epochs[1], DVOL_COMPARED_DATA);
	kit_root(b, ids[1], root);
	check_exact(epochs[0], epochs[1], DVOL_COMPARED_DIGESTS);
	dvol_close(epochs[1], NULL);
	struct dvol_pack_result packed;
	assert_int_equal(dvol_pack(b, 3, &packed, &err), 0);
	assert_true(packed.packed_blocks > 400);
	epochs[1] = kit_open(&disk, "b", ids[1]);
	check_exact(epochs[0], epochs[1], DVOL_COMPARED_DIGESTS);
	dvol_close(epochs[0], NULL);
	dvol_close(epochs[1], NULL);
	dvol_close(a, NULL);
	dvol_close(b, NULL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test_teardown(test_trees, teardown),
	    cmocka_unit_test_teardown(test_cost, teardown),
	    cmocka_unit_test_teardown(test_in_motion, teardown),
	    cmocka_unit_test_teardown(test_other_ways, teardown),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
