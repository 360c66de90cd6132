/* io.h: small helpers over file descriptors and clocks. */
#ifndef COMMON_IO_H
#define COMMON_IO_H

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>
#include <time.h>

/* io_read_full(fd, data, len): read len bytes unless the file ends.  Returns how many were read (fewer only at
 * the end of the file), or -1 with errno.  Retries EINTR; a descriptor that does not block is waited for. */
ssize_t io_read_full(int fd, void *data, size_t len);
/* io_write_full(fd, data, len): write all of it.  Returns 0, or -1 with errno.  Retries EINTR; a descriptor
 * that does not block is waited for. */
int io_write_full(int fd, const void *data, size_t len);

enum { IO_MAX_FDS = 8 };
/* io_send(socket, data, len, fds, nfds): one message with descriptors on a UNIX socket (SOCK_SEQPACKET).
 * Returns 0, or -1 with errno (EPIPE rather than SIGPIPE; EAGAIN when the socket does not block and is full;
 * EINVAL for no bytes at all, which would look like the end of the connection, or too many descriptors).  The
 * descriptors stay the caller's. */
int io_send(int socket, const void *data, size_t len, const int *fds, size_t nfds);
/* io_receive(socket, data, cap, fds, &nfds): one message; *nfds is how many descriptors came with it.
 * Returns its length, 0 at the end of the connection (an empty message counts as that), or -1 with errno.
 * EMSGSIZE: larger than cap; EPROTO: more descriptors than IO_MAX_FDS, or than this process may open; in both
 * cases the message is gone and its descriptors were closed.  The descriptors, close-on-exec, become the
 * caller's; *nfds is 0 unless a message is returned. */
ssize_t io_receive(int socket, void *data, size_t cap, int fds[IO_MAX_FDS], size_t *nfds);

/* io_replace_file(path, data, len): the file has the new content or, whatever happens, the old one; durable
 * (file and folder synced) on return.  Mode 0600.  A link of that name is replaced, not followed.  Returns 0,
 * or -1 with errno; then, if it was the folder's sync that failed, the new content is there but may not be
 * durable.  A process killed in it may leave a file .new-XXXXXX in the folder, which nobody reads. */
int io_replace_file(const char *path, const void *data, size_t len);
/* io_read_file(path, cap, &data, &len): a whole regular file of at most cap bytes, NUL after its end; the
 * caller frees data.  Returns 0 or -1 with errno (EFBIG: larger; EISDIR, EINVAL: not a regular file). */
int io_read_file(const char *path, size_t cap, void **data, size_t *len);
/* io_mkdirs(path, mode): the folder and those above it.  Returns 0 or -1 with errno. */
int io_mkdirs(const char *path, mode_t mode);

/* io_sealed_memfd(name, len): a memfd of so many zeroes, whose size nobody can change.  -1 with errno. */
int io_sealed_memfd(const char *name, size_t len);

/* io_close(&fd): close it unless it is -1, and set it to -1.  Leaves errno alone. */
void io_close(int *fd);

uint64_t clock_mono_ns(void); /* CLOCK_MONOTONIC */
struct timespec clock_timespec(uint64_t ns);
uint64_t clock_real_ns(void); /* CLOCK_REALTIME, for what is compared between hosts */

#endif
