/* fuzz_dvol_open: a damaged or hostile volume is opened, read, checked and changed: with an error or without, but never a
 * crash, a hang, or memory beyond bounds.  The first byte chooses the volume, and what is done; the rest changes it
 * (patch.h). */
#include "imagefmt/dvol.h"
#include "tests/fuzz/patch.h"
#include "tests/lib/memdisk.h"

#include <errno.h>
#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

enum {
	CLOSED,   /* as an orderly close leaves it */
	JOURNAL,  /* with a journal that is not yet done */
	DELETING, /* a delete was cut short */
	ROLLING,  /* a rollback was */
	PACKED,   /* with compressed blocks */
	BASES
};
enum { SIZE = 40 * DVOL_BLOCK + DVOL_SECTOR, READ_MAX = 1 << 18 };

static struct base {
	struct memdisk image, disk; /* disk: mirrors image, and is used up */
	struct patch_places places;
} bases[BASES];

static void need(int result)
{
	if (result < 0)
		abort();
}

static struct dvol *open_it(struct memdisk *disk, bool writable, struct dvol_id epoch)
{
	struct err err = {0};
	struct dvol_open_options options = {.writable = writable,
					    .epoch = epoch,
					    .compact = true,
					    .cache_pages = 4,
					    .files = &memdisk_ops,
					    .files_context = disk};
	return dvol_open("v", &options, &err);
}

/* history: epochs 1, 3 and 4, of which some have digests. */
static void history(struct dvol *vol)
{
	struct err err = {0};
	uint8_t block[DVOL_BLOCK], root[DVOL_ROOT];
	for (unsigned e = 0; e < 4; e++) {
		struct dvol_id id;
		memset(block, (int)e + 1, sizeof(block));
		for (unsigned i = e; i < 36; i += 2 + e)
			need(dvol_write(vol, block, sizeof(block), (uint64_t)i * DVOL_BLOCK, &err));
		need(dvol_epoch_close(vol, NULL, &id, &err));
		if (e < 2)
			need(dvol_digest(vol, id, root, &err));
		need(dvol_discard(vol, (uint64_t)e * 40960, 20480, &err));
	}
	need(dvol_epoch_delete(vol, (struct dvol_id){.term = 1, .number = 2}, &err));
	need(dvol_pin(vol, (struct dvol_id){.term = 1, .number = 3}, "pin", &err));
	need(dvol_flush(vol, &err));
}

/* cut_short: begin a delete or a rollback; its n-th call fails, 0: none.  Returns how many calls there were. */
static uint64_t cut_short(struct memdisk *disk, struct dvol *vol, int which, uint64_t n)
{
	struct err err = {0};
	uint64_t before = disk->operations;
	disk->fail_in = n;
	disk->fail_errno = EIO;
	disk->fail_sticky = true;
	int result = which == DELETING
			 ? dvol_epoch_delete(vol, (struct dvol_id){.term = 1, .number = 1}, &err)
			 : dvol_rollback(vol, (struct dvol_id){.term = 1, .number = 4}, &err);
	if ((result == 0) != (n == 0))
		abort();
	disk->fail_in = 0;
	return disk->operations - before;
}

/* build_until: of what is cut short, the calls that it took until then. */
static uint64_t build_until(int which, uint64_t n)
{
	struct base *base = &bases[which];
	struct memdisk *disk = &base->image;
	struct err err = {0};
	struct dvol_create_options create = {
	    .size_bytes = SIZE, .journal_blocks = 16, .files = &memdisk_ops, .files_context = disk};
	uint64_t calls = 0;
	need(dvol_create("v", &create, &err));
	struct dvol *vol = open_it(disk, true, (struct dvol_id){0});
	if (vol == NULL)
		abort();
	history(vol);
	if (which == PACKED)
		need(dvol_pack(vol, 1, NULL, &err));
	if (which == DELETING || which == ROLLING)
		calls = cut_short(disk, vol, which, n);
	if (which == JOURNAL) { /* what the close does to it is not what is wanted */
		memdisk_copy(&base->disk, disk);
		dvol_close(vol, NULL);
		memdisk_copy(disk, &base->disk);
	} else {
		dvol_close(vol, NULL);
	}
	return calls;
}

static void build(int which)
{
	struct memdisk *disk = &bases[which].image;
	uint64_t calls = build_until(which, 0);
	if (calls > 0) { /* once more, and in the middle of it … */
		memdisk_free(disk);
		build_until(which, calls * 2 / 3);
	}
	patch_find(&bases[which].places, memdisk_file(disk, "v"));
}

/* ---- what is done with it ---- */
static void use(struct dvol *vol)
{
	struct err err = {0};
	static uint8_t data[65536];
	struct dvol_map_extent *map;
	struct dvol_info info;
	size_t count;
	uint64_t size = dvol_size(vol);
	for (uint64_t at = 0; at < size && at < READ_MAX; at += sizeof(data))
		(void)dvol_read(vol, data, size - at < sizeof(data) ? size - at : sizeof(data), at, &err);
	(void)dvol_read(vol, data, DVOL_SECTOR, size - DVOL_SECTOR, &err);
	if (dvol_map(vol, 0, size, 64, &map, &count, &err) == 0)
		free(map);
	(void)dvol_info(vol, &info, &err);
}

