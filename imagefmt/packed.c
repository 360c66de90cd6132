/* packed.c: packed extents: up to 16 blocks in one zstd frame, and what their words refer to (docs/dvol.md, "Packed
 * extents").
 *
 * An extent is written once, before any word names it, and never changed; table PACK counts the words that do.  What
 * is read of it stays in a small cache: neighbours are mostly asked for one after the other.  An extent that may be
 * freed is seen by no reader of this handle: that happens with the gate closed, and drops it from the cache. */
#include "imagefmt/sha.h"
#include "imagefmt/vol.h"

#include <stdlib.h>
#include <string.h>
#include <zstd.h>

struct packed {
	uint64_t pbn, stamp;
	uint32_t count;
	uint64_t blocks[PACK_SLOTS];
	uint64_t digests[PACK_SLOTS][2];
	uint8_t data[PACK_SLOTS * BLOCK];
};

/* What one thread needs to pack or unpack; made when all that there are are busy. */
struct packer {
	struct packer *next;
	ZSTD_CCtx *in;
	ZSTD_DCtx *out;
	struct sha *sha;
	uint8_t extent[PACK_SLOTS * BLOCK];
};

static struct packer *packer_take(struct dvol *vol)
{
	pthread_mutex_lock(&vol->packing);
	struct packer *packer = vol->packers;
	if (packer != NULL)
		vol->packers = packer->next;
	pthread_mutex_unlock(&vol->packing);
	return packer != NULL ? packer : must_alloc(1, sizeof(*packer));
}

static void packer_give(struct dvol *vol, struct packer *packer)
{
	pthread_mutex_lock(&vol->packing);
	packer->next = vol->packers;
	vol->packers = packer;
	pthread_mutex_unlock(&vol->packing);
}

void packed_free(struct dvol *vol)
{
	for (size_t i = 0; i < PACK_CACHE; i++)
		free(vol->unpacked[i]);
	for (struct packer *packer = vol->packers, *next; packer != NULL; packer = next) {
		next = packer->next;
		ZSTD_freeCCtx(packer->in);
		ZSTD_freeDCtx(packer->out);
		sha_free(packer->sha);
		free(packer);
	}
}

/* ---- making one ---- */
static size_t header_bytes(uint32_t count)
{
	return PACK_HEADER + (size_t)count * PACK_SLOT;
}

static uint64_t extent_seed(const struct dvol *vol, uint64_t pbn)
{
	return vol_seed(vol) ^ pbn;
}

/* encode: into packer->extent, all but the checksum; how many file blocks it takes, or 0 when nothing is won. */
static uint32_t encode(struct packer *packer, unsigned level, const uint64_t *blocks, const uint8_t *data,
		       uint32_t count)
{
	size_t header = header_bytes(count), room = (size_t)(count - 1) * BLOCK - header;
	uint8_t *at = packer->extent + PACK_HEADER;
	if (packer->in == NULL && (packer->in = ZSTD_createCCtx()) == NULL)
		abort();
	if (packer->sha == NULL)
		packer->sha = sha_make();
	size_t len = ZSTD_compressCCtx(packer->in, packer->extent + header, room, data, (size_t)count * BLOCK,
				       (int)level);
	if (ZSTD_isError(len))
		return 0; /* does not fit */
	le32_put(packer->extent + 8, count);
	le32_put(packer->extent + 12, (uint32_t)len);
	for (uint32_t i = 0; i < count; i++, at += PACK_SLOT) {
		uint64_t digest[2];
		sha_short(packer->sha, data + (size_t)i * BLOCK, BLOCK, digest);
		le64_put(at, blocks[i]);
		memcpy(at + 8, digest, DIGEST);
	}
	uint32_t used = (uint32_t)((header + len + BLOCK - 1) / BLOCK);
	memset(packer->extent + header + len, 0, (size_t)used * BLOCK - header - len);
	return used;
}

static int extent_write(struct dvol *vol, struct packer *packer, struct extent at, struct err *err)
{
	size_t len = at.count * BLOCK;
	uint64_t sum = hash64(packer->extent + 8, len - 8, extent_seed(vol, at.pbn));
	le64_put(packer->extent, sum);
	struct iovec iov = {.iov_base = packer->extent, .iov_len = len};
	return data_writev(vol, &iov, 1, at.pbn * BLOCK, err);
}

int packed_write(struct dvol *vol, unsigned level, const uint64_t *blocks, const uint8_t *data,
		 uint32_t count, struct extent *at, struct err *err)
{
	*at = (struct extent){0, 0};
	if (count < 2)
		return 0;
	struct packer *packer = packer_take(vol);
	uint32_t used = encode(packer, level, blocks, data, count);
	int result = 0;
	if (used > 0) {
		pthread_mutex_lock(&vol->meta);
		result = alloc_reserve(vol, used, true, at, err);
		pthread_mutex_unlock(&vol->meta);
		if (result == 0 && (result = extent_write(vol, packer, *at, err)) < 0) {
			pthread_mutex_lock(&vol->meta);
			alloc_unreserve(vol, *at);
			pthread_mutex_unlock(&vol->meta);
			*at = (struct extent){0, 0};
		}
	}
	packer_give(vol, packer);
	return result;
}

