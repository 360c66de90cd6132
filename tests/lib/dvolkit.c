/* dvolkit.c: volumes in memory for tests. */
#include "tests/lib/dvolkit.h"
#include "tests/lib/test.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct dvol *kit_open(struct memdisk *disk, const char *path, struct dvol_id id)
{
	struct err err = {0};
	struct dvol_open_options options = {.writable = id.number == 0,
					    .epoch = id,
					    .cache_pages = 16,
					    .files = &memdisk_ops,
					    .files_context = disk};
	struct dvol *vol = dvol_open(path, &options, &err);
	if (vol == NULL)
		fail_msg("%s", err.text);
	return vol;
}

struct dvol *kit_volume(struct memdisk *disk, const char *path, uint64_t blocks, unsigned compress)
{
	struct err err = {0};
	struct dvol_create_options create = {.size_bytes = blocks * DVOL_BLOCK,
					     .journal_blocks = 32,
					     .compress = compress,
					     .files = &memdisk_ops,
					     .files_context = disk};
	if (dvol_create(path, &create, &err) < 0)
		fail_msg("%s", err.text);
	return kit_open(disk, path, (struct dvol_id){0});
}

struct dvol_id kit_close_epoch(struct dvol *vol)
{
	struct err err = {0};
	struct dvol_id id;
	if (dvol_epoch_close(vol, NULL, &id, &err) < 0)
		fail_msg("%s", err.text);
	return id;
}

void kit_fill(struct dvol *vol, uint64_t block, uint8_t byte)
{
	struct err err = {0};
	uint8_t data[DVOL_BLOCK];
	memset(data, byte, sizeof(data));
	memcpy(data, &block, sizeof(block));
	if (dvol_write(vol, data, sizeof(data), block * DVOL_BLOCK, &err) < 0)
		fail_msg("%s", err.text);
}

void kit_root(struct dvol *vol, struct dvol_id id, uint8_t root[DVOL_ROOT])
{
	struct err err = {0};
	if (dvol_digest(vol, id, root, &err) < 0)
		fail_msg("%s", err.text);
}

void kit_same_root(struct memdisk *disk, struct dvol *vol, const char *path, struct dvol_id id)
{
	struct err err = {0};
	uint8_t root[DVOL_ROOT], expected[DVOL_ROOT], *data = malloc(DVOL_BLOCK);
	struct dvol *epoch = kit_open(disk, path, id);
	struct dvol *fresh = kit_volume(disk, "kit-fresh", dvol_size(epoch) / DVOL_BLOCK, 0);
	assert_non_null(data);
	for (uint64_t at = 0; at < dvol_size(epoch); at += DVOL_BLOCK) {
		assert_int_equal(dvol_read(epoch, data, DVOL_BLOCK, at, &err), 0);
		if (data[0] != 0 || memcmp(data, data + 1, DVOL_BLOCK - 1) != 0)
			assert_int_equal(dvol_write(fresh, data, DVOL_BLOCK, at, &err), 0);
	}
	kit_root(fresh, kit_close_epoch(fresh), expected);
	kit_root(vol, id, root);
	assert_memory_equal(root, expected, DVOL_ROOT);
	assert_int_equal(dvol_close(fresh, &err), 0);
	assert_int_equal(memdisk_ops.unlink(disk, "kit-fresh"), 0);
	dvol_close(epoch, NULL);
	free(data);
}

static int on_read(void *context, const char *path, uint64_t offset, uint64_t len)
{
	struct kit_reads *reads = context;
	if (strcmp(path, reads->path) != 0)
		return 0;
	for (uint64_t at = offset / DVOL_BLOCK; at < reads->blocks && at * DVOL_BLOCK < offset + len; at++)
		reads->count += reads->data[at];
	return 0;
}

void kit_count(struct memdisk *disk, struct kit_reads *reads, const char *path, struct dvol_id id)
{
	struct err err = {0};
	struct dvol_map_extent *list;
	size_t count;
	struct dvol *epoch = kit_open(disk, path, id);
	assert_int_equal(dvol_map(epoch, 0, dvol_size(epoch), SIZE_MAX, &list, &count, &err), 0);
	dvol_close(epoch, NULL);
	uint64_t blocks = memdisk_file(disk, path)->size / DVOL_BLOCK;
	if (reads->data == NULL) {
		reads->path = path;
		reads->blocks = blocks;
		reads->data = calloc(blocks, 1);
		assert_non_null(reads->data);
	}
	for (size_t i = 0; i < count; i++)
		for (uint64_t at = 0; list[i].kind == DVOL_MAP_DATA && at < list[i].len; at += DVOL_BLOCK)
			if ((list[i].file_offset + at) / DVOL_BLOCK < reads->blocks)
				reads->data[(list[i].file_offset + at) / DVOL_BLOCK] = 1;
	free(list);
	disk->on_read = on_read;
	disk->read_context = reads;
}

uint64_t kit_count_end(struct memdisk *disk, struct kit_reads *reads)
{
	disk->on_read = NULL;
	free(reads->data);
	reads->data = NULL;
	return reads->count;
}
