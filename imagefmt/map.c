/* map.c: where a block is, for the head and for closed epochs; and data I/O there. */
#include "imagefmt/vol.h"

#include <errno.h>
#include <string.h>

enum { REFRESHES = 8 };

int view_refresh(struct dvol *vol, struct err *err)
{
	/* The writer may be in the middle of a checkpoint: what is read then fails a checksum, or is whole. */
	for (int i = 0; i < REFRESHES; i++) {
		if (state_load(vol, err) == 0) {
			if (catalog_index(&vol->catalog, vol->view) != NULL)
				return 0;
			err_set(err, ERR_INPUT, "%s: the epoch being read is gone", vol->path);
			break;
		}
		if (err != NULL && err->kind != ERR_INPUT)
			break;
	}
	/* Nothing must be read by half a state. */
	vol->failed = true;
	return -1;
}

/* word_fits: whether it names a block of the file.  The file grows before a word names a new block of it. */
static bool word_fits(const struct dvol *vol, uint64_t word)
{
	uint64_t pbn = word_pbn(word);
	return pbn == 0 ||
	       (pbn >= vol->alloc.first && pbn < __atomic_load_n(&vol->alloc.end, __ATOMIC_RELAXED));
}

static int word_within(const struct dvol *vol, uint64_t word, struct err *err)
{
	if (!word_fits(vol, word))
		return err_set(err, ERR_INPUT,
			       "%s: the map points outside of the file; restore the volume from a replica",
			       vol->path);
	return 0;
}

bool map_peek(struct dvol *vol, uint64_t first, uint64_t count, uint64_t *words)
{
	/* Others refresh their state under meta. */
	if (!vol->writable || !table_peek(vol, TABLE_MAP, first, count, words))
		return false;
	for (uint64_t i = 0; i < count; i++)
		if (!word_fits(vol, words[i]))
			return false;
	return true;
}

int head_find(struct dvol *vol, uint64_t block, uint64_t *word, struct err *err)
{
	return table_get(vol, TABLE_MAP, block, word, err) < 0 ? -1 : word_within(vol, *word, err);
}

static int epoch_find(struct dvol *vol, uint32_t index, uint64_t block, uint64_t *word, bool *found,
		      struct err *err)
{
	*found = true;
	if (table_get(vol, TABLE_MAP, block, word, err) < 0)
		return -1;
	if (word_birth(*word) <= index)
		return 0;
	return undo_find(vol, index, block, word, found, err);
}

int map_find(struct dvol *vol, uint64_t block, uint64_t *word, struct err *err)
{
	uint32_t index = vol->view != 0 ? vol->view : vol->catalog.rolling;
	if (vol->writable || (index == 0 && !vol->failed))
		return head_find(vol, block, word, err);
	for (int i = 0; i < REFRESHES; i++) {
		struct err why = {0};
		bool found;
		if (vol->failed)
			return err_set(err, ERR_INPUT, "%s could not be read again after it changed",
				       vol->path);
		int result = epoch_find(vol, index, block, word, &found, &why);
		if (result == 0 && found)
			return word_within(vol, *word, err);
		if (result == 0)
			err_set(&why, ERR_INPUT, "%s: the history has no entry for block %llu", vol->path,
				(unsigned long long)block);
		if (vol->view == 0 || why.kind != ERR_INPUT || i + 1 == REFRESHES) {
			if (err != NULL)
				*err = why;
			return -1;
		}
		if (view_refresh(vol, err) < 0)
			return -1;
	}
	return -1;
}

/* view_again: after a failure with *why: 1 when it is worth another try, since the file was read again; else -1. */
static int view_again(struct dvol *vol, int tries, const struct err *why, struct err *err)
{
	if (vol->view == 0 || vol->failed || why->kind != ERR_INPUT || tries == REFRESHES) {
		if (err != NULL)
			*err = *why;
		return -1;
	}
	return view_refresh(vol, err) < 0 ? -1 : 1;
}

int view_words(struct dvol *vol, enum table table, uint64_t first, unsigned count, uint64_t *words,
	       struct err *err)
{
	for (int i = 1;; i++) {
		struct err why = {0};
		int result = 0;
		for (unsigned n = 0; n < count && result == 0; n++)
			result = table_get(vol, table, first + n, &words[n], &why);
		if (result == 0)
			return 0;
		if (view_again(vol, i, &why, err) < 0)
			return -1;
	}
}

