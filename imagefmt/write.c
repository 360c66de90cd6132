/* write.c: writing: in place where no closed epoch sees the block, to a new place otherwise.
 *
 * New data is written before the map says where it is, and the range is locked meanwhile, so that of two writes to
 * parts of one block the second sees what the first one wrote.  Writes in place need no lock, not even to look: a block
 * that is ready for it, by a word of any moment since the gate was entered, stays so, since only a shut gate
 * changes that. */
#include "common/iovec.h"
#include "imagefmt/vol.h"

#include <stdlib.h>
#include <string.h>

enum { CHUNK = 256 };

struct write {
	const struct iovec *iov;
	int count;
	size_t skip; /* where this chunk begins in the buffers */
	uint64_t offset, len;
	uint64_t left; /* bytes from this chunk to the end of the whole write */
	uint64_t first, blocks;
	uint64_t words[CHUNK + 1]; /* old ones */
	bool in_place[CHUNK + 1];
	uint64_t pbn[CHUNK + 1]; /* where each block goes */
	struct iovec *part;      /* room for count + 2 */
	bool alone;              /* it wants the gate exclusively */
};

/* plan: by the old words, what is overwritten in place.  Returns whether all is.  w->alone is asked for where a packed block
 * will be freed: then nobody may be reading it. */
static bool plan(const struct dvol *vol, struct write *w)
{
	uint32_t newest = catalog_newest(&vol->catalog);
	bool all = true;
	for (uint64_t i = 0; i < w->blocks; i++) {
		w->pbn[i] = word_pbn(w->words[i]);
		bool ours = w->pbn[i] != 0 && word_birth(w->words[i]) > newest;
		w->in_place[i] = ours && !word_packed(w->words[i]);
		w->alone = w->alone || (ours && !w->in_place[i]);
		all = all && w->in_place[i];
	}
	return all;
}

static int look(struct dvol *vol, struct write *w, bool *all, struct err *err)
{
	for (uint64_t i = 0; i < w->blocks; i++)
		if (head_find(vol, w->first + i, &w->words[i], err) < 0)
			return -1;
	*all = plan(vol, w);
	return 0;
}

/* drop_places: give back what reserve took for the first n blocks. */
static void drop_places(struct dvol *vol, const struct write *w, uint64_t n)
{
	for (uint64_t i = 0; i < n; i++)
		if (!w->in_place[i])
			alloc_unreserve(vol, (struct extent){.pbn = w->pbn[i], .count = 1});
}

static int reserve(struct dvol *vol, struct write *w, struct err *err)
{
	if (table_prepare(vol, TABLE_MAP, w->first, w->blocks, err) < 0)
		return -1;
	for (uint64_t i = 0, n; i < w->blocks; i += n) {
		n = 1;
		if (w->in_place[i])
			continue;
		while (i + n < w->blocks && !w->in_place[i + n])
			n++;
		struct extent got;
		if (alloc_reserve(vol, n, false, &got, err) < 0) {
			drop_places(vol, w, i);
			return -1;
		}
		n = got.count;
		for (uint64_t k = 0; k < n; k++)
			w->pbn[i + k] = got.pbn + k;
	}
	return 0;
}

static int publish(struct dvol *vol, const struct write *w, struct err *err)
{
	for (uint64_t i = 0, n; i < w->blocks; i += n) {
		n = 1;
		if (w->in_place[i])
			continue;
		while (i + n < w->blocks && !w->in_place[i + n] && w->pbn[i + n] == w->pbn[i] + n)
			n++;
		if (alloc_use(vol, (struct extent){.pbn = w->pbn[i], .count = n}, err) < 0)
			return vol_fail(vol, err);
		for (uint64_t k = 0; k < n; k++)
			if (head_set(vol, w->first + i + k, word_make(w->pbn[i + k], vol->catalog.open_index),
				     err) < 0)
				return vol_fail(vol, err);
	}
	return 0;
}

static int old_block(struct dvol *vol, const struct write *w, uint64_t i, uint8_t *data, struct err *err)
{
	struct iovec iov = {.iov_base = data, .iov_len = BLOCK};
	if (word_packed(w->words[i]))
		return packed_read(vol, w->words[i], w->first + i, data, NULL, err);
	if (word_pbn(w->words[i]) != 0)
		return data_readv(vol, &iov, 1, word_pbn(w->words[i]) * BLOCK, err);
	if (w->words[i] == 0 && vol->catalog.backing_kind != DVOL_BACKING_NONE)
		return backing_read(vol, &iov, 1, (w->first + i) * BLOCK, err);
	memset(data, 0, BLOCK);
	return 0;
}

/* whole_block: the content that block i has after this write, where the write has only a part of it. */
static int whole_block(struct dvol *vol, const struct write *w, uint64_t i, uint8_t *data, struct err *err)
{
	uint64_t start = (w->first + i) * BLOCK;
	uint64_t from = start > w->offset ? start : w->offset;
	uint64_t to = start + BLOCK < w->offset + w->len ? start + BLOCK : w->offset + w->len;
	if (old_block(vol, w, i, data, err) < 0)
		return -1;
	iovec_get(w->iov, w->count, w->skip + (from - w->offset), data + (from - start), to - from);
	return 0;
}

