/* state.c: superblocks, and the state of a volume as its file has it. */
#include "imagefmt/vol.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

int state_write_super(struct dvol *vol, const struct super_state *state, struct err *err)
{
	uint8_t data[SECTOR] = {0};
	memcpy(data, SUPER_MAGIC, 8);
	le32_put(data + 8, SUPER_VERSION);
	memcpy(data + 16, vol->super.uuid, 16);
	memcpy(data + 32, vol->super.lineage, 16);
	le64_put(data + 48, state->generation);
	le64_put(data + 56, vol->super.journal_start);
	le64_put(data + 64, vol->super.journal_blocks);
	le64_put(data + 72, state->end);
	le64_put(data + 80, state->used);
	le64_put(data + 88, state->cursor);
	le64_put(data + 96, state->catalog_pbn);
	le64_put(data + 104, state->catalog_bytes);
	le64_put(data + 112, state->catalog_sum);
	for (size_t i = 0; i < TABLES; i++)
		le64_put(data + 120 + i * 8, state->roots[i]);
	le64_put(data + SUPER_JOURNAL, state->journal_at);
	le64_put(data + SUPER_JOURNAL + 8, state->journal_chain);
	le64_put(data + SECTOR - 8, hash64(data, SECTOR - 8, 0));
	if (file_write(&vol->file, data, SECTOR, state->generation % SUPER_SLOTS * BLOCK) < 0)
		return err_sys(err, "%s: writing the superblock", vol->path);
	return 0;
}

/* read_super: the newer valid slot, with figures that fit one another and the file. */
static int read_super(struct dvol *vol, uint64_t *catalog_sum, struct err *err)
{
	uint8_t slots[SUPER_SLOTS][SECTOR];
	const uint8_t *best = NULL;
	bool ours = false;
	uint64_t bytes;
	if (vol->file.ops->size(vol->file.file, &bytes) < 0)
		return err_sys(err, "%s", vol->path);
	for (unsigned i = 0; i < SUPER_SLOTS; i++) {
		if (file_read(&vol->file, slots[i], SECTOR, (uint64_t)i * BLOCK) < 0)
			return err_sys(err, "%s: reading the superblock", vol->path);
		if (memcmp(slots[i], SUPER_MAGIC, 8) != 0)
			continue;
		ours = true;
		if (le64_get(slots[i] + SECTOR - 8) == hash64(slots[i], SECTOR - 8, 0) &&
		    le64_get(slots[i] + 48) % SUPER_SLOTS == i &&
		    (best == NULL || le64_get(slots[i] + 48) > le64_get(best + 48)))
			best = slots[i];
	}
	if (best == NULL)
		return err_set(err, ERR_INPUT,
			       ours ? "%s: both superblocks are damaged; restore the volume from a replica"
				    : "%s is not a .dvol volume",
			       vol->path);
	if (le32_get(best + 8) != SUPER_VERSION || le32_get(best + 12) != 0)
		return err_set(err, ERR_INPUT, "%s was made by a newer drover (format %u, features %#x)",
			       vol->path, le32_get(best + 8), le32_get(best + 12));
	struct super *super = &vol->super;
	memcpy(super->uuid, best + 16, 16);
	memcpy(super->lineage, best + 32, 16);
	super->generation = le64_get(best + 48);
	super->journal_start = le64_get(best + 56);
	super->journal_blocks = le64_get(best + 64);
	super->catalog_pbn = le64_get(best + 96);
	super->catalog_bytes = le64_get(best + 104);
	super->journal_at = le64_get(best + SUPER_JOURNAL);
	super->journal_chain = le64_get(best + SUPER_JOURNAL + 8);
	*catalog_sum = le64_get(best + 112);
	struct alloc *alloc = &vol->alloc;
	alloc->end = le64_get(best + 72);
	alloc->used = le64_get(best + 80);
	alloc->cursor = le64_get(best + 88);
	for (size_t i = 0; i < TABLES; i++)
		vol->tables.roots[i] = le64_get(best + 120 + i * 8);
	if (super->journal_start != JOURNAL_START || super->journal_blocks < JOURNAL_MIN ||
	    super->journal_blocks > JOURNAL_MAX || super->journal_at >= super->journal_blocks * BLOCK ||
	    super->journal_at % SECTOR != 0 || alloc->end > PBN_LIMIT || alloc->end > bytes / BLOCK ||
	    alloc->end < JOURNAL_START + super->journal_blocks || alloc->used > alloc->end ||
	    alloc->cursor > alloc->end)
		return err_set(err, ERR_INPUT, "%s: the superblock does not fit the file (is it cut off?)",
			       vol->path);
	alloc->first = JOURNAL_START + super->journal_blocks;
	return 0;
}

static int read_catalog(struct dvol *vol, uint64_t sum, struct err *err)
{
	const struct super *super = &vol->super;
	uint64_t blocks = (super->catalog_bytes + BLOCK - 1) / BLOCK;
	if (super->catalog_bytes == 0 || super->catalog_bytes > CATALOG_MAX ||
	    super->catalog_pbn < vol->alloc.first || super->catalog_pbn >= vol->alloc.end ||
	    blocks > vol->alloc.end - super->catalog_pbn)
		return err_set(err, ERR_INPUT, "%s: the catalog is not within the file", vol->path);
	uint8_t *data = must_alloc(super->catalog_bytes, 1);
	int result = 0;
	if (file_read(&vol->file, data, super->catalog_bytes, super->catalog_pbn * BLOCK) < 0)
		result = err_sys(err, "%s: reading the catalog", vol->path);
	else if (hash64(data, super->catalog_bytes, 0) != sum)
		result = err_set(err, ERR_INPUT, "%s: the catalog is damaged (wrong checksum)", vol->path);
	else if (catalog_decode(&vol->catalog, data, super->catalog_bytes, err) < 0)
		result = err_context(err, "%s", vol->path);
	free(data);
	if (result == 0) {
		vol->catalog_at = (struct extent){.pbn = super->catalog_pbn, .count = blocks};
		alloc_busy(vol, vol->catalog_at, true);
	}
	return result;
}

int state_load(struct dvol *vol, struct err *err)
{
	uint64_t sum;
	tables_clear(vol);
	catalog_free(&vol->catalog);
	undo_clear(&vol->undos);
	windows_clear(vol);
	alloc_free_state(&vol->alloc);
	if (read_super(vol, &sum, err) < 0 || read_catalog(vol, sum, err) < 0)
		return -1;
	return journal_replay(vol, err);
}
