/* Verify proves what is on the disk against the root: a changed byte is found, named and healed, also in a block that cannot be
 * read; blocks that are right each but in the wrong places are found too. */
#include "imagefmt/vol.h"
#include "tests/lib/dvolkit.h"
#include "tests/lib/test.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

static struct memdisk disk;
static struct dvol_bad_block *bad;
static size_t nbad;
static uint64_t healed;

static int verify(struct dvol *epoch, struct dvol *heal, struct err *err)
{
	free(bad);
	bad = NULL;
	return dvol_verify(epoch, heal, &bad, &nbad, &healed, err);
}

static int teardown(void **unused)
{
	(void)unused;
	free(bad);
	bad = NULL;
	memdisk_free(&disk);
	return 0;
}

/* sealed: a volume of 4000 blocks (the map has no pages for the end) with some data, closed twice. */
static struct dvol *sealed(struct dvol_id *id)
{
	uint8_t root[DVOL_ROOT];
	struct dvol *vol = kit_volume(&disk, "vol", 4000, 0);
	for (uint64_t block = 0; block < 40; block++)
		kit_fill(vol, block * 7, 0x6b);
	*id = kit_close_epoch(vol);
	kit_fill(vol, 21, 0x11);
	kit_root(vol, kit_close_epoch(vol), root);
	return vol;
}

/* place: where in the file the content of a block of the epoch is. */
static uint8_t *place(struct dvol_id id, uint64_t block)
{
	struct err err = {0};
	struct dvol_map_extent *list;
	size_t count;
	struct dvol *epoch = kit_open(&disk, "vol", id);
	assert_int_equal(dvol_map(epoch, block * DVOL_BLOCK, DVOL_BLOCK, 1, &list, &count, &err), 0);
	assert_int_equal(list[0].kind, DVOL_MAP_DATA);
	uint8_t *at = memdisk_file(&disk, "vol")->data + list[0].file_offset;
	free(list);
	dvol_close(epoch, NULL);
	return at;
}

static void test_found_and_healed(void **unused)
{
	(void)unused;
	struct err err = {0};
	struct dvol_id id;
	struct dvol *vol = sealed(&id), *copy = kit_volume(&disk, "copy", 64, 0);
	uint8_t *at = place(id, 21), good = at[77];
	struct dvol *epoch = kit_open(&disk, "vol", id);
	assert_int_equal(verify(epoch, NULL, &err), 0);
	assert_int_equal(nbad, 0);
	at[77] ^= 4;
	/* A copy that is not the same does not heal. */
	assert_int_equal(verify(epoch, copy, &err), 0);
	assert_int_equal(nbad, 1);
	assert_int_equal(healed, 0);
	assert_int_equal(bad[0].offset, 21 * DVOL_BLOCK);
	assert_int_equal(bad[0].epoch.number, id.number);
	kit_fill(copy, 21, 0x6b);
	assert_int_equal(verify(epoch, copy, &err), 0);
	assert_int_equal(nbad, 0);
	assert_int_equal(healed, 1);
	assert_int_equal(at[77], good);
	assert_int_equal(verify(epoch, NULL, &err), 0);
	assert_int_equal(nbad, 0);
	dvol_close(epoch, NULL);
	dvol_close(vol, NULL);
	dvol_close(copy, NULL);
}

/* A raw image heals too, and one that is too short to have the block does not. */
static void test_heal_from_raw(void **unused)
{
	(void)unused;
	struct err err = {0};
	struct dvol_id id;
	struct dvol *vol = sealed(&id), *epoch = kit_open(&disk, "vol", id);
	uint8_t *image = malloc(dvol_size(epoch));
	assert_non_null(image);
	assert_int_equal(dvol_read(epoch, image, dvol_size(epoch), 0, &err), 0);
	memdisk_put(&disk, "short.raw", image, 21 * DVOL_BLOCK);
	memdisk_put(&disk, "whole.raw", image, dvol_size(epoch));
	free(image);
	place(id, 21)[0] ^= 1;
	struct dvol *raw = dvol_open_raw("short.raw", &memdisk_ops, &disk, &err);
	assert_non_null(raw);
	assert_int_equal(dvol_size(raw), 21 * DVOL_BLOCK);
	assert_int_equal(verify(epoch, raw, &err), 0);
	assert_int_equal(nbad, 1);
	dvol_close(raw, NULL);
	raw = dvol_open_raw("whole.raw", &memdisk_ops, &disk, &err);
	assert_int_equal(verify(epoch, raw, &err), 0);
	assert_int_equal(nbad, 0);
	assert_int_equal(healed, 1);
	dvol_close(raw, NULL);
	assert_null(dvol_open_raw("none.raw", &memdisk_ops, &disk, &err));
	dvol_close(epoch, NULL);
	dvol_close(vol, NULL);
}

/* unreadable: a file block gives EIO until it is written. */
static uint64_t unreadable;

static int fail_there(void *context, const char *path, uint64_t offset, uint64_t len)
{
	(void)context;
	if (strcmp(path, "vol") != 0 || offset > unreadable || offset + len <= unreadable)
		return 0;
	for (size_t i = 0; i < disk.nevents; i++)
		if (disk.events[i].kind == MEMDISK_WRITE && disk.events[i].offset == unreadable)
			return 0;
	return EIO;
}