int packed_use(struct dvol *vol, struct extent at, uint32_t references, struct err *err)
{
	if (table_prepare(vol, TABLE_PACK, at.pbn, 1, err) < 0 || alloc_use(vol, at, err) < 0)
		return -1;
	return table_set(vol, TABLE_PACK, at.pbn, at.count << 32 | references, err);
}

/* ---- reading one ---- */
static int damaged(const struct dvol *vol, uint64_t pbn, struct err *err)
{
	return err_set(
	    err, ERR_INPUT,
	    "%s: the compressed blocks at byte %llu of the file are damaged; check with --heal and a copy",
	    vol->path, (unsigned long long)pbn * BLOCK);
}

static int decode(struct dvol *vol, struct packer *packer, struct packed *packed, size_t got, struct err *err)
{
	const uint8_t *at = packer->extent + PACK_HEADER;
	uint32_t count = le32_get(packer->extent + 8), len = le32_get(packer->extent + 12);
	size_t header = header_bytes(count < PACK_SLOTS ? count : PACK_SLOTS);
	if (count < 2 || count > PACK_SLOTS || len > got - header)
		return damaged(vol, packed->pbn, err);
	size_t used = (header + len + BLOCK - 1) / BLOCK * BLOCK;
	if (used > got ||
	    hash64(packer->extent + 8, used - 8, extent_seed(vol, packed->pbn)) != le64_get(packer->extent))
		return damaged(vol, packed->pbn, err);
	packed->count = count;
	for (uint32_t i = 0; i < count; i++, at += PACK_SLOT) {
		packed->blocks[i] = le64_get(at);
		memcpy(packed->digests[i], at + 8, DIGEST);
	}
	if (packer->out == NULL && (packer->out = ZSTD_createDCtx()) == NULL)
		abort();
	size_t bytes = ZSTD_decompressDCtx(packer->out, packed->data, (size_t)count * BLOCK,
					   packer->extent + header, len);
	return bytes == (size_t)count * BLOCK ? 0 : damaged(vol, packed->pbn, err);
}

static struct packed *load(struct dvol *vol, uint64_t pbn, struct err *err)
{
	struct packer *packer = packer_take(vol);
	struct packed *packed = must_alloc(1, sizeof(*packed));
	packed->pbn = pbn;
	/* How long it is stands in it; it is never as long as what is in it. */
	uint64_t most = (PACK_SLOTS - 1) * BLOCK, left = (vol->alloc.end - pbn) * BLOCK;
	size_t len = left < most ? left : most;
	struct iovec iov = {.iov_base = packer->extent, .iov_len = len};
	int result = data_readv(vol, &iov, 1, pbn * BLOCK, err);
	if (result == 0)
		result = decode(vol, packer, packed, len, err);
	packer_give(vol, packer);
	if (result == 0)
		return packed;
	free(packed);
	return NULL;
}

/* find: in the cache (packing held). */
static struct packed **find(struct dvol *vol, uint64_t pbn)
{
	for (size_t i = 0; i < PACK_CACHE; i++)
		if (vol->unpacked[i] != NULL && vol->unpacked[i]->pbn == pbn)
			return &vol->unpacked[i];
	return NULL;
}

static struct packed **oldest(struct dvol *vol)
{
	struct packed **place = &vol->unpacked[0];
	for (size_t i = 0; i < PACK_CACHE && *place != NULL; i++)
		if (vol->unpacked[i] == NULL || vol->unpacked[i]->stamp < (*place)->stamp)
			place = &vol->unpacked[i];
	return place;
}

int packed_read(struct dvol *vol, uint64_t word, uint64_t block, uint8_t *data, uint64_t digest[2],
		struct err *err)
{
	uint64_t pbn = word_pbn(word);
	pthread_mutex_lock(&vol->packing);
	struct packed **place = find(vol, pbn);
	if (place == NULL) {
		pthread_mutex_unlock(&vol->packing);
		struct packed *fresh = load(vol, pbn, err);
		if (fresh == NULL)
			return -1;
		pthread_mutex_lock(&vol->packing);
		place = find(vol, pbn);
		if (place == NULL)
			place = oldest(vol);
		free(*place);
		*place = fresh;
	}
	struct packed *packed = *place;
	packed->stamp = ++vol->unpacked_clock;
	uint32_t slot = 0;
	while (slot < packed->count && packed->blocks[slot] != block)
		slot++;
	bool found = slot < packed->count;
	if (found && data != NULL)
		memcpy(data, packed->data + (size_t)slot * BLOCK, BLOCK);
	if (found && digest != NULL)
		memcpy(digest, packed->digests[slot], DIGEST);
	pthread_mutex_unlock(&vol->packing);
	return found ? 0 : damaged(vol, pbn, err);
}

