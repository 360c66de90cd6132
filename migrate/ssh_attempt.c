/* ssh_attempt.c: giving up a connection that another thread is making.
 *
 * That thread waits inside libssh, which looks at nothing but its socket: so the socket is shut down.  Under a descriptor of
 * our own, since libssh closes its descriptor when it likes, and the number may be another file's by then. */
#include "common/io.h"
#include "migrate/ssh_internal.h"

#include <fcntl.h>
#include <sys/socket.h>

void ssh_attempt_open(struct ssh_attempt *attempt)
{
	*attempt = (struct ssh_attempt){.fd = -1};
	pthread_mutex_init(&attempt->lock, NULL);
}

void ssh_attempt_socket(struct ssh_attempt *attempt, int fd)
{
	if (!attempt)
		return;
	pthread_mutex_lock(&attempt->lock);
	io_close(&attempt->fd);
	if (attempt->given_up)
		shutdown(fd, SHUT_RDWR);
	else
		attempt->fd = fcntl(fd, F_DUPFD_CLOEXEC, 0);
	pthread_mutex_unlock(&attempt->lock);
}

void ssh_attempt_end(struct ssh_attempt *attempt)
{
	pthread_mutex_lock(&attempt->lock);
	io_close(&attempt->fd);
	pthread_mutex_unlock(&attempt->lock);
}

void ssh_attempt_give_up(struct ssh_attempt *attempt)
{
	pthread_mutex_lock(&attempt->lock);
	attempt->given_up = true;
	if (attempt->fd >= 0)
		shutdown(attempt->fd, SHUT_RDWR);
	pthread_mutex_unlock(&attempt->lock);
}

void ssh_attempt_close(struct ssh_attempt *attempt)
{
	ssh_attempt_end(attempt);
	pthread_mutex_destroy(&attempt->lock);
}