/* small: what is proportional to the size, or to a backing's, may be done. */
static bool small(const struct dvol *vol)
{
	return dvol_size(vol) <= 64 << 20;
}

static void use_epoch(struct dvol *epoch, struct dvol_id first, struct dvol_id id)
{
	struct err err = {0};
	struct dvol_extent *extents;
	struct dvol_bad_block *bad;
	size_t n;
	use(epoch);
	if (dvol_changed(epoch, first, id, &extents, &n, &err) == 0)
		free(extents);
	if (small(epoch) && dvol_changed(epoch, (struct dvol_id){0}, id, &extents, &n, &err) == 0)
		free(extents);
	if (dvol_verify(epoch, NULL, &bad, &n, NULL, &err) == 0)
		free(bad);
}

/* use_trees: the digest trees, against the epoch before (or NULL) and as a file. */
static void use_trees(struct memdisk *disk, struct dvol *before, struct dvol *epoch, struct dvol_id id)
{
	struct err err = {0};
	struct dvol_extent *extents;
	size_t n;
	if (!small(epoch))
		return;
	if (before != NULL && dvol_compare(before, epoch, &extents, &n, NULL, &err) == 0)
		free(extents);
	if (dvol_tree_export(epoch, id, DVOL_TREE_FINE, "tree", &err) == 0 &&
	    dvol_tree_compare(epoch, "tree", &extents, &n, &err) == 0)
		free(extents);
	if (memdisk_file(disk, "tree") != NULL)
		(void)memdisk_ops.unlink(disk, "tree");
}

static void use_epochs(struct memdisk *disk, struct dvol *vol)
{
	struct err err = {0};
	struct dvol_epoch *list;
	struct dvol *before = NULL;
	size_t count;
	if (dvol_epochs(vol, &list, &count, &err) < 0)
		return;
	for (size_t i = 0; i < count && i < 6; i++) {
		struct dvol *epoch = open_it(disk, false, list[i].id);
		if (epoch == NULL)
			continue;
		use_epoch(epoch, list[0].id, list[i].id);
		use_trees(disk, before, epoch, list[i].id);
		dvol_close(before, NULL);
		before = epoch;
	}
	dvol_close(before, NULL);
	free(list);
}

static void change(struct dvol *vol)
{
	struct err err = {0};
	struct dvol_epoch *list;
	size_t count;
	static const uint8_t data[9000] = {1};
	uint8_t root[DVOL_ROOT];
	struct dvol_info info;
	(void)dvol_write(vol, data, sizeof(data), 5000, &err);
	(void)dvol_discard(vol, 8192, 65536, &err);
	(void)dvol_epoch_close(vol, NULL, NULL, &err);
	(void)dvol_write(vol, data, sizeof(data), 100000, &err);
	(void)dvol_flush(vol, &err);
	if (dvol_epochs(vol, &list, &count, &err) == 0) {
		if (count > 0)
			(void)dvol_rollback(vol, list[count - 1].id, &err);
		if (count > 0 && small(vol))
			(void)dvol_digest(vol, list[count - 1].id, root, &err);
		if (count > 1)
			(void)dvol_epoch_delete(vol, list[count / 2].id, &err);
		if (small(vol))
			(void)dvol_pack(vol, 1, NULL, &err);
		free(list);
	}
	(void)dvol_check(vol, &info, NULL, NULL, &err);
}

static void look_at_all(struct memdisk *disk, bool sound)
{
	struct err err = {0};
	struct dvol_info info;
	struct dvol *vol = open_it(disk, false, (struct dvol_id){0});
	if (sound && vol == NULL)
		abort();
	if (vol == NULL)
		return;
	use(vol);
	(void)dvol_check(vol, &info, NULL, NULL, &err);
	/* Whatever it was cut short in. */
	if (sound && info.errors != 0)
		abort();
	use_epochs(disk, vol);
	dvol_close(vol, NULL);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	if (bases[0].places.count == 0)
		for (int i = 0; i < BASES; i++)
			build(i);
	if (len == 0)
		return 0;
	struct base *base = &bases[(data[0] & 15) % BASES];
	struct memdisk *disk = &base->disk;
	memdisk_mirror(disk, &base->image);
	patch(memdisk_file(disk, "v"), &base->places, data + 1, len - 1);
	/* Reading and writing have little to do with one another; one of them alone is faster. */
	if ((data[0] & 0x30) != 0x10)
		look_at_all(disk, len == 1);
	struct dvol *vol = (data[0] & 0x30) != 0x20 ? open_it(disk, true, (struct dvol_id){0}) : NULL;
	if (vol != NULL) {
		change(vol);
		dvol_close(vol, NULL);
	}
	return 0;
}
