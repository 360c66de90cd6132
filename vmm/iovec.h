/* iovec.h: bytes in and out of the pieces of a buffer chain. */
#ifndef VMM_IOVEC_H
#define VMM_IOVEC_H

#include <stddef.h>
#include <sys/uio.h>

/* iovec_get, iovec_put: copy len bytes from or to the chain's byte `offset` on.  Return how many there were: fewer only at its
 * end.  A copy of guest memory is taken once: what is checked afterwards is what is used. */
size_t iovec_get(const struct iovec *iov, unsigned count, size_t offset, void *data, size_t len);
size_t iovec_put(const struct iovec *iov, unsigned count, size_t offset, const void *data, size_t len);
/* iovec_tail(iov, count, offset, out): what lies behind the first `offset` bytes, in out, which has room for count; returns
 * how many pieces. */
unsigned iovec_tail(const struct iovec *iov, unsigned count, size_t offset, struct iovec *out);

#endif
