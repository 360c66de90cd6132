/* blocks.c: digests of what a handle reads, for comparing with somebody who has no tree of it. */
#include "imagefmt/sha.h"
#include "imagefmt/vol.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

enum { PIECE = 64 }; /* blocks that are read at a time */

static_assert(DVOL_BLOCK_DIGEST == 2 * sizeof(uint64_t), "as the tree has them");

static bool wants(const uint8_t *wanted, uint64_t block)
{
	return wanted == NULL || (wanted[block / 8] & 1 << block % 8) != 0;
}

/* The wanted blocks of one piece, whose content is in data. */
static void digest_piece(struct sha *sha, const uint8_t *data, uint64_t first, uint64_t count,
			 const uint8_t *wanted, uint8_t (*digests)[DVOL_BLOCK_DIGEST])
{
	for (uint64_t i = 0; i < count; i++) {
		uint64_t digest[2] = {0};
		if (wants(wanted, first + i))
			sha_short(sha, data + i * BLOCK, BLOCK, digest);
		memcpy(digests[first + i], digest, DVOL_BLOCK_DIGEST);
	}
}

static bool wants_any(const uint8_t *wanted, uint64_t first, uint64_t count)
{
	for (uint64_t i = 0; i < count; i++)
		if (wants(wanted, first + i))
			return true;
	return false;
}

int dvol_block_digests(struct dvol *vol, uint64_t offset, size_t count, const uint8_t *wanted,
		       uint8_t (*digests)[DVOL_BLOCK_DIGEST], struct err *err)
{
	uint64_t size = dvol_size(vol);
	if (offset % BLOCK != 0 || offset > size || count > (size - offset + BLOCK - 1) / BLOCK)
		return err_set(err, ERR_USAGE, "%s: digests are of whole blocks that there are", vol->path);
	struct sha *sha = sha_make();
	uint8_t *data = malloc(PIECE * BLOCK);
	int result = data == NULL ? err_set(err, ERR_SYSTEM, "%s: out of memory", vol->path) : 0;
	for (size_t at = 0; at < count && result == 0; at += PIECE) {
		uint64_t blocks = count - at < PIECE ? count - at : PIECE, from = offset + at * BLOCK,
			 len = blocks * BLOCK;
		if (!wants_any(wanted, at, blocks)) {
			memset(digests[at], 0, blocks * DVOL_BLOCK_DIGEST);
			continue;
		}
		/* The last block may reach past the end, with zeroes. */
		if (len > size - from) {
			len = size - from;
			memset(data + len, 0, blocks * BLOCK - len);
		}
		result = dvol_read(vol, data, len, from, err);
		if (result == 0)
			digest_piece(sha, data, at, blocks, wanted, digests);
	}
	free(data);
	sha_free(sha);
	return result;
}