static void test_unreadable(void **unused)
{
	(void)unused;
	struct err err = {0};
	struct dvol_id id;
	struct dvol *vol = sealed(&id), *copy = kit_volume(&disk, "copy", 64, 0);
	unreadable = (uint64_t)(place(id, 14) - memdisk_file(&disk, "vol")->data);
	struct dvol *epoch = kit_open(&disk, "vol", id);
	disk.on_read = fail_there;
	disk.recording = true;
	assert_int_equal(verify(epoch, NULL, &err), 0);
	assert_int_equal(nbad, 1);
	assert_int_equal(bad[0].offset, 14 * DVOL_BLOCK);
	kit_fill(copy, 14, 0x6b);
	assert_int_equal(verify(epoch, copy, &err), 0);
	assert_int_equal(nbad, 0);
	assert_int_equal(healed, 1);
	dvol_close(epoch, NULL);
	dvol_close(vol, NULL);
	dvol_close(copy, NULL);
}

/* Two blocks have changed places: each is what its digest says, but the epoch is not what its root says. */
static void test_wrong_places(void **unused)
{
	(void)unused;
	struct err err = {0};
	struct dvol_id id;
	uint64_t words[2];
	struct dvol *vol = sealed(&id);
	pthread_mutex_lock(&vol->meta);
	for (unsigned i = 0; i < 2; i++)
		assert_int_equal(table_get(vol, TABLE_MAP, 7 + 7 * i, &words[i], &err), 0);
	for (unsigned i = 0; i < 2; i++)
		assert_int_equal(table_set(vol, TABLE_MAP, 7 + 7 * i, words[1 - i], &err), 0);
	pthread_mutex_unlock(&vol->meta);
	assert_int_equal(dvol_close(vol, &err), 0);
	struct dvol *epoch = kit_open(&disk, "vol", id);
	assert_int_equal(verify(epoch, NULL, &err), -1);
	assert_int_equal(err.kind, ERR_INPUT);
	assert_non_null(strstr(err.text, "root"));
	dvol_close(epoch, NULL);
}

static void test_packed(void **unused)
{
	(void)unused;
	struct err err = {0};
	uint8_t root[DVOL_ROOT];
	static uint8_t data[16 * DVOL_BLOCK];
	struct dvol *vol = kit_volume(&disk, "vol", 700, 3);
	struct dvol_map_extent *list;
	size_t count;
	memset(data, 0x37, sizeof(data));
	assert_int_equal(dvol_write_cold(vol, data, sizeof(data), 32 * DVOL_BLOCK, &err), 0);
	struct dvol_id id = kit_close_epoch(vol);
	kit_root(vol, id, root);
	struct dvol *epoch = kit_open(&disk, "vol", id);
	assert_int_equal(verify(epoch, NULL, &err), 0);
	assert_int_equal(nbad, 0);
	dvol_close(epoch, NULL);
	epoch = kit_open(&disk, "vol", id);
	assert_int_equal(dvol_map(epoch, 32 * DVOL_BLOCK, DVOL_BLOCK, 1, &list, &count, &err), 0);
	assert_int_equal(list[0].kind, DVOL_MAP_PACKED);
	memdisk_file(&disk, "vol")->data[list[0].file_offset + 500] ^= 1;
	free(list);
	assert_int_equal(verify(epoch, NULL, &err), 0);
	assert_int_equal(nbad, 16);
	assert_int_equal(bad[0].offset, 32 * DVOL_BLOCK);
	/* A copy heals them all at once, unless one of them is not the same there. */
	struct dvol *copy = kit_volume(&disk, "copy", 700, 0);
	data[5 * DVOL_BLOCK] ^= 1;
	assert_int_equal(dvol_write(copy, data, sizeof(data), 32 * DVOL_BLOCK, &err), 0);
	assert_int_equal(verify(epoch, copy, &err), 0);
	assert_int_equal(nbad, 16);
	data[5 * DVOL_BLOCK] ^= 1;
	assert_int_equal(dvol_write(copy, data, sizeof(data), 32 * DVOL_BLOCK, &err), 0);
	assert_int_equal(verify(epoch, copy, &err), 0);
	assert_int_equal(nbad, 0);
	assert_int_equal(healed, 16);
	dvol_close(copy, NULL);
	dvol_close(epoch, NULL);
	epoch = kit_open(&disk, "vol", id);
	assert_int_equal(verify(epoch, NULL, &err), 0);
	assert_int_equal(nbad, 0);
	dvol_close(epoch, NULL);
	dvol_close(vol, NULL);
}

static bool refuse(void *context, uint64_t done, uint64_t total)
{
	(void)done;
	uint64_t *last = context;
	*last = total;
	return false;
}

static void test_states(void **unused)
{
	(void)unused;
	struct err err = {0};
	uint8_t root[DVOL_ROOT];
	uint64_t total = 0;
	struct dvol *vol = kit_volume(&disk, "vol", 64, 0);
	kit_fill(vol, 9, 1);
	struct dvol_id id = kit_close_epoch(vol);
	assert_int_equal(verify(vol, NULL, &err), -1);
	assert_int_equal(err.kind, ERR_USAGE);
	struct dvol *epoch = kit_open(&disk, "vol", id);
	assert_int_equal(verify(epoch, NULL, &err), -1);
	assert_int_equal(err.kind, ERR_STATE);
	/* A handle from before the digest was there finds it. */
	kit_root(vol, id, root);
	assert_int_equal(verify(epoch, NULL, &err), 0);
	dvol_on_progress(epoch, refuse, &total);
	assert_int_equal(verify(epoch, NULL, &err), -1);
	assert_int_equal(err.kind, ERR_CANCELLED);
	assert_int_equal(total, 64 * DVOL_BLOCK);
	dvol_close(epoch, NULL);
	dvol_close(vol, NULL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test_teardown(test_found_and_healed, teardown),
	    cmocka_unit_test_teardown(test_heal_from_raw, teardown),
	    cmocka_unit_test_teardown(test_unreadable, teardown),
	    cmocka_unit_test_teardown(test_wrong_places, teardown),
	    cmocka_unit_test_teardown(test_packed, teardown),
	    cmocka_unit_test_teardown(test_states, teardown),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
