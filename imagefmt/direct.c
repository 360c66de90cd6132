/* direct.c: transfers that the caller does itself, by which a VM's disk is mostly read and written: of blocks that lie one
 * behind the other in the file, or come to, and need nothing else.
 *
 * The gate is held shared from the look at the map until the end of the transfer, as by any read or write in place (see
 * write.c); that is why such a block cannot be freed or come to belong to a closed epoch meanwhile. */
#include "common/iovec.h"
#include "imagefmt/vol.h"

#include <string.h>

enum { MOST = 256 }; /* blocks */

/* in_place: all blocks are in the file, neighbours, and, for a write, of no closed epoch. */
static bool in_place(const struct dvol *vol, bool write, const uint64_t *words, uint64_t blocks)
{
	uint32_t newest = write ? catalog_newest(&vol->catalog) : 0;
	for (uint64_t i = 0; i < blocks; i++)
		if (word_pbn(words[i]) == 0 || word_packed(words[i]) ||
		    word_pbn(words[i]) != word_pbn(words[0]) + i || (write && word_birth(words[i]) <= newest))
			return false;
	return true;
}

static bool all_zeroes(const struct dvol *vol, const uint64_t *words, uint64_t blocks)
{
	for (uint64_t i = 0; i < blocks; i++)
		if (word_pbn(words[i]) != 0 ||
		    (words[i] == 0 && vol->catalog.backing_kind != DVOL_BACKING_NONE))
			return false;
	return true;
}

static enum dvol_direct_kind look(struct dvol *vol, bool write, const struct iovec *iov, int count,
				  uint64_t offset, uint64_t len, struct dvol_direct *direct)
{
	uint64_t words[MOST], blocks = len / BLOCK;
	if ((write && vol_may_change(vol, NULL) < 0) || check_range(vol, offset, len, NULL) < 0 ||
	    !map_peek(vol, offset / BLOCK, blocks, words))
		return DVOL_DIRECT_NO;
	if (in_place(vol, write, words, blocks)) {
		direct->at = word_pbn(words[0]) * BLOCK;
		return DVOL_DIRECT_IO;
	}
	if (write) {
		direct->placed = place_take(vol, &direct->range, offset / BLOCK, blocks, &direct->at);
		direct->at *= BLOCK;
		return direct->placed ? DVOL_DIRECT_IO : DVOL_DIRECT_NO;
	}
	if (!all_zeroes(vol, words, blocks))
		return DVOL_DIRECT_NO;
	for (int i = 0; i < count; i++)
		memset(iov[i].iov_base, 0, iov[i].iov_len);
	return DVOL_DIRECT_DONE;
}

enum dvol_direct_kind dvol_direct(struct dvol *vol, bool write, const struct iovec *iov, int count,
				  uint64_t offset, struct dvol_direct *direct)
{
	size_t len = iovec_bytes(iov, count);
	if (len == 0 || len > MOST * BLOCK || len % BLOCK != 0 || vol->ops->descriptor == NULL ||
	    !data_is_direct(vol, iov, count, offset))
		return DVOL_DIRECT_NO;
	direct->fd = vol->ops->descriptor(vol->direct.file);
	direct->write = write;
	direct->placed = false;
	direct->at = 0;
	if (direct->fd < 0 || !gate_try(&vol->gate, &direct->slot))
		return DVOL_DIRECT_NO;
	enum dvol_direct_kind kind = look(vol, write, iov, count, offset, len, direct);
	if (kind != DVOL_DIRECT_IO)
		gate_leave(&vol->gate, direct->slot);
	return kind;
}

bool dvol_direct_end(struct dvol *vol, struct dvol_direct *direct, bool whole)
{
	if (direct->write)
		data_wrote(vol);
	if (direct->placed)
		whole = place_give(vol, &direct->range, direct->at / BLOCK, whole);
	gate_leave(&vol->gate, direct->slot);
	return whole;
}
