/* hash.c: the checksums of metadata. */
#include "imagefmt/vol.h"

#include <xxhash.h>

uint64_t hash64(const void *data, size_t len, uint64_t seed)
{
#ifdef FUZZING_BUILD_MODE_UNSAFE_FOR_PRODUCTION
	/* A fuzzer's changes must get past the checksums; that a page is not taken for another stays, and that superblocks
	 * differ by their generation, which is at byte 48. */
	return seed + (len >= 56 ? le64_get((const uint8_t *)data + 48) : 0) + len;
#else
	return XXH3_64bits_withSeed(data, len, seed);
#endif
}

uint64_t vol_seed(const struct dvol *vol)
{
	return le64_get(vol->super.uuid);
}
