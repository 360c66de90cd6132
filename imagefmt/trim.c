/* trim.c: write-zeroes and discard: blocks that read as zeroes and take no space. */
#include "imagefmt/vol.h"

#include <stdlib.h>
#include <string.h>

enum { CHUNK = 256 };

/* trim_chunk: count blocks; gate exclusive, meta held. */
static int trim_chunk(struct dvol *vol, uint64_t first, uint64_t count, struct err *err)
{
	bool backed = vol->catalog.backing_kind != DVOL_BACKING_NONE;
	uint32_t birth = backed || catalog_newest(&vol->catalog) != 0 ? vol->catalog.open_index : 0;
	for (uint64_t block = first; block < first + count; block++) {
		uint64_t word;
		if (head_find(vol, block, &word, err) < 0)
			return -1;
		if (word_pbn(word) == 0 && (word != 0 || !backed))
			continue; /* reads as zeroes already */
		if (table_prepare(vol, TABLE_MAP, block, 1, err) < 0)
			return -1;
		if (head_set(vol, block, word_make(0, birth), err) < 0)
			return vol_fail(vol, err);
	}
	return 0;
}

static int trim_blocks(struct dvol *vol, uint64_t first, uint64_t last, struct err *err)
{
	uint64_t most = vol->super.journal_blocks * BLOCK / 1024;
	most = most < CHUNK ? most : CHUNK;
	int result = 0;
	while (first < last && result == 0) {
		result = commit_pressure(vol, err);
		if (result < 0)
			break;
		gate_shut(&vol->gate);
		pthread_mutex_lock(&vol->meta);
		result = vol_may_change(vol, err);
		/* Without a backing there is nothing to do where the map has no pages. */
		if (result == 0 && vol->catalog.backing_kind == DVOL_BACKING_NONE)
			result = table_seek(vol, TABLE_MAP, first, &first, err);
		if (result == 0 && first < last) {
			uint64_t some = last - first < most ? last - first : most;
			result = trim_chunk(vol, first, some, err);
			first += some;
		}
		commit_note(vol);
		tables_trim(vol);
		pthread_mutex_unlock(&vol->meta);
		gate_open(&vol->gate);
	}
	return result;
}

static int write_zeroes(struct dvol *vol, uint64_t offset, uint64_t len, struct err *err)
{
	static const uint8_t zeroes[BLOCK];
	return len == 0 ? 0 : dvol_write(vol, zeroes, len, offset, err);
}

static int trim(struct dvol *vol, uint64_t offset, uint64_t len, bool edges, struct err *err)
{
	if (vol_may_change(vol, err) < 0 || check_range(vol, offset, len, err) < 0)
		return -1;
	if (len == 0)
		return 0;
	uint64_t end = offset + len;
	uint64_t first = (offset + BLOCK - 1) / BLOCK;
	/* The last block of a volume may be a part of one; nothing else is in it. */
	uint64_t last = end == dvol_size(vol) ? (end + BLOCK - 1) / BLOCK : end / BLOCK;
	if (edges && first > last)
		return write_zeroes(vol, offset, len, err);
	if (edges &&
	    (write_zeroes(vol, offset, first * BLOCK < end ? first * BLOCK - offset : len, err) < 0 ||
	     (last * BLOCK < end && last * BLOCK >= offset && first <= last &&
	      write_zeroes(vol, last * BLOCK, end - last * BLOCK, err) < 0)))
		return -1;
	return trim_blocks(vol, first, last, err);
}

int dvol_write_zeroes(struct dvol *vol, uint64_t offset, uint64_t len, struct err *err)
{
	return trim(vol, offset, len, true, err);
}

int dvol_discard(struct dvol *vol, uint64_t offset, uint64_t len, struct err *err)
{
	return trim(vol, offset, len, false, err);
}
