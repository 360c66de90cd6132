#include "vmm/postcopy.h"

#include "common/io.h"
#include "common/log.h"
#include "common/thread.h"
#include "vmm/pager.h"
#include "vmm/uffd.h"

#include <errno.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <unistd.h>

const char postcopy_lost[] = "not all of the guest's memory had come from the host that it ran on, and the "
			     "process that received it has ended: the guest cannot go on";

static void *guard(void *arg)
{
	const struct postcopy *postcopy = arg;
	/* Of the socket only its end. */
	struct pollfd fds[] = {{.fd = postcopy->parent_fd}, {.fd = postcopy->stop_fd, .events = POLLIN}};

	while (poll(fds, 2, -1) < 0 || !(fds[0].revents | fds[1].revents))
		;
	if (fds[1].revents)
		return NULL;
	/* The main thread sees it, too, and ends in better order. */
	fds[0].fd = -1;
	if (poll(fds, 2, PAGER_GRACE_S * 1000) > 0)
		return NULL;
	log_error("%s", postcopy_lost);
	_exit(1);
}

static int keep_set(struct postcopy *postcopy, int owed_fd, struct err *err)
{
	int fd = dup(owed_fd);

	if (fd < 0)
		return err_sys(err, "the set of missing pages does not come along");
	if (!pageset_map(&postcopy->owed, fd, postcopy->bytes / 4096, err))
		return 0;
	close(fd);
	return -1;
}

static int start_guard(struct postcopy *postcopy, int parent_fd, struct err *err)
{
	postcopy->parent_fd = dup(parent_fd);
	postcopy->stop_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (postcopy->parent_fd < 0 || postcopy->stop_fd < 0)
		return err_sys(err, "cannot watch over the guest's RAM");
	postcopy->guarded = !thread_start(&postcopy->guard, guard, postcopy);
	return !postcopy->guarded ? err_sys(err, "cannot watch over the guest's RAM") : 0;
}

int postcopy_begin(struct postcopy *postcopy, void *base, uint64_t bytes, int device, int owed_fd,
		   int parent_fd, struct err *err)
{
	*postcopy = (struct postcopy){.on = true,
				      .base = base,
				      .bytes = bytes,
				      .uffd = -1,
				      .owed.fd = -1,
				      .parent_fd = -1,
				      .stop_fd = -1};
	/* Nothing may fill a hole but a page that comes: some kernels make one huge page of small ones and holes. */
	(void)madvise(base, bytes, MADV_NOHUGEPAGE);
	if (!keep_set(postcopy, owed_fd, err)) {
		postcopy->uffd = uffd_open(device, base, bytes, UFFD_MISSING, err);
		if (postcopy->uffd >= 0 && !start_guard(postcopy, parent_fd, err))
			return 0;
	}
	postcopy_end(postcopy);
	return -1;
}

void postcopy_end(struct postcopy *postcopy)
{
	if (!postcopy->on)
		return;
	if (postcopy->guarded) {
		(void)eventfd_write(postcopy->stop_fd, 1);
		pthread_join(postcopy->guard, NULL);
	}
	if (postcopy->uffd >= 0)
		(void)uffd_unwatch(postcopy->uffd, postcopy->base, postcopy->bytes);
	io_close(&postcopy->uffd);
	io_close(&postcopy->parent_fd);
	io_close(&postcopy->stop_fd);
	pageset_close(&postcopy->owed);
	*postcopy = (struct postcopy){.uffd = -1};
}

uint64_t postcopy_left(const struct postcopy *postcopy)
{
	return postcopy->on ? pageset_count(&postcopy->owed) : 0;
}
