/* patch.h: fuzzer input as changes to a sound file: so that small inputs reach deep, and no corpus of large files is
 * needed.  Blocks that are all zeroes are left out, so that few changes are lost in free space. */
#ifndef TESTS_FUZZ_PATCH_H
#define TESTS_FUZZ_PATCH_H

#include "tests/lib/memdisk.h"

#include <stdlib.h>
#include <string.h>

enum { PATCH_BLOCK = 4096, PATCH_BLOCKS = 1024 };

/* The blocks of a file that are not all zeroes. */
struct patch_places {
	size_t count;
	uint32_t blocks[PATCH_BLOCKS];
};

static inline void patch_find(struct patch_places *places, const struct memdisk_file *file)
{
	static const uint8_t zeroes[PATCH_BLOCK];
	places->count = 0;
	for (uint64_t at = 0; at < file->size && places->count < PATCH_BLOCKS; at += PATCH_BLOCK) {
		uint64_t left = file->size - at;
		if (memcmp(file->data + at, zeroes, left < PATCH_BLOCK ? left : PATCH_BLOCK) != 0)
			places->blocks[places->count++] = (uint32_t)(at / PATCH_BLOCK);
	}
}

/* patch(file, places, data, len): data is a list of: 3 bytes of offset (modulo the places), 1 byte: low 4 bits how many
 * bytes follow, bit 7: subtract what follows (one byte) instead.  Stops at the end of data. */
static inline void patch(struct memdisk_file *file, const struct patch_places *places, const uint8_t *data,
			 size_t len)
{
	while (len >= 5 && places->count > 0) {
		size_t at = ((size_t)data[0] | (size_t)data[1] << 8 | (size_t)data[2] << 16) %
			    (places->count * PATCH_BLOCK);
		at = (size_t)places->blocks[at / PATCH_BLOCK] * PATCH_BLOCK + at % PATCH_BLOCK;
		size_t count = data[3] & 0x80 ? 1 : data[3] & 15;
		count = count < len - 4 ? count : len - 4;
		count = at >= file->size ? 0 : count < file->size - at ? count : file->size - at;
		if (data[3] & 0x80 && count > 0)
			file->data[at] = (uint8_t)(file->data[at] - data[4]);
		else
			memcpy(file->data + at, data + 4, count);
		memdisk_touch(file, at, count);
		size_t step = 4 + (count > 0 ? count : 1);
		step = step < len ? step : len;
		data += step;
		len -= step;
	}
}

#endif
