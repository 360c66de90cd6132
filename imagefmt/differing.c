/* differing.c: writing only what differs, so that what stays the same takes no space of its own in the next epoch. */
#include "imagefmt/sha.h"
#include "imagefmt/vol.h"

#include <stdlib.h>
#include <string.h>

enum { CHUNK = 1 << 20 };

/* put_run: blocks that are all zeroes or all not. */
static int put_run(struct dvol *vol, const uint8_t *data, size_t len, uint64_t offset, bool zero,
		   uint64_t *written, struct err *err)
{
	if (len == 0)
		return 0;
	*written += len;
	return zero ? dvol_write_zeroes(vol, offset, len, err) : dvol_write(vol, data, len, offset, err);
}

/* put_chunk: at most CHUNK bytes; now has room for as many. */
static int put_chunk(struct dvol *vol, const uint8_t *data, size_t len, uint64_t offset, uint8_t *now,
		     uint64_t *written, struct err *err)
{
	size_t from = 0, to = 0;
	bool zeroes = false;
	if (dvol_read(vol, now, len, offset, err) < 0)
		return -1;
	for (size_t at = 0, some; at < len; at += some) {
		some = len - at < BLOCK ? len - at : BLOCK;
		if (memcmp(data + at, now + at, some) == 0)
			continue;
		bool zero = all_zero(data + at, some);
		if (at != to || zero != zeroes) {
			if (put_run(vol, data + from, to - from, offset + from, zeroes, written, err) < 0)
				return -1;
			from = at;
			zeroes = zero;
		}
		to = at + some;
	}
	return put_run(vol, data + from, to - from, offset + from, zeroes, written, err);
}

int dvol_write_differing(struct dvol *vol, const void *data, size_t len, uint64_t offset, uint64_t *written,
			 struct err *err)
{
	uint64_t bytes = 0;
	int result = 0;
	if (offset % BLOCK != 0)
		return err_set(err, ERR_USAGE, "%s: what differs is looked for block by block", vol->path);
	uint8_t *now = must_align(CHUNK);
	for (size_t at = 0, some; at < len && result == 0; at += some) {
		some = len - at < CHUNK ? len - at : CHUNK;
		result = put_chunk(vol, (const uint8_t *)data + at, some, offset + at, now, &bytes, err);
	}
	free(now);
	if (written != NULL)
		*written += bytes;
	return result;
}
