/* fuzz_dvol_tree: an epoch is compared with a damaged or hostile tree file: with an error or a list that makes sense, but never
 * a crash or a hang. */
#include "imagefmt/dvol.h"
#include "tests/fuzz/patch.h"
#include "tests/lib/memdisk.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

static struct memdisk base; /* "vol", "fine", "coarse" */
static struct dvol *epoch;
static struct patch_places fine, coarse;

static void need(int result)
{
	if (result < 0)
		abort();
}

static void build(void)
{
	struct err err = {0};
	struct dvol_create_options create = {
	    .size_bytes = 300 << 20, .journal_blocks = 16, .files = &memdisk_ops, .files_context = &base};
	struct dvol_open_options options = {.writable = true, .files = &memdisk_ops, .files_context = &base};
	uint8_t data[30000], root[DVOL_ROOT];
	struct dvol_id id[2];
	need(dvol_create("vol", &create, &err));
	struct dvol *vol = dvol_open("vol", &options, &err);
	for (int e = 0; e < 2; e++) {
		memset(data, e + 1, sizeof(data));
		need(dvol_write(vol, data, sizeof(data), (uint64_t)e * 2000000, &err));
		need(dvol_write(vol, data, sizeof(data), 290 << 20, &err));
		need(dvol_epoch_close(vol, NULL, &id[e], &err));
		need(dvol_digest(vol, id[e], root, &err));
	}
	need(dvol_tree_export(vol, id[0], DVOL_TREE_FINE, "fine", &err));
	need(dvol_tree_export(vol, id[0], DVOL_TREE_COARSE, "coarse", &err));
	need(dvol_close(vol, &err));
	options = (struct dvol_open_options){.epoch = id[1], .files = &memdisk_ops, .files_context = &base};
	epoch = dvol_open("vol", &options, &err);
	if (epoch == NULL)
		abort();
	patch_find(&fine, memdisk_file(&base, "fine"));
	patch_find(&coarse, memdisk_file(&base, "coarse"));
}

static void try_one(const char *path, const struct patch_places *places, const uint8_t *data, size_t len)
{
	struct err err = {0};
	struct dvol_extent *list;
	size_t count;
	const struct memdisk_file *file = memdisk_file(&base, path);
	/* The first byte: how much of the file is there. */
	uint64_t size = len > 0 && data[0] != 0 ? file->size * data[0] / 255 : file->size;
	memdisk_put(&base, "try", file->data, size);
	patch(memdisk_file(&base, "try"), places, data + (len > 0), len - (len > 0));
	if (dvol_tree_compare(epoch, "try", &list, &count, &err) == 0)
		for (size_t i = 0; i < count; i++)
			if (list[i].len == 0 || (i > 0 && list[i].offset <= list[i - 1].offset))
				abort();
	free(list);
	need(memdisk_ops.unlink(&base, "try"));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	if (epoch == NULL)
		build();
	try_one("fine", &fine, data, len);
	try_one("coarse", &coarse, data, len);
	return 0;
}
