/* ssh_tcp.c: the TCP connection below SSH.
 *
 * libssh would make one itself, but tries only the first address of a name ("localhost" as ::1 where sshd listens on
 * 127.0.0.1 alone) and says little of why it failed. */
#include "common/io.h"
#include "migrate/ssh_internal.h"
#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

/* The peer is taken for dead after 5 + 3 x 5 s without a sign of it; the stream's own stall limit is shorter or
 * equal, but does not run while nothing is to be sent. */
static void set_options(int fd)
{
	static const struct {
		int level;
		int name;
		int value;
	} options[] = {
	    {IPPROTO_TCP, TCP_NODELAY, 1},   {SOL_SOCKET, SO_KEEPALIVE, 1}, {IPPROTO_TCP, TCP_KEEPIDLE, 5},
	    {IPPROTO_TCP, TCP_KEEPINTVL, 5}, {IPPROTO_TCP, TCP_KEEPCNT, 3},
	};

	for (size_t i = 0; i < sizeof(options) / sizeof(*options); i++)
		setsockopt(fd, options[i].level, options[i].name, &options[i].value,
			   sizeof(options[i].value));
}

/* Wait for a connect that is under way.  Returns 0 or an errno. */
static int wait_connected(int fd, uint64_t deadline)
{
	struct pollfd set = {.fd = fd, .events = POLLOUT};
	socklen_t len = sizeof(int);
	int error = 0;

	for (;;) {
		uint64_t now = clock_mono_ns();
		int rc;

		if (now >= deadline)
			return ETIMEDOUT;
		rc = poll(&set, 1, (int)((deadline - now) / 1000000) + 1);
		if (rc < 0 && errno != EINTR)
			return errno;
		if (rc > 0)
			break;
	}
	return getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &len) < 0 ? errno : error;
}

/* Returns the descriptor, or -1 with errno. */
static int connect_one(const struct addrinfo *address, uint64_t deadline, struct ssh_attempt *attempt)
{
	int fd = socket(address->ai_family, address->ai_socktype | SOCK_CLOEXEC | SOCK_NONBLOCK,
			address->ai_protocol);
	int error;

	if (fd < 0)
		return -1;
	error = connect(fd, address->ai_addr, address->ai_addrlen) < 0 ? errno : 0;
	/* Not before: what was shut down unconnected could still be connected. */
	ssh_attempt_socket(attempt, fd);
	if (error == EINPROGRESS)
		error = wait_connected(fd, deadline);
	if (!error) {
		set_options(fd);
		return fd;
	}
	close(fd);
	errno = error;
	return -1;
}

int ssh_tcp_connect(const char *host, unsigned port, unsigned timeout_ms, struct ssh_attempt *attempt,
		    struct err *err)
{
	const struct addrinfo hints = {
	    .ai_family = AF_UNSPEC, .ai_socktype = SOCK_STREAM, .ai_flags = AI_NUMERICSERV};
	uint64_t deadline = clock_mono_ns() + timeout_ms * 1000000ull;
	struct addrinfo *list = NULL;
	char service[8];
	int fd = -1;
	int rc;

	snprintf(service, sizeof(service), "%u", port);
	rc = getaddrinfo(host, service, &hints, &list);
	if (rc != 0)
		return err_set(err, ERR_LINK, "host %s is not known: %s", host,
			       rc == EAI_SYSTEM ? strerror(errno) : gai_strerror(rc));
	for (const struct addrinfo *address = list; address && fd < 0; address = address->ai_next)
		fd = connect_one(address, deadline, attempt);
	if (fd < 0)
		err_set(err, ERR_LINK, "cannot reach %s on port %u: %s", host, port, strerror(errno));
	freeaddrinfo(list);
	return fd;
}
