/* The extents of a volume: their kinds, that they cover the range without gaps, that they can be asked for in pieces, and that
 * a closed epoch keeps its own; and that a long operation tells how far it is, and ends when it is told to. */
#include "imagefmt/dvol.h"
#include "tests/lib/memdisk.h"
#include "tests/lib/test.h"

#include <stdlib.h>
#include <string.h>

enum { BLOCKS = 4000, SIZE = BLOCKS * DVOL_BLOCK - 512 };

static struct memdisk disk;

static struct dvol *make(enum dvol_backing_kind backing)
{
	struct err err = {0};
	static const uint8_t raw[3 * DVOL_BLOCK + 100];
	memset(&disk, 0, sizeof(disk));
	memdisk_put(&disk, "raw", raw, sizeof(raw));
	struct dvol_create_options create = {.size_bytes = SIZE,
					     .backing_kind = backing,
					     .backing_path = "raw",
					     .files = &memdisk_ops,
					     .files_context = &disk};
	struct dvol_open_options open = {.writable = true, .files = &memdisk_ops, .files_context = &disk};
	assert_int_equal(dvol_create("vol", &create, &err), 0);
	struct dvol *vol = dvol_open("vol", &open, &err);
	assert_non_null(vol);
	return vol;
}

static void put(struct dvol *vol, uint64_t block, uint64_t count)
{
	struct err err = {0};
	uint8_t *data = malloc(count * DVOL_BLOCK);
	assert_non_null(data);
	memset(data, 7, count * DVOL_BLOCK);
	assert_int_equal(dvol_write(vol, data, count * DVOL_BLOCK, block * DVOL_BLOCK, &err), 0);
	free(data);
}

struct expected {
	uint64_t block, count;
	enum dvol_map_kind kind;
};

/* assert_map: the whole volume, asked for `most` extents at a time; the last block of the volume is a part of one. */
static void assert_map(struct dvol *vol, size_t most, const struct expected *expected, size_t n)
{
	struct err err = {0};
	uint64_t at = 0;
	size_t i = 0;
	while (at < SIZE) {
		struct dvol_map_extent *list;
		size_t count;
		assert_int_equal(dvol_map(vol, at, SIZE - at, most, &list, &count, &err), 0);
		assert_in_range(count, 1, most);
		for (size_t k = 0; k < count; k++, i++) {
			assert_true(i < n);
			assert_int_equal(list[k].offset, at);
			assert_int_equal(list[k].offset, expected[i].block * DVOL_BLOCK);
			uint64_t end = (expected[i].block + expected[i].count) * DVOL_BLOCK;
			at = end < SIZE ? end : SIZE;
			assert_int_equal(list[k].len, at - list[k].offset);
			assert_int_equal(list[k].kind, expected[i].kind);
		}
		free(list);
	}
	assert_int_equal(i, n);
}

static void test_kinds(void **unused)
{
	(void)unused;
	struct err err = {0};
	struct dvol *vol = make(DVOL_BACKING_RAW);
	struct dvol_id id;
	put(vol, 1, 1);
	put(vol, 3, 1);
	put(vol, 2000, 2);
	put(vol, 2002, 1); /* a neighbour in the file too */
	assert_int_equal(dvol_epoch_close(vol, NULL, &id, &err), 0);
	assert_int_equal(dvol_discard(vol, 1 * DVOL_BLOCK, DVOL_BLOCK, &err), 0);
	put(vol, BLOCKS - 1, 0);
	assert_int_equal(dvol_write(vol, "end", 3, SIZE - 3, &err), 0);
	assert_int_equal(dvol_flush(vol, &err), 0);
	static const struct expected before[] = {{0, 1, DVOL_MAP_BACKING},   {1, 1, DVOL_MAP_DATA},
						 {2, 1, DVOL_MAP_BACKING},   {3, 1, DVOL_MAP_DATA},
						 {4, 1996, DVOL_MAP_HOLE},   {2000, 3, DVOL_MAP_DATA},
						 {2003, 1997, DVOL_MAP_HOLE}};
	static const struct expected after[] = {{0, 1, DVOL_MAP_BACKING},    {1, 1, DVOL_MAP_ZERO},
						{2, 1, DVOL_MAP_BACKING},    {3, 1, DVOL_MAP_DATA},
						{4, 1996, DVOL_MAP_HOLE},    {2000, 3, DVOL_MAP_DATA},
						{2003, 1996, DVOL_MAP_HOLE}, {3999, 1, DVOL_MAP_DATA}};
	struct dvol_open_options at = {.epoch = id, .files = &memdisk_ops, .files_context = &disk};
	struct dvol *epoch = dvol_open("vol", &at, &err);
	assert_non_null(epoch);
	for (size_t most = 1; most <= 16; most *= 4) {
		assert_map(vol, most, after, sizeof(after) / sizeof(after[0]));
		assert_map(epoch, most, before, sizeof(before) / sizeof(before[0]));
	}
	dvol_close(epoch, NULL);
	assert_int_equal(dvol_close(vol, &err), 0);
	memdisk_free(&disk);
}

