/* apply.c: making an epoch of a delta file.
 *
 * The whole file is checked before anything is changed.  Then the rollback mark is set: until the record that closes the new
 * epoch also clears it, the head counts as the epoch on which the delta builds, and a crash takes it back there. */
#include "imagefmt/delta.h"

#include "common/io.h"
#include <stdlib.h>
#include <string.h>

static int refuse(const struct delta_reader *delta, const struct dvol *vol, const char *why, struct err *err)
{
	return err_set(err, ERR_REFUSED, "%s cannot be applied to %s: %s", delta->path, vol->path, why);
}

static bool changed_since(const struct dvol *vol, uint32_t index)
{
	for (size_t i = 0; i < vol->catalog.nruns; i++)
		if (vol->catalog.runs[i].owner == index)
			return true;
	for (size_t i = 0; i < vol->undos.count; i++)
		if (vol->undos.runs[i].owner == index && vol->undos.runs[i].count > 0)
			return true;
	return false;
}

static int check_base(struct dvol *vol, const struct delta_reader *delta, struct err *err)
{
	const struct delta_header *header = &delta->header;
	const struct catalog *catalog = &vol->catalog;
	const struct epoch *newest = catalog_index(catalog, catalog_newest(catalog));
	if (memcmp(header->lineage, vol->super.lineage, 16) != 0)
		return refuse(delta, vol, "they are not copies of one volume", err);
	if (header->size_bytes < catalog->size_bytes)
		return refuse(delta, vol, "it is of a smaller volume", err);
	if (header->from.number == 0)
		return newest == NULL
			   ? 0
			   : refuse(delta, vol, "it is a seed, and the volume has epochs already", err);
	if (newest == NULL || id_compare(newest->id, header->from) != 0)
		return refuse(delta, vol, "its base is not the volume's newest epoch", err);
	if (header->has_from_root && (newest->flags & EPOCH_HAS_ROOT) &&
	    memcmp(header->from_root, newest->root, DVOL_ROOT) != 0)
		return refuse(delta, vol, "the content of its base is not the same here (another digest)",
			      err);
	if (changed_since(vol, newest->index))
		return err_set(err, ERR_STATE,
			       "%s was changed since epoch %llu.%llu; roll it back to that first", vol->path,
			       (unsigned long long)newest->id.term, (unsigned long long)newest->id.number);
	return 0;
}

static int begin(struct dvol *vol, const struct delta_reader *delta, struct err *err)
{
	struct buf ops = {0};
	pthread_mutex_lock(&vol->commit);
	pthread_mutex_lock(&vol->meta);
	int result = check_base(vol, delta, err);
	pthread_mutex_unlock(&vol->meta);
	if (result == 0 && delta->header.from.number != 0) {
		buf_put_u8(&ops, OP_ROLL_BEGIN);
		buf_put_u32(&ops, catalog_newest(&vol->catalog));
		result = commit_op(vol, &ops, err);
	}
	pthread_mutex_unlock(&vol->commit);
	return result;
}

static int apply_record(struct dvol *vol, const struct delta_record *record, struct err *err)
{
	uint64_t at = record->block * BLOCK, len = (uint64_t)record->count * BLOCK, size = dvol_size(vol);
	len = size - at < len ? size - at : len; /* the last block may be a part of one */
	if (record->kind == DELTA_ZERO)
		return dvol_write_zeroes(vol, at, len, err);
	return dvol_write_cold(vol, record->data, len, at, err);
}

static int write_all(struct dvol *vol, struct delta_reader *delta, struct err *err)
{
	struct delta_record record;
	int more;
	while ((more = delta_next(delta, &record, err)) > 0)
		if (vol_tick(vol, delta->size + delta->at, 2 * delta->size, err) < 0 ||
		    apply_record(vol, &record, err) < 0)
			return -1;
	return more;
}

static int finish(struct dvol *vol, const struct delta_header *header, struct err *err)
{
	struct buf ops = {0};
	pthread_mutex_lock(&vol->commit);
	if (header->from.number != 0)
		buf_put_u8(&ops, OP_ROLL_END);
	buf_put_u8(&ops, OP_CLOSE);
	buf_put_u32(&ops, vol->catalog.open_index);
	buf_put_u64(&ops, header->to.term);
	buf_put_u64(&ops, header->to.number);
	buf_put_u64(&ops, clock_real_ns());
	int result = commit_op(vol, &ops, err);
	pthread_mutex_unlock(&vol->commit);
	return result;
}

/* take_back: the head as it was.  What fails here is made good by the next writable open. */
static void take_back(struct dvol *vol, const struct delta_header *header)
{
	if (header->from.number != 0)
		(void)dvol_rollback(vol, header->from, NULL);
	else
		(void)dvol_write_zeroes(vol, 0, dvol_size(vol), NULL);
}

/* check_content: against the digest that the sender has.  What is not proven does not stay. */
static int check_content(struct dvol *vol, const struct delta_header *header, struct err *err)
{
	uint8_t root[DVOL_ROOT];
	if (!header->has_to_root)
		return 0;
	int result = dvol_digest(vol, header->to, root, err);
	if (result == 0 && memcmp(root, header->to_root, DVOL_ROOT) != 0)
		result = err_set(
		    err, ERR_INPUT,
		    "%s: the delta did not give the content that its sender has; the epoch was removed",
		    vol->path);
	if (result < 0 && dvol_epoch_delete(vol, header->to, NULL) == 0)
		take_back(vol, header);
	return result;
}

/* check_from: the base has a digest, where the sender's has one: after a crash just behind an earlier delta it may have
 * none, and then its content was not compared with the sender's. */
static int check_from(struct dvol *vol, const struct delta_header *header, struct err *err)
{
	uint8_t root[DVOL_ROOT];
	pthread_mutex_lock(&vol->commit);
	bool wanted = header->has_from_root && catalog_id(&vol->catalog, header->from) != NULL;
	pthread_mutex_unlock(&vol->commit);
	return wanted ? dvol_digest(vol, header->from, root, err) : 0;
}

static int check_file(struct dvol *vol, struct delta_reader *delta, struct err *err)
{
	struct delta_record record;
	int more;
	while ((more = delta_next(delta, &record, err)) > 0)
		if (vol_tick(vol, delta->at, 2 * delta->size, err) < 0)
			return -1;
	return more;
}

int dvol_apply(struct dvol *vol, const char *path, struct err *err)
{
	struct delta_reader delta;
	if (vol_may_change(vol, err) < 0)
		return -1;
	int result = delta_open(&delta, vol->ops, vol->files_context, path, err);
	if (result == 0)
		result = check_file(vol, &delta, err);
	delta_close(&delta);
	if (result < 0)
		return -1;
	result = delta_open(&delta, vol->ops, vol->files_context, path, err);
	if (result == 0)
		result = check_from(vol, &delta.header, err);
	if (result == 0 && (result = begin(vol, &delta, err)) == 0) {
		/* A seed replaces what an earlier one, which was cut short, left behind. */
		if (delta.header.from.number == 0)
			result = dvol_write_zeroes(vol, 0, dvol_size(vol), err);
		if (result == 0 && delta.header.size_bytes > dvol_size(vol))
			result = dvol_resize(vol, delta.header.size_bytes, err);
		if (result == 0)
			result = write_all(vol, &delta, err);
		if (result == 0)
			result = finish(vol, &delta.header, err);
		if (result < 0)
			take_back(vol, &delta.header);
		else
			result = check_content(vol, &delta.header, err);
	}
	delta_close(&delta);
	digest_wanted(vol);
	return result;
}
