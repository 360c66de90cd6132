/* link_fds.c: a link over two descriptors: pipes, or the socket pair that sshd gives a command. */
#include "migrate/link_io.h"

#include "common/io.h"
#include <errno.h>
#include <fcntl.h>
#include <linux/sockios.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

enum { QUEUE_BYTES = 1 << 20 };

struct fds {
	int in;
	int out; /* may be the same as in */
	bool socket;
	const char *peer;
};

/* Larger queues mean fewer wake-ups.  What the system refuses (limits of unprivileged users) is done without. */
static void enlarge(int fd)
{
	int bytes = QUEUE_BYTES;

	if (fcntl(fd, F_SETPIPE_SZ, bytes) < 0 && errno == EBADF)
		setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &bytes, sizeof(bytes));
}

static int prepare(int fd, struct err *err)
{
	int flags = fcntl(fd, F_GETFL);

	if (flags < 0 || fcntl(fd, F_SETFL, flags | O_NONBLOCK) < 0)
		return err_sys(err, "descriptor %d cannot be used as a link", fd);
	enlarge(fd);
	return 0;
}

void *fds_open(int in, int out, const char *peer, struct err *err)
{
	struct fds *fds;
	struct stat st;

	if (prepare(in, err) < 0 || prepare(out, err) < 0)
		return NULL;
	fds = malloc(sizeof(*fds));
	if (!fds) {
		err_sys(err, "cannot allocate a link");
		return NULL;
	}
	*fds = (struct fds){.in = in, .out = out, .peer = peer};
	fds->socket = fstat(out, &st) == 0 && S_ISSOCK(st.st_mode);
	return fds;
}

static ssize_t fds_write(void *io, const uint8_t *data, size_t len, struct err *err)
{
	const struct fds *fds = io;
	ssize_t put = fds->socket ? send(fds->out, data, len, MSG_NOSIGNAL) : write(fds->out, data, len);

	if (put >= 0)
		return put;
	if (errno == EAGAIN || errno == EINTR)
		return 0;
	if (errno == EPIPE || errno == ECONNRESET)
		return err_set(err, ERR_LINK, "the connection to %s ended", fds->peer);
	err_sys(err, "cannot write to %s", fds->peer);
	err->kind = ERR_LINK;
	return -1;
}

static ssize_t fds_read(void *io, uint8_t *data, size_t cap, struct err *err)
{
	const struct fds *fds = io;
	ssize_t got;

	if (cap == 0)
		return 0;
	got = read(fds->in, data, cap);
	if (got > 0)
		return got;
	if (got == 0 || errno == ECONNRESET)
		return LINK_IO_END;
	if (errno == EAGAIN || errno == EINTR)
		return 0;
	err_sys(err, "cannot read from %s", fds->peer);
	err->kind = ERR_LINK;
	return -1;
}

static bool fds_pending(void *io)
{
	(void)io;
	return false;
}

static size_t fds_poll_set(void *io, bool reading, bool writing, struct pollfd set[LINK_IO_FDS])
{
	const struct fds *fds = io;
	short in = reading ? POLLIN : 0;
	short out = writing ? POLLOUT : 0;
	size_t n = 0;

	if (fds->in == fds->out) {
		set[n++] = (struct pollfd){.fd = fds->in, .events = (short)(in | out)};
		return n;
	}
	/* A descriptor that is not wanted is left out: its end would wake every poll. */
	if (in)
		set[n++] = (struct pollfd){.fd = fds->in, .events = in};
	if (out)
		set[n++] = (struct pollfd){.fd = fds->out, .events = out};
	return n;
}

static long fds_queued(void *io)
{
	const struct fds *fds = io;
	int bytes = 0;

	if (ioctl(fds->out, fds->socket ? SIOCOUTQ : FIONREAD, &bytes) < 0)
		return 0;
	return bytes;
}

static void fds_explain(void *io, struct err *err)
{
	(void)io;
	(void)err;
}

static void fds_cut(void *io)
{
	struct fds *fds = io;

	/* A shell that started this process may hold the same socket: closing alone would not tell the other side. */
	if (fds->socket && fds->out >= 0)
		(void)shutdown(fds->out, SHUT_RDWR);
	if (fds->out != fds->in)
		io_close(&fds->out);
	io_close(&fds->in);
	fds->out = -1;
}

static void fds_close(void *io)
{
	fds_cut(io);
	free(io);
}

const struct link_ops fds_ops = {
    .write = fds_write,
    .read = fds_read,
    .pending = fds_pending,
    .poll_set = fds_poll_set,
    .queued = fds_queued,
    .explain = fds_explain,
    .cut = fds_cut,
    .close = fds_close,
};
