/* read.c: reading. */
#include "common/iovec.h"
#include "imagefmt/vol.h"

#include <stdlib.h>
#include <string.h>

enum { CHUNK = 256 };

/* kind_of: how a block is read: from the file, as it is or compressed, as zeroes, from the backing. */
enum kind { KIND_DATA, KIND_PACKED, KIND_ZERO, KIND_BACKING };

static enum kind kind_of(const struct dvol *vol, uint64_t word)
{
	if (word_pbn(word) != 0)
		return word_packed(word) ? KIND_PACKED : KIND_DATA;
	return word == 0 && vol->catalog.backing_kind != DVOL_BACKING_NONE ? KIND_BACKING : KIND_ZERO;
}

static void zero_iov(const struct iovec *iov, int count)
{
	for (int i = 0; i < count; i++)
		memset(iov[i].iov_base, 0, iov[i].iov_len);
}

/* read_packed: the bytes from `from` on, within one block. */
static int read_packed(struct dvol *vol, uint64_t word, uint64_t from, const struct iovec *iov, int count,
		       struct err *err)
{
	uint8_t data[BLOCK];
	if (packed_read(vol, word, from / BLOCK, data, NULL, err) < 0)
		return -1;
	iovec_put(iov, count, 0, data + from % BLOCK, iovec_bytes(iov, count));
	return 0;
}

static int find_words(struct dvol *vol, uint64_t first, uint64_t blocks, uint64_t *words, struct err *err)
{
	int result = 0;
	pthread_mutex_lock(&vol->meta);
	for (uint64_t i = 0; i < blocks && result == 0; i++)
		result = map_find(vol, first + i, &words[i], err);
	tables_trim(vol);
	pthread_mutex_unlock(&vol->meta);
	return result;
}

/* read_chunk: [offset, offset + len), at most CHUNK blocks, to the buffers from skip on; part has room for them. */
static int read_chunk(struct dvol *vol, const struct iovec *iov, int count, size_t skip, uint64_t offset,
		      size_t len, struct iovec *part, struct err *err)
{
	uint64_t words[CHUNK + 1];
	uint64_t first = offset / BLOCK, blocks = (offset + len - 1) / BLOCK - first + 1;
	int result = 0;
	if (!map_peek(vol, first, blocks, words))
		result = find_words(vol, first, blocks, words, err);
	for (uint64_t i = 0, n; i < blocks && result == 0; i += n) {
		enum kind kind = kind_of(vol, words[i]);
		for (n = 1; i + n < blocks && kind != KIND_PACKED && kind_of(vol, words[i + n]) == kind; n++)
			if (kind == KIND_DATA && word_pbn(words[i + n]) != word_pbn(words[i]) + n)
				break;
		uint64_t from = (first + i) * BLOCK > offset ? (first + i) * BLOCK : offset;
		uint64_t to = (first + i + n) * BLOCK < offset + len ? (first + i + n) * BLOCK : offset + len;
		int used = iovec_slice(iov, count, skip + (from - offset), to - from, part);
		if (kind == KIND_DATA)
			result = data_readv(vol, part, used, word_pbn(words[i]) * BLOCK + from % BLOCK, err);
		else if (kind == KIND_PACKED)
			result = read_packed(vol, words[i], from, part, used, err);
		else if (kind == KIND_BACKING)
			result = backing_read(vol, part, used, from, err);
		else
			zero_iov(part, used);
	}
	return result;
}

int dvol_readv(struct dvol *vol, const struct iovec *iov, int count, uint64_t offset, struct err *err)
{
	size_t len = iovec_bytes(iov, count);
	if (len == 0)
		return 0;
	struct iovec few[16], *part = count <= 16 ? few : must_alloc((size_t)count, sizeof(*part));
	int result = 0;
	for (size_t done = 0; done < len && result == 0;) {
		uint64_t at = offset + done;
		uint64_t some = CHUNK * BLOCK - at % BLOCK;
		some = some < len - done ? some : len - done;
		/* For each chunk anew, so that who closes an epoch does not wait for a long read. */
		unsigned slot = gate_enter(&vol->gate);
		result = check_range(vol, at, len - done, err);
		if (result == 0)
			result = read_chunk(vol, iov, count, done, at, some, part, err);
		gate_leave(&vol->gate, slot);
		done += some;
	}
	if (part != few)
		free(part);
	return result;
}

int dvol_read(struct dvol *vol, void *data, size_t len, uint64_t offset, struct err *err)
{
	struct iovec iov = {.iov_base = data, .iov_len = len};
	return dvol_readv(vol, &iov, 1, offset, err);
}
