/* mapped.c: the extents of a volume: what is data, zeroes, a hole, or the backing's. */
#include "imagefmt/vol.h"

#include <stdlib.h>

enum { BATCH = 4096 }; /* blocks looked up without letting others at the tables */

struct mapped {
	struct dvol *vol;
	uint64_t end;  /* block */
	uint64_t size; /* bytes: where the last extent is cut */
	size_t most;
	struct dvol_map_extent *list;
	size_t count, cap;
	bool full; /* there is more, and no room for it */
};

static enum dvol_map_kind kind_of(const struct dvol *vol, uint64_t word, uint64_t block)
{
	if (word_pbn(word) != 0)
		return word_packed(word) ? DVOL_MAP_PACKED : DVOL_MAP_DATA;
	if (word != 0)
		return DVOL_MAP_ZERO;
	return block * BLOCK < vol->backing_size ? DVOL_MAP_BACKING : DVOL_MAP_HOLE;
}

/* add: blocks [block, block + n) of one kind; at is where data is in the file. */
static void add(struct mapped *m, uint64_t block, uint64_t n, enum dvol_map_kind kind, uint64_t at)
{
	uint64_t offset = block * BLOCK;
	uint64_t len = m->size - offset < n * BLOCK ? m->size - offset : n * BLOCK;
	struct dvol_map_extent *last = m->count > 0 ? &m->list[m->count - 1] : NULL;
	if (last != NULL && last->kind == kind &&
	    (kind != DVOL_MAP_DATA || last->file_offset + last->len == at)) {
		last->len += len;
		return;
	}
	if (m->count == m->most) {
		m->full = true;
		return;
	}
	m->list = must_grow(m->list, m->count, &m->cap, sizeof(*m->list));
	m->list[m->count++] =
	    (struct dvol_map_extent){.offset = offset, .len = len, .kind = kind, .file_offset = at};
}

/* batch: some blocks from *block on (meta held). */
static int batch(struct mapped *m, uint64_t *block, struct err *err)
{
	struct dvol *vol = m->vol;
	uint64_t backed = (vol->backing_size + BLOCK - 1) / BLOCK;
	for (uint64_t last = *block + BATCH; *block < last && *block < m->end && !m->full; ++*block) {
		uint64_t word, next = *block;
		/* Where the map has no pages there is nothing to look up, block by block. */
		if (*block >= backed && view_seek(vol, *block, &next, err) < 0)
			return -1;
		next = next < m->end ? next : m->end;
		if (next > *block) {
			add(m, *block, next - *block, DVOL_MAP_HOLE, 0);
			*block = next - 1;
			continue;
		}
		if (map_find(vol, *block, &word, err) < 0)
			return -1;
		add(m, *block, 1, kind_of(vol, word, *block), word_pbn(word) * BLOCK);
	}
	tables_trim(vol);
	return 0;
}

int dvol_map(struct dvol *vol, uint64_t offset, uint64_t len, size_t most, struct dvol_map_extent **list,
	     size_t *count, struct err *err)
{
	*list = NULL;
	*count = 0;
	if (check_range(vol, offset, len, err) < 0)
		return -1;
	if (offset % BLOCK != 0 || most == 0)
		return err_set(err, ERR_USAGE, "%s: a map begins at a whole block and has room for an extent",
			       vol->path);
	struct mapped m = {.vol = vol, .most = most, .size = offset + len};
	uint64_t block = offset / BLOCK;
	m.end = (offset + len + BLOCK - 1) / BLOCK;
	int result = 0;
	while (block < m.end && !m.full && result == 0) {
		pthread_mutex_lock(&vol->meta);
		result = batch(&m, &block, err);
		pthread_mutex_unlock(&vol->meta);
	}
	if (result < 0) {
		free(m.list);
		return -1;
	}
	*list = m.list;
	*count = m.count;
	return 0;
}
