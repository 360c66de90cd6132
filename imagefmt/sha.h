/* sha.h: SHA-256 as digests use it. */
#ifndef IMAGEFMT_SHA_H
#define IMAGEFMT_SHA_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { SHA_BYTES = 32 };

/* A hasher serves one thread at a time.  Making one ends the process where OpenSSL has no SHA-256. */
struct sha;
struct sha *sha_make(void);
void sha_free(struct sha *sha);
void sha_begin(struct sha *sha);
void sha_add(struct sha *sha, const void *data, size_t len);
void sha_end(struct sha *sha, uint8_t out[SHA_BYTES]);
/* sha_short: the first 16 bytes of the digest of data, or zeroes when data is all zeroes. */
void sha_short(struct sha *sha, const void *data, size_t len, uint64_t out[2]);
bool all_zero(const void *data, size_t len);

#endif