int view_seek(struct dvol *vol, uint64_t block, uint64_t *found, struct err *err)
{
	for (int i = 1;; i++) {
		struct err why = {0};
		if (table_seek(vol, TABLE_MAP, block, found, &why) == 0)
			return 0;
		if (view_again(vol, i, &why, err) < 0)
			return -1;
	}
}

int head_set(struct dvol *vol, uint64_t block, uint64_t word, struct err *err)
{
	uint64_t old;
	uint32_t newest = catalog_newest(&vol->catalog);
	if (head_find(vol, block, &old, err) < 0)
		return -1;
	if (newest != 0 && word_birth(old) <= newest) {
		undo_add(&vol->undos, newest, block, old);
		items_add(&vol->journal.pending.undos, item_key(ITEM_UNDO, 0, 0, block), old);
	} else if (word_release(vol, old, err) < 0) {
		return -1;
	}
	return table_set(vol, TABLE_MAP, block, word, err);
}

int vol_has_content(const struct dvol *vol, struct err *err)
{
	if (!vol->list)
		return 0;
	return err_set(err, ERR_USAGE, "%s was opened for its list of epochs only", vol->path);
}

int check_range(const struct dvol *vol, uint64_t offset, uint64_t len, struct err *err)
{
	uint64_t size = dvol_size(vol);
	if (vol_has_content(vol, err) < 0)
		return -1;
	if (offset > size || len > size - offset)
		return err_set(err, ERR_USAGE, "%s: bytes %llu to %llu are not within its %llu bytes",
			       vol->path, (unsigned long long)offset, (unsigned long long)(offset + len),
			       (unsigned long long)size);
	return 0;
}

bool data_is_direct(const struct dvol *vol, const struct iovec *iov, int count, uint64_t at)
{
	if (vol->direct.ops == NULL || at % BLOCK != 0)
		return false;
	for (int i = 0; i < count; i++)
		if ((uintptr_t)iov[i].iov_base % BLOCK != 0 || iov[i].iov_len % BLOCK != 0)
			return false;
	return true;
}

static const struct file *file_for(const struct dvol *vol, const struct iovec *iov, int count, uint64_t at)
{
	return data_is_direct(vol, iov, count, at) ? &vol->direct : &vol->file;
}

void data_wrote(struct dvol *vol)
{
	/* Where it is set already, a sync that begins later takes it back. */
	if (!__atomic_load_n(&vol->unsynced, __ATOMIC_SEQ_CST))
		__atomic_store_n(&vol->unsynced, true, __ATOMIC_SEQ_CST);
}

int data_readv(struct dvol *vol, const struct iovec *iov, int count, uint64_t at, struct err *err)
{
	if (file_readv(file_for(vol, iov, count, at), iov, count, at) < 0)
		return err_sys(err, "%s: reading data at byte %llu of the file", vol->path,
			       (unsigned long long)at);
	return 0;
}

int data_writev(struct dvol *vol, const struct iovec *iov, int count, uint64_t at, struct err *err)
{
	int result = file_writev(file_for(vol, iov, count, at), iov, count, at);
	int saved = errno;
	data_wrote(vol);
	errno = saved;
	if (result < 0)
		return err_sys(err, "%s: writing data at byte %llu of the file", vol->path,
			       (unsigned long long)at);
	return 0;
}

bool range_try(struct dvol *vol, struct dvol_range *range, uint64_t first, uint64_t last)
{
	for (const struct dvol_range *other = vol->ranges; other != NULL; other = other->next)
		if (other->first <= last && first <= other->last)
			return false;
	*range = (struct dvol_range){.first = first, .last = last, .next = vol->ranges};
	vol->ranges = range;
	return true;
}

void range_lock(struct dvol *vol, struct dvol_range *range, uint64_t first, uint64_t last)
{
	while (!range_try(vol, range, first, last))
		pthread_cond_wait(&vol->range_free, &vol->meta);
}

void range_unlock(struct dvol *vol, struct dvol_range *range)
{
	struct dvol_range **link = &vol->ranges;
	while (*link != range)
		link = &(*link)->next;
	*link = range->next;
	pthread_cond_broadcast(&vol->range_free);
}
