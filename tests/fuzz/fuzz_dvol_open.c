/* fuzz_dvol_open: a damaged or hostile volume is opened, read, checked and changed: with an error or without, but never a
 * crash, a hang, or memory beyond bounds. */
#include "imagefmt/dvol.h"
#include "tests/fuzz/patch.h"
#include "tests/lib/memdisk.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

static uint8_t *base[2];
static size_t base_size[2];

static void need(int result)
{
	if (result < 0)
		abort();
}

/* build: a volume with epochs, history and (which = 1) a journal that is not yet done. */
static void build(int which)
{
	struct memdisk disk = {0};
	struct err err = {0};
	struct dvol_create_options create = {
	    .size_bytes = 4 << 20, .journal_blocks = 16, .files = &memdisk_ops, .files_context = &disk};
	struct dvol_open_options options = {.writable = true, .files = &memdisk_ops, .files_context = &disk};
	uint8_t block[DVOL_BLOCK], root[DVOL_ROOT];
	need(dvol_create("v", &create, &err));
	struct dvol *vol = dvol_open("v", &options, &err);
	if (vol == NULL)
		abort();
	for (unsigned e = 0; e < 4; e++) {
		struct dvol_id id;
		memset(block, (int)e + 1, sizeof(block));
		for (unsigned i = e; i < 200; i += 3 + e)
			need(dvol_write(vol, block, sizeof(block), (uint64_t)i * DVOL_BLOCK, &err));
		need(dvol_epoch_close(vol, NULL, &id, &err));
		if (e < 2)
			need(dvol_digest(vol, id, root, &err));
		need(dvol_discard(vol, e * 40960, 20480, &err));
	}
	need(dvol_epoch_delete(vol, (struct dvol_id){.term = 1, .number = 2}, &err));
	need(dvol_pin(vol, (struct dvol_id){.term = 1, .number = 3}, "pin", &err));
	need(dvol_flush(vol, &err));
	if (which == 0)
		need(dvol_close(vol, &err));
	struct memdisk_file *file = memdisk_file(&disk, "v");
	base[which] = malloc(file->size);
	if (base[which] == NULL)
		abort();
	memcpy(base[which], file->data, file->size);
	base_size[which] = file->size;
	if (which == 1)
		dvol_close(vol, NULL);
	memdisk_free(&disk);
}

static void use(struct dvol *vol)
{
	struct err err = {0};
	static uint8_t data[65536];
	uint64_t size = dvol_size(vol);
	for (uint64_t at = 0; at < size && at < (4 << 20); at += sizeof(data))
		(void)dvol_read(vol, data, size - at < sizeof(data) ? size - at : sizeof(data), at, &err);
	(void)dvol_read(vol, data, DVOL_SECTOR, size - DVOL_SECTOR, &err);
}

static void use_epochs(struct memdisk *disk, struct dvol *vol)
{
	struct err err = {0};
	struct dvol_epoch *list;
	struct dvol_extent *extents;
	struct dvol_bad_block *bad;
	size_t count, n;
	struct dvol *before = NULL;
	if (dvol_epochs(vol, &list, &count, &err) < 0)
		return;
	for (size_t i = 0; i < count && i < 6; i++) {
		struct dvol_open_options options = {
		    .epoch = list[i].id, .cache_pages = 4, .files = &memdisk_ops, .files_context = disk};
		struct dvol *epoch = dvol_open("v", &options, &err);
		if (epoch == NULL)
			continue;
		use(epoch);
		if (dvol_changed(epoch, list[0].id, list[i].id, &extents, &n, &err) == 0)
			free(extents);
		if (dvol_verify(epoch, epoch, &bad, &n, NULL, &err) == 0)
			free(bad);
		if (before != NULL && dvol_compare(before, epoch, &extents, &n, NULL, &err) == 0)
			free(extents);
		dvol_close(before, NULL);
		before = epoch;
		(void)dvol_tree_export(epoch, list[i].id, DVOL_TREE_FINE, "tree", &err);
		if (dvol_tree_compare(epoch, "tree", &extents, &n, &err) == 0)
			free(extents);
		(void)memdisk_ops.unlink(disk, "tree");
	}
	dvol_close(before, NULL);
	free(list);
}

static void change(struct dvol *vol)
{
	struct err err = {0};
	struct dvol_epoch *list;
	size_t count;
	uint8_t data[9000] = {1}, root[DVOL_ROOT];
	struct dvol_info info;
	(void)dvol_write(vol, data, sizeof(data), 5000, &err);
	(void)dvol_discard(vol, 8192, 65536, &err);
	(void)dvol_epoch_close(vol, NULL, NULL, &err);
	(void)dvol_write(vol, data, sizeof(data), 100000, &err);
	(void)dvol_flush(vol, &err);
	if (dvol_epochs(vol, &list, &count, &err) == 0) {
		if (count > 0)
			(void)dvol_rollback(vol, list[count - 1].id, &err);
		if (count > 0 && dvol_size(vol) <= (64 << 20))
			(void)dvol_digest(vol, list[count - 1].id, root, &err);
		if (count > 1)
			(void)dvol_epoch_delete(vol, list[count / 2].id, &err);
		free(list);
	}
	(void)dvol_check(vol, &info, NULL, NULL, &err);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	if (base[0] == NULL) {
		build(0);
		build(1);
	}
	if (len == 0)
		return 0;
	int which = data[0] & 1;
	struct memdisk disk = {0};
	struct err err = {0};
	struct dvol_info info;
	struct dvol_open_options options = {.cache_pages = 4, .files = &memdisk_ops, .files_context = &disk};
	memdisk_put(&disk, "v", base[which], base_size[which]);
	patch(memdisk_file(&disk, "v")->data, base_size[which], data + 1, len - 1);
	struct dvol *vol = dvol_open("v", &options, &err);
	if (vol != NULL) {
		use(vol);
		(void)dvol_check(vol, &info, NULL, NULL, &err);
		use_epochs(&disk, vol);
		dvol_close(vol, NULL);
	}
	options.writable = true;
	vol = dvol_open("v", &options, &err);
	if (vol != NULL) {
		change(vol);
		dvol_close(vol, NULL);
	}
	memdisk_free(&disk);
	return 0;
}
