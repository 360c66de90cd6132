/* uffd.c: see uffd.h. */
#include "vmm/uffd.h"
#include "common/io.h"
#include "vmm/memory.h"
#include <errno.h>
#include <fcntl.h>
#include <linux/userfaultfd.h>
#include <poll.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>
#include <unistd.h>

int uffd_device(void)
{
	return open("/dev/userfaultfd", O_RDWR | O_CLOEXEC);
}

static int open_any(int device)
{
	int fd = device >= 0 ? ioctl(device, USERFAULTFD_IOC_NEW, O_CLOEXEC | O_NONBLOCK) : -1;
	return fd >= 0 ? fd : (int)syscall(SYS_userfaultfd, O_CLOEXEC | O_NONBLOCK);
}

int uffd_open(int device, void *base, uint64_t bytes, enum uffd_mode mode, struct err *err)
{
	struct uffdio_api api = {.api = UFFD_API};
	struct uffdio_register range = {.range = {.start = (uintptr_t)base, .len = bytes},
					.mode = UFFDIO_REGISTER_MODE_MISSING};
	if (mode == UFFD_PROTECT) {
		api.features = UFFD_FEATURE_PAGEFAULT_FLAG_WP | UFFD_FEATURE_WP_HUGETLBFS_SHMEM;
		range.mode = UFFDIO_REGISTER_MODE_WP;
	}
	int fd = open_any(device);
	if (fd < 0)
		return errno == EPERM
			   ? err_set(err, ERR_SYSTEM,
				     "userfaultfd is not permitted: give this user /dev/userfaultfd, or as "
				     "root: sysctl vm.unprivileged_userfaultfd=1")
			   : err_sys(err, "userfaultfd");
	if (ioctl(fd, UFFDIO_API, &api) || ioctl(fd, UFFDIO_REGISTER, &range)) {
		err_sys(err, "userfaultfd: the kernel cannot watch the guest's RAM");
		io_close(&fd);
		return -1;
	}
	return fd;
}

int uffd_fault(int uffd, int timeout_ms, int stop_fd, uint64_t *address)
{
	struct pollfd fds[] = {{.fd = uffd, .events = POLLIN}, {.fd = stop_fd, .events = POLLIN}};
	struct uffd_msg message;
	for (;;) {
		int ready = poll(fds, 2, timeout_ms);
		if (ready < 0 && errno == EINTR)
			continue;
		if (ready <= 0 || fds[1].revents)
			return ready < 0 ? -1 : 0;
		ssize_t len = read(uffd, &message, sizeof(message));
		if (len < 0 && (errno == EAGAIN || errno == EINTR))
			continue;
		if (len != sizeof(message)) {
			errno = len < 0 ? errno : ESRCH; /* the watched process has ended */
			return -1;
		}
		if (message.event != UFFD_EVENT_PAGEFAULT)
			continue;
		*address = message.arg.pagefault.address & ~(uint64_t)(MEMORY_PAGE - 1);
		return 1;
	}
}

/* EAGAIN: the address space is being changed (a mapping made, a fork); it passes. */
static int again(int uffd, unsigned long request, void *argument)
{
	int status;
	while ((status = ioctl(uffd, request, argument)) < 0 && (errno == EAGAIN || errno == EINTR))
		;
	return status;
}

int uffd_protect(int uffd, uint64_t address, uint64_t bytes, bool on)
{
	struct uffdio_writeprotect range = {.range = {.start = address, .len = bytes},
					    .mode = on ? UFFDIO_WRITEPROTECT_MODE_WP : 0};
	return again(uffd, UFFDIO_WRITEPROTECT, &range);
}

int uffd_place(int uffd, uint64_t address, const void *data, uint64_t bytes)
{
	struct uffdio_copy copy = {.dst = address, .src = (uintptr_t)data, .len = bytes};
	while (copy.len > 0) {
		copy.copy = 0;
		int status = ioctl(uffd, UFFDIO_COPY, &copy);
		uint64_t done = copy.copy > 0 ? (uint64_t)copy.copy : 0;
		if (status < 0 && errno == EEXIST && done == 0) {
			/* Whoever waits for a page that somebody else has filled meanwhile. */
			struct uffdio_range page = {.start = copy.dst, .len = MEMORY_PAGE};
			if (ioctl(uffd, UFFDIO_WAKE, &page))
				return -1;
			done = MEMORY_PAGE;
		} else if (status < 0 && errno != EAGAIN && errno != EINTR && errno != EEXIST) {
			return -1;
		}
		copy.dst += done;
		copy.src += done;
		copy.len -= done;
	}
	return 0;
}

int uffd_unwatch(int uffd, void *base, uint64_t bytes)
{
	struct uffdio_range range = {.start = (uintptr_t)base, .len = bytes};
	return ioctl(uffd, UFFDIO_UNREGISTER, &range);
}