void packed_forget(struct dvol *vol)
{
	pthread_mutex_lock(&vol->packing);
	for (size_t i = 0; i < PACK_CACHE; i++) {
		free(vol->unpacked[i]);
		vol->unpacked[i] = NULL;
	}
	pthread_mutex_unlock(&vol->packing);
}

/* ---- healing one ---- */

/* slots_read: what a damaged extent says is in it, as far as that makes sense: how many, or 0. */
static uint32_t slots_read(struct dvol *vol, struct packed *packed)
{
	uint8_t head[BLOCK];
	const uint8_t *at = head + PACK_HEADER;
	if (file_read(&vol->file, head, sizeof(head), packed->pbn * BLOCK) < 0)
		return 0;
	uint32_t count = le32_get(head + 8);
	if (count < 2 || count > PACK_SLOTS)
		return 0;
	for (uint32_t i = 0; i < count; i++, at += PACK_SLOT) {
		packed->blocks[i] = le64_get(at);
		memcpy(packed->digests[i], at + 8, DIGEST);
		if (i > 0 && packed->blocks[i] <= packed->blocks[i - 1])
			return 0;
	}
	return count;
}

/* rewrite: the extent from its blocks' content, where it is and no longer than it was; false when that does not fit. */
static bool rewrite(struct dvol *vol, struct packer *packer, const struct packed *packed, uint64_t room)
{
	const unsigned levels[] = {3, 9, DVOL_COMPRESS_MAX};
	uint32_t used = 0;
	for (size_t i = 0; i < sizeof(levels) / sizeof(*levels) && (used == 0 || used > room); i++)
		used = encode(packer, levels[i], packed->blocks, packed->data, packed->count);
	if (used == 0 || used > room)
		return false;
	le64_put(packer->extent,
		 hash64(packer->extent + 8, (size_t)used * BLOCK - 8, extent_seed(vol, packed->pbn)));
	memset(packer->extent + (size_t)used * BLOCK, 0, (size_t)(room - used) * BLOCK);
	return true;
}

int packed_heal(struct dvol *vol, uint64_t word, packed_fetch *fetch, void *context, const struct file *out,
		uint32_t *healed, struct err *err)
{
	struct packed *packed = must_alloc(1, sizeof(*packed));
	struct packer *packer = packer_take(vol);
	uint64_t digest[2], pack = 0;
	*healed = 0;
	if (packer->sha == NULL)
		packer->sha = sha_make();
	packed->pbn = word_pbn(word);
	packed->count = slots_read(vol, packed);
	pthread_mutex_lock(&vol->meta);
	int result = view_words(vol, TABLE_PACK, packed->pbn, 1, &pack, err);
	pthread_mutex_unlock(&vol->meta);
	uint32_t good = 0;
	for (; result == 0 && good < packed->count; good++) {
		uint8_t *data = packed->data + (size_t)good * BLOCK;
		int there = fetch(context, packed->blocks[good], data, err);
		sha_short(packer->sha, data, BLOCK, digest);
		result = there < 0 ? -1 : 0;
		if (there <= 0 || memcmp(digest, packed->digests[good], DIGEST) != 0)
			break;
	}
	if (result == 0 && good > 0 && good == packed->count && pack >> 32 < PACK_SLOTS &&
	    rewrite(vol, packer, packed, pack >> 32)) {
		if (file_write(out, packer->extent, (pack >> 32) * BLOCK, packed->pbn * BLOCK) < 0 ||
		    out->ops->sync(out->file) < 0)
			result = err_sys(err, "%s: healing compressed blocks at byte %llu of the file",
					 vol->path, (unsigned long long)packed->pbn * BLOCK);
		*healed = result == 0 ? packed->count : 0;
	}
	packer_give(vol, packer);
	free(packed);
	return result;
}

/* ---- giving one up ---- */
int word_release(struct dvol *vol, uint64_t word, struct err *err)
{
	uint64_t pbn = word_pbn(word), pack;
	if (pbn == 0)
		return 0;
	if (!word_packed(word))
		return alloc_release(vol, (struct extent){.pbn = pbn, .count = 1}, err);
	if (table_get(vol, TABLE_PACK, pbn, &pack, err) < 0)
		return -1;
	uint64_t blocks = pack >> 32, references = pack & UINT32_MAX;
	if (blocks == 0 || blocks >= PACK_SLOTS || references == 0 || references > PACK_SLOTS)
		return err_set(err, ERR_INPUT, "%s: the pack table is wrong at block %llu; run check",
			       vol->path, (unsigned long long)pbn);
	if (references > 1)
		return table_set(vol, TABLE_PACK, pbn, pack - 1, err);
	pthread_mutex_lock(&vol->packing);
	struct packed **place = find(vol, pbn);
	if (place != NULL) {
		free(*place);
		*place = NULL;
	}
	pthread_mutex_unlock(&vol->packing);
	if (table_set(vol, TABLE_PACK, pbn, 0, err) < 0)
		return -1;
	return alloc_release(vol, (struct extent){.pbn = pbn, .count = blocks}, err);
}