/* put: blocks [i, i + n), which are neighbours in the file. */
static int put(struct dvol *vol, const struct write *w, uint64_t i, uint64_t n, struct err *err)
{
	uint64_t start = (w->first + i) * BLOCK, end = start + n * BLOCK;
	uint64_t from = start > w->offset ? start : w->offset;
	uint64_t to = end < w->offset + w->len ? end : w->offset + w->len;
	int used = 0;
	if (w->in_place[i]) {
		used = iovec_slice(w->iov, w->count, w->skip + (from - w->offset), to - from, w->part);
		return data_writev(vol, w->part, used, w->pbn[i] * BLOCK + (from - start), err);
	}
	uint8_t head[BLOCK], tail[BLOCK];
	bool cut_head = from > start || (n == 1 && to < end), cut_tail = n > 1 && to < end;
	if ((cut_head && whole_block(vol, w, i, head, err) < 0) ||
	    (cut_tail && whole_block(vol, w, i + n - 1, tail, err) < 0))
		return -1;
	if (cut_head) {
		w->part[used++] = (struct iovec){.iov_base = head, .iov_len = BLOCK};
		from = start + BLOCK;
	}
	if (cut_tail)
		to = end - BLOCK;
	if (to > from)
		used +=
		    iovec_slice(w->iov, w->count, w->skip + (from - w->offset), to - from, w->part + used);
	if (cut_tail)
		w->part[used++] = (struct iovec){.iov_base = tail, .iov_len = BLOCK};
	return data_writev(vol, w->part, used, w->pbn[i] * BLOCK, err);
}

static int put_all(struct dvol *vol, const struct write *w, struct err *err)
{
	for (uint64_t i = 0, n; i < w->blocks; i += n) {
		for (n = 1; i + n < w->blocks; n++)
			if (w->in_place[i + n] != w->in_place[i] || w->pbn[i + n] != w->pbn[i] + n)
				break;
		if (put(vol, w, i, n, err) < 0)
			return -1;
	}
	return 0;
}

/* write_chunk: with the gate shared, or exclusive when `alone`.  Returns 1, having done nothing, when it turns out that it
 * wants the gate exclusively; what is looked up cannot come to want that while the gate is shared. */
static int write_chunk(struct dvol *vol, struct write *w, bool alone, struct err *err)
{
	bool all;
	struct dvol_range range;
	if (map_peek(vol, w->first, w->blocks, w->words) && plan(vol, w))
		return put_all(vol, w, err);
	pthread_mutex_lock(&vol->meta);
	int result = look(vol, w, &all, err);
	if (result == 0 && w->alone && !alone) {
		pthread_mutex_unlock(&vol->meta);
		return 1;
	}
	if (result == 0 && !all) {
		range_lock(vol, &range, w->first, w->first + w->blocks - 1);
		result = look(vol, w, &all, err);
		if (result == 0)
			result = reserve(vol, w, err);
		if (result < 0)
			range_unlock(vol, &range);
		all = false;
	}
	tables_trim(vol);
	pthread_mutex_unlock(&vol->meta);
	if (result < 0)
		return -1;
	result = put_all(vol, w, err);
	if (all)
		return result;
	pthread_mutex_lock(&vol->meta);
	if (result < 0)
		drop_places(vol, w, w->blocks);
	else
		result = publish(vol, w, err);
	commit_note(vol);
	range_unlock(vol, &range);
	pthread_mutex_unlock(&vol->meta);
	return result;
}

static int write_gated(struct dvol *vol, struct write *w, bool alone, struct err *err)
{
	unsigned slot = 0;
	if (alone)
		gate_shut(&vol->gate);
	else
		slot = gate_enter(&vol->gate);
	int result = vol_may_change(vol, err);
	if (result == 0)
		result = check_range(vol, w->offset, w->left, err);
	if (result == 0)
		result = write_chunk(vol, w, alone, err);
	if (alone)
		gate_open(&vol->gate);
	else
		gate_leave(&vol->gate, slot);
	return result;
}

int dvol_writev(struct dvol *vol, const struct iovec *iov, int count, uint64_t offset, struct err *err)
{
	size_t len = iovec_bytes(iov, count);
	if (len == 0)
		return 0;
	struct iovec few[18], *part = count <= 16 ? few : must_alloc((size_t)count + 2, sizeof(*part));
	/* Small journals take small chunks, so that what a few writers add while one commits still fits. */
	uint64_t most = vol->super.journal_blocks * BLOCK / 1024;
	most = most < CHUNK ? most : CHUNK;
	int result = 0;
	for (size_t done = 0; done < len && result == 0;) {
		uint64_t at = offset + done;
		uint64_t some = most * BLOCK - at % BLOCK;
		some = some < len - done ? some : len - done;
		struct write w; /* not to be zeroed for each: it is large */
		w.iov = iov;
		w.count = count;
		w.part = part;
		w.skip = done;
		w.offset = at;
		w.len = some;
		w.left = len - done;
		w.alone = false;
		w.first = at / BLOCK;
		w.blocks = (at + some - 1) / BLOCK - w.first + 1;
		result = commit_pressure(vol, err);
		if (result < 0)
			break;
		result = write_gated(vol, &w, false, err);
		if (result > 0)
			result = write_gated(vol, &w, true, err);
		done += some;
	}
	if (part != few)
		free(part);
	return result;
}

int dvol_write(struct dvol *vol, const void *data, size_t len, uint64_t offset, struct err *err)
{
	struct iovec iov = {.iov_base = (void *)(uintptr_t)data, .iov_len = len};
	return dvol_writev(vol, &iov, 1, offset, err);
}
