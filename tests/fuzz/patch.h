/* patch.h: fuzzer input as changes to a sound file: so that small inputs reach deep, and no corpus of large files is
 * needed. */
#ifndef TESTS_FUZZ_PATCH_H
#define TESTS_FUZZ_PATCH_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

/* patch(file, size, data, len): data is a list of: 3 bytes of offset (modulo size), 1 byte: low 4 bits how many
 * bytes follow, bit 7: subtract what follows (one byte) instead.  Stops at the end of data. */
static inline void patch(uint8_t *file, size_t size, const uint8_t *data, size_t len)
{
	while (len >= 5 && size > 0) {
		size_t at = ((size_t)data[0] | (size_t)data[1] << 8 | (size_t)data[2] << 16) % size;
		size_t count = data[3] & 15;
		if (data[3] & 0x80) {
			file[at] = (uint8_t)(file[at] - data[4]);
			count = 1;
		} else {
			count = count < len - 4 ? count : len - 4;
			count = count < size - at ? count : size - at;
			memcpy(file + at, data + 4, count);
		}
		size_t step = 4 + (count > 0 ? count : 1);
		step = step < len ? step : len;
		data += step;
		len -= step;
	}
}

#endif
