/* aio.c: see aio.h.
 *
 * Events are only put into the ring while the thread is in the kernel for it (DEFER_TASKRUN), so a disk that is done does not
 * interrupt it in the middle of something else.
 *
 * No filter of system calls sees what a ring is told.  So it is made before the process gives up its rights, and told then what
 * it may ever be used for: to transfer and to wait, with what is open. */
#include "vmm/aio.h"
#include <errno.h>
#include <liburing.h>
#include <poll.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <unistd.h>

struct watch {
	struct watch *next;
	int fd;
	void *token;
};

struct aio {
	struct io_uring ring;
	struct watch *watches;
};

/* The user data of a watch is its address with this bit, of a transfer its token. */
enum { WATCH = 1 };

static int ring_register(const struct io_uring *ring, unsigned what, const void *arg, unsigned count)
{
	return (int)syscall(SYS_io_uring_register, ring->ring_fd, what, arg, count);
}

static int restrict_ring(const struct io_uring *ring)
{
	static const uint8_t operations[] = {IORING_OP_READ, IORING_OP_WRITE, IORING_OP_READV,
					     IORING_OP_WRITEV, IORING_OP_POLL_ADD};
	enum { OPERATIONS = sizeof(operations) };
	struct io_uring_restriction allowed[OPERATIONS + 1] = {0};
	for (unsigned i = 0; i < OPERATIONS; i++) {
		allowed[i].opcode = IORING_RESTRICTION_SQE_OP;
		allowed[i].sqe_op = operations[i];
	}
	allowed[OPERATIONS].opcode = IORING_RESTRICTION_REGISTER_OP;
	allowed[OPERATIONS].register_op = IORING_REGISTER_ENABLE_RINGS;
	return ring_register(ring, IORING_REGISTER_RESTRICTIONS, allowed, OPERATIONS + 1);
}

int aio_begin(struct aio *aio)
{
	return ring_register(&aio->ring, IORING_REGISTER_ENABLE_RINGS, NULL, 0);
}

struct aio *aio_open(unsigned entries)
{
	struct aio *aio = calloc(1, sizeof(*aio));
	int failed;
	if (!aio)
		return NULL;
	failed = io_uring_queue_init(entries, &aio->ring,
				     IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN |
					 IORING_SETUP_R_DISABLED);
	if (!failed && restrict_ring(&aio->ring)) {
		failed = -errno;
		io_uring_queue_exit(&aio->ring);
	}
	if (failed) {
		free(aio);
		errno = -failed;
		return NULL;
	}
	return aio;
}

void aio_close(struct aio *aio)
{
	if (!aio)
		return;
	io_uring_queue_exit(&aio->ring);
	for (struct watch *watch = aio->watches, *next; watch; watch = next) {
		next = watch->next;
		free(watch);
	}
	free(aio);
}

static bool arm(struct aio *aio, struct watch *watch)
{
	struct io_uring_sqe *sqe = io_uring_get_sqe(&aio->ring);
	if (!sqe)
		return false;
	io_uring_prep_poll_multishot(sqe, watch->fd, POLLIN);
	io_uring_sqe_set_data64(sqe, (uintptr_t)watch | WATCH);
	return true;
}

bool aio_watch(struct aio *aio, int fd, void *token)
{
	struct watch *watch = calloc(1, sizeof(*watch));
	if (!watch)
		return false;
	*watch = (struct watch){.next = aio->watches, .fd = fd, .token = token};
	aio->watches = watch;
	return arm(aio, watch);
}

bool aio_transfer(struct aio *aio, bool write, int fd, const struct iovec *iov, int count, uint64_t offset,
		  void *token)
{
	struct io_uring_sqe *sqe = io_uring_get_sqe(&aio->ring);
	if (!sqe)
		return false;
	if (count == 1 && write)
		io_uring_prep_write(sqe, fd, iov->iov_base, (unsigned)iov->iov_len, offset);
	else if (count == 1)
		io_uring_prep_read(sqe, fd, iov->iov_base, (unsigned)iov->iov_len, offset);
	else if (write)
		io_uring_prep_writev(sqe, fd, iov, (unsigned)count, offset);
	else
		io_uring_prep_readv(sqe, fd, iov, (unsigned)count, offset);
	io_uring_sqe_set_data64(sqe, (uintptr_t)token);
	return true;
}

void aio_submit(struct aio *aio)
{
	io_uring_submit_and_get_events(&aio->ring);
}

void aio_wait(struct aio *aio)
{
	io_uring_submit_and_wait(&aio->ring, 1);
}

/* A watch that the kernel ended, since it had no room for an event, is armed again; what it missed counts as one. */
static void *watch_event(struct aio *aio, const struct io_uring_cqe *cqe)
{
	struct watch *watch = (struct watch *)(uintptr_t)(cqe->user_data & ~(uint64_t)WATCH);
	if (!(cqe->flags & IORING_CQE_F_MORE))
		(void)arm(aio, watch);
	return watch->token;
}

unsigned aio_take(struct aio *aio, struct aio_event *events, unsigned most)
{
	struct io_uring_cqe *cqe;
	unsigned count = 0;
	while (count < most && io_uring_peek_cqe(&aio->ring, &cqe) == 0) {
		bool watch = cqe->user_data & WATCH;
		events[count].result = cqe->res;
		events[count].token = watch ? watch_event(aio, cqe) : (void *)(uintptr_t)cqe->user_data;
		count++;
		io_uring_cqe_seen(&aio->ring, cqe);
	}
	return count;
}
