#include "vmm/console.h"

#include "common/io.h"
#include "common/log.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

/* From here on a vCPU thread writes to the log itself, so that what is pending stays bounded. */
enum { PENDING_MAX = 256 << 10 };

int console_open(struct console *console, int dir_fd, struct err *err)
{
	*console = (struct console){.lock = PTHREAD_MUTEX_INITIALIZER, .log_fd = -1, .wake_fd = -1};
	for (size_t i = 0; i < CONSOLE_STREAMS; i++)
		console->stream[i] = -1;
	console->log_fd =
	    openat(dir_fd, "console.log", O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
	if (console->log_fd < 0)
		return err_sys(err, "cannot open the VM's console.log");
	console->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	console->backlog = malloc(CONSOLE_BACKLOG);
	if (console->wake_fd < 0 || !console->backlog) {
		err_sys(err, "cannot set up the console");
		console_close(console);
		return -1;
	}
	return 0;
}

void console_close(struct console *console)
{
	for (size_t i = 0; i < CONSOLE_STREAMS; i++)
		io_close(&console->stream[i]);
	io_close(&console->log_fd);
	io_close(&console->wake_fd);
	free(console->backlog);
	console->backlog = NULL;
	buf_free(&console->pending);
}

/* Called with the lock held.  A full disk must not stop the guest: the loss is said once and the rest goes on. */
static void write_log(struct console *console)
{
	static bool said;

	if (console->pending.len > 0 &&
	    io_write_full(console->log_fd, console->pending.data, console->pending.len) && !said) {
		said = true;
		log_warning("console.log: %s; console output is being lost", strerror(errno));
	}
}

static void keep_backlog(struct console *console, const uint8_t *data, size_t len)
{
	if (len > CONSOLE_BACKLOG) {
		data += len - CONSOLE_BACKLOG;
		len = CONSOLE_BACKLOG;
	}
	while (len > 0) {
		size_t part = CONSOLE_BACKLOG - console->backlog_end;

		if (part > len)
			part = len;
		memcpy(console->backlog + console->backlog_end, data, part);
		console->backlog_end = (console->backlog_end + part) % CONSOLE_BACKLOG;
		console->backlog_len += part;
		data += part;
		len -= part;
	}
	if (console->backlog_len > CONSOLE_BACKLOG)
		console->backlog_len = CONSOLE_BACKLOG;
}

/* Called with the lock held. */
static void drain(struct console *console)
{
	write_log(console);
	keep_backlog(console, console->pending.data, console->pending.len);
	for (size_t i = 0; i < CONSOLE_STREAMS; i++)
		if (console->stream[i] >= 0)
			(void)send(console->stream[i], console->pending.data, console->pending.len,
				   MSG_DONTWAIT | MSG_NOSIGNAL);
	buf_clear(&console->pending);
}

void console_put(struct console *console, const uint8_t *data, size_t len)
{
	bool first;

	pthread_mutex_lock(&console->lock);
	first = console->pending.len == 0;
	buf_put(&console->pending, data, len);
	if (console->pending.len > PENDING_MAX)
		drain(console);
	pthread_mutex_unlock(&console->lock);
	if (first)
		(void)eventfd_write(console->wake_fd, 1);
}

void console_flush(struct console *console)
{
	eventfd_t ignored;

	(void)eventfd_read(console->wake_fd, &ignored);
	pthread_mutex_lock(&console->lock);
	drain(console);
	pthread_mutex_unlock(&console->lock);
}

static void send_backlog(struct console *console, int fd, size_t wanted)
{
	size_t len = wanted < console->backlog_len ? wanted : console->backlog_len;
	size_t from = (console->backlog_end + CONSOLE_BACKLOG - len) % CONSOLE_BACKLOG;

	while (len > 0) {
		size_t part = CONSOLE_BACKLOG - from < len ? CONSOLE_BACKLOG - from : len;

		if (send(fd, console->backlog + from, part, MSG_DONTWAIT | MSG_NOSIGNAL) < 0)
			return;
		from = (from + part) % CONSOLE_BACKLOG;
		len -= part;
	}
}

int console_attach(struct console *console, size_t backlog_bytes, struct err *err)
{
	int pair[2];

	for (size_t i = 0; i < CONSOLE_STREAMS; i++) {
		if (console->stream[i] >= 0)
			continue;
		if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair))
			return err_sys(err, "cannot make a console stream");
		console_flush(console);
		send_backlog(console, pair[0], backlog_bytes);
		console->stream[i] = pair[0];
		return pair[1];
	}
	return err_set(err, ERR_STATE, "%d consoles are open already; close one of them", CONSOLE_STREAMS);
}

void console_detach(struct console *console, size_t i)
{
	pthread_mutex_lock(&console->lock);
	io_close(&console->stream[i]);
	pthread_mutex_unlock(&console->lock);
}