static void test_refusals(void **unused)
{
	(void)unused;
	struct err err = {0};
	struct dvol *vol = make(DVOL_BACKING_NONE);
	struct dvol_map_extent *list;
	size_t count;
	assert_int_equal(dvol_map(vol, 0, SIZE + 1, 9, &list, &count, &err), -1);
	assert_int_equal(err.kind, ERR_USAGE);
	assert_int_equal(dvol_map(vol, 512, 512, 9, &list, &count, &err), -1);
	assert_int_equal(err.kind, ERR_USAGE);
	assert_int_equal(dvol_map(vol, 0, 0, 9, &list, &count, &err), 0);
	assert_int_equal(count, 0);
	free(list);
	assert_int_equal(dvol_close(vol, &err), 0);
	memdisk_free(&disk);
}

struct ticks {
	uint64_t calls, last, left;
};

static bool tick(void *context, uint64_t done, uint64_t total)
{
	struct ticks *ticks = context;
	assert_true(done >= ticks->last && done <= total);
	ticks->last = done;
	ticks->calls++;
	return ticks->left-- > 0;
}

/* Exports and applies 3 MiB: as often as it is let, then without hindrance; what was cancelled left nothing. */
static void test_progress(void **unused)
{
	(void)unused;
	struct err err = {0};
	struct dvol *vol = make(DVOL_BACKING_NONE);
	struct dvol_id id;
	put(vol, 10, 800);
	assert_int_equal(dvol_epoch_close(vol, NULL, &id, &err), 0);
	struct dvol_open_options at = {.epoch = id, .files = &memdisk_ops, .files_context = &disk};
	struct dvol *epoch = dvol_open("vol", &at, &err);
	assert_non_null(epoch);
	struct ticks ticks = {.left = 1};
	dvol_on_progress(epoch, tick, &ticks);
	assert_int_equal(dvol_export(epoch, (struct dvol_id){0}, "delta", &err), -1);
	assert_int_equal(err.kind, ERR_CANCELLED);
	assert_null(memdisk_file(&disk, "delta"));
	ticks = (struct ticks){.left = 1000};
	assert_int_equal(dvol_export(epoch, (struct dvol_id){0}, "delta", &err), 0);
	assert_true(ticks.calls >= 3);
	dvol_close(epoch, NULL);

	struct dvol_info info;
	assert_int_equal(dvol_info(vol, &info, &err), 0);
	struct dvol_create_options create = {
	    .size_bytes = SIZE, .lineage = info.lineage, .files = &memdisk_ops, .files_context = &disk};
	struct dvol_open_options open = {.writable = true, .files = &memdisk_ops, .files_context = &disk};
	assert_int_equal(dvol_create("copy", &create, &err), 0);
	struct dvol *copy = dvol_open("copy", &open, &err);
	assert_non_null(copy);
	for (uint64_t left = 0; left < 7; left += 2) {
		ticks = (struct ticks){.left = left};
		dvol_on_progress(copy, tick, &ticks);
		assert_int_equal(dvol_apply(copy, "delta", &err), -1);
		assert_int_equal(err.kind, ERR_CANCELLED);
		static const struct expected nothing[] = {{0, BLOCKS, DVOL_MAP_HOLE}};
		assert_map(copy, 1, nothing, 1);
	}
	dvol_on_progress(copy, NULL, NULL);
	assert_int_equal(dvol_apply(copy, "delta", &err), 0);
	assert_int_equal(dvol_close(copy, &err), 0);
	assert_int_equal(dvol_close(vol, &err), 0);
	memdisk_free(&disk);
}

int main(void)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test(test_kinds), cmocka_unit_test(test_refusals),
					   cmocka_unit_test(test_progress)};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
