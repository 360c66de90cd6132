/* fuzz_dvol_apply: a damaged or hostile delta is applied: with an error or without, but never a crash or a hang; and the
 * volume checks clean afterwards. */
#include "imagefmt/dvol.h"
#include "tests/fuzz/patch.h"
#include "tests/lib/memdisk.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

static const uint8_t lineage[16] = "fuzz";
static struct memdisk base; /* "replica", "seed", "delta" */

static void need(int result)
{
	if (result < 0)
		abort();
}

static struct dvol *open_it(struct memdisk *disk, const char *path, bool writable, struct dvol_id id)
{
	struct err err = {0};
	struct dvol_open_options options = {.writable = writable,
					    .epoch = id,
					    .cache_pages = 8,
					    .files = &memdisk_ops,
					    .files_context = disk};
	return dvol_open(path, &options, &err);
}

static void build(void)
{
	struct err err = {0};
	struct dvol_create_options create = {.size_bytes = 1 << 20,
					     .journal_blocks = 16,
					     .lineage = lineage,
					     .files = &memdisk_ops,
					     .files_context = &base};
	uint8_t data[30000], root[DVOL_ROOT];
	struct dvol_id id[2], from = {0};
	need(dvol_create("primary", &create, &err));
	need(dvol_create("replica", &create, &err));
	struct dvol *vol = open_it(&base, "primary", true, (struct dvol_id){0});
	for (int e = 0; e < 2; e++) {
		memset(data, e + 1, sizeof(data));
		need(dvol_write(vol, data, sizeof(data), (uint64_t)e * 20000, &err));
		need(dvol_write_zeroes(vol, 8192, 8192, &err));
		need(dvol_epoch_close(vol, NULL, &id[e], &err));
		need(dvol_digest(vol, id[e], root, &err));
		struct dvol *epoch = open_it(&base, "primary", false, id[e]);
		need(dvol_export(epoch, from, e == 0 ? "seed" : "delta", &err));
		from = id[e];
		dvol_close(epoch, NULL);
	}
	need(dvol_close(vol, &err));
	vol = open_it(&base, "replica", true, (struct dvol_id){0});
	need(dvol_apply(vol, "seed", &err));
	need(dvol_close(vol, &err));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	if (base.files[0].path == NULL)
		build();
	struct memdisk disk = {0};
	struct err err = {0};
	struct dvol_info info;
	const struct memdisk_file *replica = memdisk_file(&base, "replica"),
				  *delta = memdisk_file(&base, "delta");
	memdisk_put(&disk, "replica", replica->data, replica->size);
	memdisk_put(&disk, "delta", delta->data, delta->size);
	patch(memdisk_file(&disk, "delta")->data, delta->size, data, len);
	struct dvol *vol = open_it(&disk, "replica", true, (struct dvol_id){0});
	if (vol == NULL)
		abort();
	(void)dvol_apply(vol, "delta", &err);
	need(dvol_check(vol, &info, NULL, NULL, &err));
	if (info.errors != 0)
		abort();
	need(dvol_close(vol, &err));
	memdisk_free(&disk);
	return 0;
}
