/* aio.h: reads and writes that go on while their thread does something else, and eventfds, all in one wait (io_uring).
 *
 * Threads: aio_begin and all after it by one thread, the same one.  Where the system has no io_uring, or
 * does not let this process use it, aio_open fails, and its caller does without. */
#ifndef VMM_AIO_H
#define VMM_AIO_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/uio.h>

struct aio;

struct aio_event {
	void *token; /* of the transfer or of the watch */
	int result;  /* of a transfer: bytes, or -errno */
};

/* aio_open(entries): room for so many transfers and watches under way at once; before the process is isolated.  NULL with
 * errno.  aio_begin(aio): the calling thread's from now on; 0, or -1 with errno: it is of no use.  aio_close: none of either is
 * under way, or nobody cares; NULL is harmless. */
struct aio *aio_open(unsigned entries);
int aio_begin(struct aio *aio);
void aio_close(struct aio *aio);

/* aio_watch(aio, fd, token): an event at each write to the eventfd from now on, and no need to read it.
 * aio_transfer(aio, write, fd, iov, count, offset, token): iov stays where it is until its event.  Both begin with the
 * next aio_submit or aio_wait; false: there is no room now. */
bool aio_watch(struct aio *aio, int fd, void *token);
bool aio_transfer(struct aio *aio, bool write, int fd, const struct iovec *iov, int count, uint64_t offset,
		  void *token);

/* aio_submit: begin what is prepared, without waiting, and let events come in.  aio_wait: the same, and wait for one.
 * aio_take(aio, events, most): events that came in; how many. */
void aio_submit(struct aio *aio);
void aio_wait(struct aio *aio);
unsigned aio_take(struct aio *aio, struct aio_event *events, unsigned most);

#endif
