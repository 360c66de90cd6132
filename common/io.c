/* io.c: small helpers over file descriptors and clocks. */
#include "common/io.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

/* After a read or write that failed: true when it is worth trying again (interrupted, or waited for). */
static bool again(int fd, short events)
{
	struct pollfd poll_fd = {.fd = fd, .events = events};

	if (errno == EINTR)
		return true;
	if (errno != EAGAIN)
		return false;
	return poll(&poll_fd, 1, -1) >= 0 || errno == EINTR;
}

ssize_t io_read_full(int fd, void *data, size_t len)
{
	size_t done = 0;

	while (done < len) {
		ssize_t got = read(fd, (char *)data + done, len - done);

		if (got == 0)
			break;
		if (got > 0)
			done += (size_t)got;
		else if (!again(fd, POLLIN))
			return -1;
	}
	return (ssize_t)done;
}

int io_write_full(int fd, const void *data, size_t len)
{
	size_t done = 0;

	while (done < len) {
		ssize_t put = write(fd, (const char *)data + done, len - done);

		if (put >= 0)
			done += (size_t)put;
		else if (!again(fd, POLLOUT))
			return -1;
	}
	return 0;
}

/* Room for the descriptors of one message, aligned as the kernel wants its headers. */
union control {
	char room[CMSG_SPACE(IO_MAX_FDS * sizeof(int))];
	struct cmsghdr header;
};

int io_send(int socket, const void *data, size_t len, const int *fds, size_t nfds)
{
	union control control = {0};
	struct iovec part = {.iov_base = (void *)data, .iov_len = len};
	struct msghdr message = {.msg_iov = &part, .msg_iovlen = 1};
	ssize_t sent;

	/* An empty message cannot be told from the end of the connection. */
	if (len == 0 || nfds > IO_MAX_FDS) {
		errno = EINVAL;
		return -1;
	}
	if (nfds) {
		message.msg_control = control.room;
		message.msg_controllen = CMSG_SPACE(nfds * sizeof(int));
		control.header.cmsg_level = SOL_SOCKET;
		control.header.cmsg_type = SCM_RIGHTS;
		control.header.cmsg_len = CMSG_LEN(nfds * sizeof(int));
		memcpy(CMSG_DATA(&control.header), fds, nfds * sizeof(int));
	}
	do
		sent = sendmsg(socket, &message, MSG_NOSIGNAL);
	while (sent < 0 && errno == EINTR);
	if (sent >= 0 && (size_t)sent != len) {
		errno = EMSGSIZE;
		return -1;
	}
	return sent < 0 ? -1 : 0;
}

/* Collect the descriptors that came with a message; the control room holds IO_MAX_FDS at most. */
static size_t descriptors_of(struct msghdr *message, int fds[IO_MAX_FDS])
{
	size_t count = 0;

	for (struct cmsghdr *c = CMSG_FIRSTHDR(message); c; c = CMSG_NXTHDR(message, c)) {
		size_t here;

		if (c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_RIGHTS)
			continue;
		here = (c->cmsg_len - CMSG_LEN(0)) / sizeof(int);
		if (here > IO_MAX_FDS - count)
			here = IO_MAX_FDS - count;
		memcpy(fds + count, CMSG_DATA(c), here * sizeof(int));
		count += here;
	}
	return count;
}

ssize_t io_receive(int socket, void *data, size_t cap, int fds[IO_MAX_FDS], size_t *nfds)
{
	union control control = {0};
	struct iovec part = {.iov_base = data, .iov_len = cap};
	struct msghdr message = {.msg_iov = &part,
				 .msg_iovlen = 1,
				 .msg_control = control.room,
				 .msg_controllen = sizeof(control.room)};
	int problem = 0;
	ssize_t got;

	*nfds = 0;
	do
		got = recvmsg(socket, &message, MSG_CMSG_CLOEXEC);
	while (got < 0 && errno == EINTR);
	if (got < 0)
		return -1;
	*nfds = descriptors_of(&message, fds);
	if (message.msg_flags & MSG_TRUNC)
		problem = EMSGSIZE;
	else if (message.msg_flags & MSG_CTRUNC)
		problem = EPROTO;
	if (problem || got == 0) {
		while (*nfds > 0)
			close(fds[--*nfds]);
	}
	if (problem) {
		errno = problem;
		return -1;
	}
	return got;
}

/* Write, sync and rename the temporary file; on failure the caller removes it. */
static int fill_and_rename(int fd, const char *temp, const char *path, const void *data, size_t len)
{
	if (io_write_full(fd, data, len) < 0 || fsync(fd) < 0)
		return -1;
	return rename(temp, path);
}

