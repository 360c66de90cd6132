/* fuzz_dvol_apply: a damaged or hostile delta is applied: with an error or without, but never a crash or a hang; and the
 * volume checks clean afterwards, and has the content it had, or the delta's epoch.  The first byte chooses the delta, the
 * rest changes it (patch.h). */
#include "imagefmt/dvol.h"
#include "tests/fuzz/patch.h"
#include "tests/lib/memdisk.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

enum { SEED, DELTA, CASES, SIZE = 24 * DVOL_BLOCK + DVOL_SECTOR };
static const uint8_t lineage[16] = "fuzz";

/* A replica and what comes to it. */
static struct base {
	struct memdisk image, disk; /* "replica", "delta"; disk mirrors image, and is used up */
	struct patch_places places;
	uint8_t content[SIZE]; /* of the replica */
} bases[CASES];

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
					    .compact = true,
					    .cache_pages = 8,
					    .files = &memdisk_ops,
					    .files_context = disk};
	struct dvol *vol = dvol_open(path, &options, &err);
	if (vol == NULL)
		abort();
	return vol;
}

/* source: a volume with two epochs, and the deltas that make them: "seed" and "delta". */
static void source(struct memdisk *disk)
{
	struct err err = {0};
	struct dvol_create_options create = {.size_bytes = SIZE,
					     .journal_blocks = 16,
					     .lineage = lineage,
					     .files = &memdisk_ops,
					     .files_context = disk};
	uint8_t data[30000], root[DVOL_ROOT];
	struct dvol_id from = {0};
	need(dvol_create("source", &create, &err));
	struct dvol *vol = open_it(disk, "source", true, (struct dvol_id){0});
	for (int e = 0; e < 2; e++) {
		struct dvol_id id;
		memset(data, e + 1, sizeof(data));
		need(dvol_write(vol, data, sizeof(data), (uint64_t)e * 20000, &err));
		need(dvol_write_zeroes(vol, 8192, 8192, &err));
		need(dvol_epoch_close(vol, NULL, &id, &err));
		need(dvol_digest(vol, id, root, &err));
		struct dvol *epoch = open_it(disk, "source", false, id);
		need(dvol_export(epoch, from, e == 0 ? "seed" : "delta", &err));
		dvol_close(epoch, NULL);
		from = id;
	}
	need(dvol_close(vol, &err));
}

static void build(int which, struct memdisk *from)
{
	struct base *base = &bases[which];
	struct err err = {0};
	struct dvol_create_options create = {.size_bytes = SIZE,
					     .journal_blocks = 16,
					     .compress = 1,
					     .lineage = lineage,
					     .files = &memdisk_ops,
					     .files_context = &base->image};
	uint8_t root[DVOL_ROOT];
	const struct memdisk_file *seed = memdisk_file(from, "seed"), *delta = memdisk_file(from, "delta");
	need(dvol_create("replica", &create, &err));
	struct dvol *vol = open_it(&base->image, "replica", true, (struct dvol_id){0});
	if (which == DELTA) {
		memdisk_put(&base->image, "delta", seed->data, seed->size);
		need(dvol_apply(vol, "delta", &err));
		need(dvol_digest(vol, (struct dvol_id){.term = 1, .number = 1}, root, &err));
		need(dvol_read(vol, base->content, SIZE, 0, &err));
		memdisk_ops.unlink(&base->image, "delta");
		seed = delta;
	}
	need(dvol_close(vol, &err));
	memdisk_put(&base->image, "delta", seed->data, seed->size);
	patch_find(&base->places, memdisk_file(&base->image, "delta"));
}

static void check(struct dvol *vol, const struct base *base, bool applied)
{
	static uint8_t content[SIZE];
	struct err err = {0};
	struct dvol_info info;
	need(dvol_check(vol, &info, NULL, NULL, &err));
	if (info.errors != 0 || info.size_bytes < SIZE)
		abort();
	need(dvol_read(vol, content, SIZE, 0, &err));
	if (!applied && memcmp(content, base->content, SIZE) != 0)
		abort();
	if (info.epochs != (base == &bases[DELTA]) + applied)
		abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	struct err err = {0};
	if (bases[0].places.count == 0) {
		struct memdisk from = {0};
		source(&from);
		for (int i = 0; i < CASES; i++)
			build(i, &from);
		memdisk_free(&from);
	}
	if (len == 0)
		return 0;
	struct base *base = &bases[data[0] % CASES];
	memdisk_mirror(&base->disk, &base->image);
	patch(memdisk_file(&base->disk, "delta"), &base->places, data + 1, len - 1);
	struct dvol *vol = open_it(&base->disk, "replica", true, (struct dvol_id){0});
	bool applied = dvol_apply(vol, "delta", &err) == 0;
	if (len == 1 && !applied)
		abort();
	check(vol, base, applied);
	need(dvol_close(vol, &err));
	return 0;
}
