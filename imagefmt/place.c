/* place.c: a write of whole blocks to a new place, in two halves with the transfer between them; what write.c does in one
 * go, where nothing of the old content is needed.  See there for the order of things. */
#include "imagefmt/vol.h"

/* fresh: none of the blocks is overwritten in place, nor packed in a way that wants the gate exclusively. */
static bool fresh(struct dvol *vol, uint64_t first, uint64_t blocks)
{
	uint32_t newest = catalog_newest(&vol->catalog);
	for (uint64_t i = 0; i < blocks; i++) {
		uint64_t word;
		if (head_find(vol, first + i, &word, NULL) < 0 ||
		    (word_pbn(word) != 0 && word_birth(word) > newest))
			return false;
	}
	return true;
}

/* reserve: all in one piece, where the search for free space comes by one. */
static bool reserve(struct dvol *vol, uint64_t first, uint64_t blocks, uint64_t *pbn)
{
	struct extent got;
	if (table_prepare(vol, TABLE_MAP, first, blocks, NULL) < 0 ||
	    alloc_reserve(vol, blocks, false, &got, NULL) < 0)
		return false;
	*pbn = got.pbn;
	if (got.count < blocks)
		alloc_unreserve(vol, got);
	return got.count == blocks;
}

bool place_take(struct dvol *vol, struct dvol_range *range, uint64_t first, uint64_t blocks, uint64_t *pbn)
{
	bool taken = false;
	/* Whoever makes room in the journal must be able to wait. */
	if (__atomic_load_n(&vol->pressure, __ATOMIC_RELAXED) != PRESSURE_NONE)
		return false;
	pthread_mutex_lock(&vol->meta);
	if (fresh(vol, first, blocks) && range_try(vol, range, first, first + blocks - 1)) {
		taken = reserve(vol, first, blocks, pbn);
		if (!taken)
			range_unlock(vol, range);
	}
	tables_trim(vol);
	pthread_mutex_unlock(&vol->meta);
	return taken;
}

/* publish: from here on the map says where the data is; false: the handle failed in between. */
static bool publish(struct dvol *vol, const struct dvol_range *range, struct extent place)
{
	int result = alloc_use(vol, place, NULL);
	for (uint64_t i = 0; i < place.count && result == 0; i++)
		result =
		    head_set(vol, range->first + i, word_make(place.pbn + i, vol->catalog.open_index), NULL);
	if (result < 0)
		(void)vol_fail(vol, NULL);
	return result == 0;
}

bool place_give(struct dvol *vol, struct dvol_range *range, uint64_t pbn, bool whole)
{
	struct extent place = {.pbn = pbn, .count = range->last - range->first + 1};
	bool done = false;
	pthread_mutex_lock(&vol->meta);
	if (whole)
		done = publish(vol, range, place);
	else
		alloc_unreserve(vol, place);
	commit_note(vol);
	range_unlock(vol, range);
	pthread_mutex_unlock(&vol->meta);
	return done;
}