int io_replace_file(const char *path, const void *data, size_t len)
{
	const char *slash = strrchr(path, '/');
	int folder_len = slash ? (int)(slash - path) + 1 : 0;
	char temp[PATH_MAX];
	int folder, fd, problem;

	/* The folder's path with its slash, and a name that does not depend on how long the file's name is.
	 */
	if (snprintf(temp, sizeof(temp), "%.*s", folder_len ? folder_len : 2, folder_len ? path : "./") +
		sizeof(".new-XXXXXX") >
	    sizeof(temp)) {
		errno = ENAMETOOLONG;
		return -1;
	}
	folder = open(temp, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (folder < 0)
		return -1;
	strcat(temp, ".new-XXXXXX");
	fd = mkostemp(temp, O_CLOEXEC);
	if (fd < 0)
		goto fail_folder;
	if (fill_and_rename(fd, temp, path, data, len) < 0)
		goto fail_temp;
	io_close(&fd);
	if (fsync(folder) < 0)
		goto fail_folder;
	io_close(&folder);
	return 0;

fail_temp:
	problem = errno;
	io_close(&fd);
	unlink(temp);
	errno = problem;
fail_folder:
	io_close(&folder);
	return -1;
}

/* Read from fd to its end, at most cap bytes, expecting about `expected`. */
static int read_to_end(int fd, size_t cap, size_t expected, void **data, size_t *len)
{
	/* One byte more than expected shows in one go that the end was reached; one more holds the NUL. */
	size_t room = (expected < cap ? expected : cap) + 1;
	size_t done = 0;
	char *bytes = NULL;

	for (;;) {
		char *larger = realloc(bytes, room + 1);
		ssize_t got;

		if (!larger)
			goto fail;
		bytes = larger;
		got = io_read_full(fd, bytes + done, room - done);
		if (got < 0)
			goto fail;
		done += (size_t)got;
		if (done > cap) {
			errno = EFBIG;
			goto fail;
		}
		if (done < room)
			break;
		room = room > cap / 2 ? cap + 1 : room * 2;
	}
	bytes[done] = '\0';
	*data = bytes;
	*len = done;
	return 0;
fail:
	free(bytes);
	return -1;
}

int io_read_file(const char *path, size_t cap, void **data, size_t *len)
{
	struct stat st;
	int result = -1;
	/* O_NONBLOCK: a FIFO of that name must not hang the open. */
	int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);

	if (fd < 0)
		return -1;
	if (cap > SIZE_MAX / 4)
		cap = SIZE_MAX / 4;
	if (fstat(fd, &st) == 0) {
		if (!S_ISREG(st.st_mode))
			errno = S_ISDIR(st.st_mode) ? EISDIR : EINVAL;
		else if ((uint64_t)st.st_size > cap)
			errno = EFBIG;
		else
			result = read_to_end(fd, cap, (size_t)st.st_size, data, len);
	}
	io_close(&fd);
	return result;
}

/* One folder; one that is there already is as good, whatever mkdir says of it (EROFS, EACCES). */
static int make_folder(const char *path, mode_t mode)
{
	struct stat st;
	int problem;

	if (mkdir(path, mode) == 0)
		return 0;
	problem = errno;
	if (stat(path, &st) == 0 && S_ISDIR(st.st_mode))
		return 0;
	errno = problem == EEXIST ? ENOTDIR : problem;
	return -1;
}

int io_mkdirs(const char *path, mode_t mode)
{
	char part[PATH_MAX];
	size_t len = strlen(path);

	if (len == 0 || len >= sizeof(part)) {
		errno = len ? ENAMETOOLONG : ENOENT;
		return -1;
	}
	for (size_t i = 1; i < len; i++) {
		if (path[i] != '/' || path[i - 1] == '/')
			continue;
		memcpy(part, path, i);
		part[i] = '\0';
		if (make_folder(part, mode) < 0)
			return -1;
	}
	return make_folder(path, mode);
}

int io_sealed_memfd(const char *name, size_t len)
{
	int fd = memfd_create(name, MFD_CLOEXEC | MFD_ALLOW_SEALING);

	if (fd >= 0 && (ftruncate(fd, (off_t)len) < 0 ||
			fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL) < 0))
		io_close(&fd);
	return fd;
}

void io_close(int *fd)
{
	int number = errno;

	if (*fd != -1)
		close(*fd);
	*fd = -1;
	errno = number;
}

static uint64_t clock_ns(clockid_t clock)
{
	struct timespec now;

	clock_gettime(clock, &now);
	return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

struct timespec clock_timespec(uint64_t ns)
{
	enum { S = 1000000000 };

	return (struct timespec){.tv_sec = (time_t)(ns / S), .tv_nsec = (long)(ns % S)};
}

uint64_t clock_mono_ns(void)
{
	return clock_ns(CLOCK_MONOTONIC);
}

uint64_t clock_real_ns(void)
{
	return clock_ns(CLOCK_REALTIME);
}
