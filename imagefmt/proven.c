/* proven.c: reading a closed epoch and comparing each block with the digest that is stored with it. */
#include "imagefmt/tree.h"

static int wrong(const struct dvol *vol, uint64_t block, const char *what, struct err *err)
{
	struct dvol_id id = catalog_index(&vol->catalog, vol->view)->id;
	return err_set(err, ERR_INPUT, "%s: the block at byte %llu of epoch %llu.%llu %s", vol->path,
		       (unsigned long long)block * BLOCK, (unsigned long long)id.term,
		       (unsigned long long)id.number, what);
}

static int prove_block(struct dvol *vol, struct sha *sha, uint64_t block, const uint8_t *data,
		       struct err *err)
{
	uint64_t word, stored[2], found[2];
	bool known;
	pthread_mutex_lock(&vol->meta);
	int result = map_find(vol, block, &word, err);
	tables_trim(vol);
	pthread_mutex_unlock(&vol->meta);
	if (result < 0 || stored_digest(vol, word, block, stored, &known, err) < 0)
		return -1;
	if (!known)
		return wrong(vol, block, "has no digest", err);
	sha_short(sha, data, BLOCK, found);
	return digest_equal(found, stored)
		   ? 0
		   : wrong(vol, block, "is damaged: it is not what was written there", err);
}

int dvol_read_proven(struct dvol *vol, void *data, size_t len, uint64_t offset, struct err *err)
{
	if (vol->view == 0 || offset % BLOCK != 0 || len % BLOCK != 0)
		return err_set(err, ERR_USAGE, "%s: only whole blocks of a closed epoch have digests",
			       vol->path);
	if (dvol_read(vol, data, len, offset, err) < 0)
		return -1;
	struct sha *sha = sha_make();
	int result = 0;
	for (size_t at = 0; at < len && result == 0; at += BLOCK)
		result = prove_block(vol, sha, (offset + at) / BLOCK, (const uint8_t *)data + at, err);
	sha_free(sha);
	return result;
}
