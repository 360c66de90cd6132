/* iovec.c: see iovec.h. */
#include "common/iovec.h"
#include <stdbool.h>
#include <stdint.h>
#include <string.h>

size_t iovec_bytes(const struct iovec *iov, unsigned count)
{
	size_t total = 0;
	for (unsigned i = 0; i < count; i++)
		total += iov[i].iov_len;
	return total;
}

unsigned iovec_slice(const struct iovec *iov, unsigned count, size_t skip, size_t len, struct iovec *out)
{
	unsigned used = 0;
	for (unsigned i = 0; i < count && len > 0; i++) {
		if (skip >= iov[i].iov_len) {
			skip -= iov[i].iov_len;
			continue;
		}
		size_t piece = iov[i].iov_len - skip < len ? iov[i].iov_len - skip : len;
		out[used++] = (struct iovec){.iov_base = (uint8_t *)iov[i].iov_base + skip, .iov_len = piece};
		len -= piece;
		skip = 0;
	}
	return used;
}

static size_t copy(const struct iovec *iov, unsigned count, size_t offset, uint8_t *data, size_t len,
		   bool out)
{
	size_t done = 0;
	for (unsigned i = 0; i < count && done < len; i++) {
		if (offset >= iov[i].iov_len) {
			offset -= iov[i].iov_len;
			continue;
		}
		uint8_t *at = (uint8_t *)iov[i].iov_base + offset;
		size_t part = iov[i].iov_len - offset < len - done ? iov[i].iov_len - offset : len - done;
		memcpy(out ? at : data + done, out ? data + done : at, part);
		done += part;
		offset = 0;
	}
	/* The compiler must not read guest memory a second time. */
	__asm__ volatile("" ::: "memory");
	return done;
}

size_t iovec_get(const struct iovec *iov, unsigned count, size_t offset, void *data, size_t len)
{
	return copy(iov, count, offset, data, len, false);
}

size_t iovec_put(const struct iovec *iov, unsigned count, size_t offset, const void *data, size_t len)
{
	return copy(iov, count, offset, (uint8_t *)data, len, true);
}
