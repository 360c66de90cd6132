/* sha.c: SHA-256 as digests use it. */
#include "imagefmt/sha.h"

#include <openssl/evp.h>
#include <stdlib.h>
#include <string.h>

struct sha {
	EVP_MD *method;
	EVP_MD_CTX *context;
};

struct sha *sha_make(void)
{
	struct sha *sha = calloc(1, sizeof(*sha));
	if (sha == NULL)
		abort();
	sha->method = EVP_MD_fetch(NULL, "SHA256", NULL);
	sha->context = EVP_MD_CTX_new();
	/* Fails only without memory, or in a process whose OpenSSL was set up without it. */
	if (sha->method == NULL || sha->context == NULL)
		abort();
	return sha;
}

void sha_free(struct sha *sha)
{
	if (sha == NULL)
		return;
	EVP_MD_CTX_free(sha->context);
	EVP_MD_free(sha->method);
	free(sha);
}

void sha_begin(struct sha *sha)
{
	if (EVP_DigestInit_ex2(sha->context, sha->method, NULL) != 1)
		abort();
}

void sha_add(struct sha *sha, const void *data, size_t len)
{
	if (EVP_DigestUpdate(sha->context, data, len) != 1)
		abort();
}

void sha_end(struct sha *sha, uint8_t out[SHA_BYTES])
{
	if (EVP_DigestFinal_ex(sha->context, out, NULL) != 1)
		abort();
}

bool all_zero(const void *data, size_t len)
{
	const uint8_t *at = data;
	return len == 0 || (at[0] == 0 && memcmp(at, at + 1, len - 1) == 0);
}

void sha_short(struct sha *sha, const void *data, size_t len, uint64_t out[2])
{
	uint8_t full[SHA_BYTES] = {0};
	if (!all_zero(data, len)) {
		sha_begin(sha);
		sha_add(sha, data, len);
		sha_end(sha, full);
	}
	memcpy(out, full, 16);
}
