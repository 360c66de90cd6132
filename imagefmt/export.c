/* export.c: writing what changed between two epochs as a delta file. */
#include "imagefmt/delta.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>

struct export
{
	struct dvol *vol;
	struct file file;
	const char *path;
	uint64_t at;
	struct sha *sha;
	uint8_t *data;
	uint64_t done, total; /* bytes of the volume */
};

static int put(struct export *export, const void *data, size_t len, bool count, struct err *err)
{
	if (file_write(&export->file, data, len, export->at) < 0)
		return err_sys(err, "%s", export->path);
	export->at += len;
	if (count)
		sha_add(export->sha, data, len);
	return 0;
}

static int put_record(struct export *export, const struct delta_record *record, struct err *err)
{
	uint8_t header[DELTA_RECORD];
	delta_record_encode(record, header);
	if (put(export, header, sizeof(header), true, err) < 0)
		return -1;
	return record->kind == DELTA_DATA
		   ? put(export, record->data, (size_t)record->count * BLOCK, true, err)
		   : 0;
}

/* put_blocks: at most DELTA_BLOCKS from block on, which are in export->data: runs of data and of zeroes. */
static int put_blocks(struct export *export, uint64_t block, uint32_t count, struct err *err)
{
	for (uint32_t i = 0, n; i < count; i += n) {
		uint8_t *at = export->data + (size_t)i * BLOCK;
		bool zero = all_zero(at, BLOCK);
		for (n = 1; i + n < count && all_zero(at + (size_t)n * BLOCK, BLOCK) == zero;)
			n++;
		struct delta_record record = {
		    .block = block + i, .count = n, .kind = zero ? DELTA_ZERO : DELTA_DATA, .data = at};
		if (put_record(export, &record, err) < 0)
			return -1;
	}
	return 0;
}

static int put_extent(struct export *export, const struct dvol_extent *extent, struct err *err)
{
	uint64_t end = extent->offset + extent->len;
	for (uint64_t at = extent->offset; at < end; at += DELTA_BLOCKS * BLOCK) {
		uint64_t len = end - at < DELTA_BLOCKS * BLOCK ? end - at : DELTA_BLOCKS * BLOCK;
		uint32_t count = (uint32_t)((len + BLOCK - 1) / BLOCK);
		memset(export->data + len, 0, (size_t)count * BLOCK - len);
		if (vol_tick(export->vol, export->done, export->total, err) < 0 ||
		    dvol_read(export->vol, export->data, len, at, err) < 0 ||
		    put_blocks(export, at / BLOCK, count, err) < 0)
			return -1;
		export->done += len;
	}
	return 0;
}

static int put_all(struct export *export, const struct delta_header *header, const struct dvol_extent *list,
		   size_t count, struct err *err)
{
	uint8_t bytes[DELTA_HEADER], digest[SHA_BYTES];
	struct delta_record end = {.kind = DELTA_END};
	delta_header_encode(header, bytes);
	sha_begin(export->sha);
	if (put(export, bytes, sizeof(bytes), true, err) < 0)
		return -1;
	for (size_t i = 0; i < count; i++)
		if (put_extent(export, &list[i], err) < 0)
			return -1;
	if (put_record(export, &end, err) < 0)
		return -1;
	sha_end(export->sha, digest);
	if (put(export, digest, sizeof(digest), false, err) < 0)
		return -1;
	const struct dvol *vol = export->vol;
	if (vol->ops->sync(export->file.file) < 0 ||
	    vol->ops->sync_folder(vol->files_context, export->path) < 0)
		return err_sys(err, "%s", export->path);
	return 0;
}

static void header_fill(const struct dvol *vol, struct dvol_id from, struct delta_header *header)
{
	const struct epoch *to = catalog_index(&vol->catalog, vol->view);
	const struct epoch *base = from.number != 0 ? catalog_id(&vol->catalog, from) : NULL;
	*header = (struct delta_header){.from = from, .to = to->id, .size_bytes = to->size_bytes};
	memcpy(header->lineage, vol->super.lineage, 16);
	header->has_to_root = to->flags & EPOCH_HAS_ROOT;
	memcpy(header->to_root, to->root, DVOL_ROOT);
	if (base != NULL) {
		header->has_from_root = base->flags & EPOCH_HAS_ROOT;
		memcpy(header->from_root, base->root, DVOL_ROOT);
	}
}

int dvol_export(struct dvol *vol, struct dvol_id from, const char *path, struct err *err)
{
	struct delta_header header;
	struct dvol_extent *list = NULL;
	size_t count = 0;
	if (vol->view == 0)
		return err_set(err, ERR_USAGE, "%s: a delta ends at a closed epoch; open the volume at one",
			       vol->path);
	struct dvol_id to = catalog_index(&vol->catalog, vol->view)->id;
	if (dvol_changed(vol, from, to, &list, &count, err) < 0)
		return -1;
	header_fill(vol, from, &header);
	struct export export = {.vol = vol, .path = path, .sha = sha_make()};
	export.data = must_alloc(DELTA_BLOCKS, BLOCK);
	for (size_t i = 0; i < count; i++)
		export.total += list[i].len;
	export.file.ops = vol->ops;
	export.file.file = vol->ops->open(vol->files_context, path, O_RDWR | O_CREAT | O_EXCL);
	int result;
	if (export.file.file == NULL) {
		result = err_sys(err, "%s", path);
	} else {
		result = put_all(&export, &header, list, count, err);
		vol->ops->close(export.file.file);
		if (result < 0)
			vol->ops->unlink(vol->files_context, path);
	}
	sha_free(export.sha);
	free(export.data);
	free(list);
	return result;
}
