/* iovec.h: bytes in and out of the pieces of a scattered buffer. */
#ifndef COMMON_IOVEC_H
#define COMMON_IOVEC_H

#include <stddef.h>
#include <sys/uio.h>

/* iovec_bytes: the pieces' total length. */
size_t iovec_bytes(const struct iovec *iov, unsigned count);
/* iovec_slice(iov, count, skip, len, out): the part [skip, skip + len), or as much of it as there is, in out, which has room
 * for count; returns how many pieces.  Empty pieces are left out. */
unsigned iovec_slice(const struct iovec *iov, unsigned count, size_t skip, size_t len, struct iovec *out);
/* iovec_get, iovec_put: copy len bytes from or to byte `offset` on.  Return how many there were: fewer only at the end.  A copy
 * of memory that others change is taken once: what is checked afterwards is what is used. */
size_t iovec_get(const struct iovec *iov, unsigned count, size_t offset, void *data, size_t len);
size_t iovec_put(const struct iovec *iov, unsigned count, size_t offset, const void *data, size_t len);

#endif
