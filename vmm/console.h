/* console.h: where the guest's serial output goes: the log file, the last bytes kept for those who come later, and
 * the streams of those who watch. */
#ifndef VMM_CONSOLE_H
#define VMM_CONSOLE_H

#include "common/buf.h"
#include "common/err.h"
#include <pthread.h>
#include <stddef.h>
#include <stdint.h>

enum { CONSOLE_STREAMS = 16, CONSOLE_BACKLOG = 65536 };

struct console {
	pthread_mutex_t lock;
	struct buf pending; /* written by vCPU threads, not yet flushed; under lock */
	int log_fd;
	int wake_fd; /* eventfd: something is pending */
	uint8_t *backlog;
	size_t backlog_len;          /* bytes in it, at most CONSOLE_BACKLOG */
	size_t backlog_end;          /* where the next byte goes */
	int stream[CONSOLE_STREAMS]; /* -1: free */
};

/* console_open(console, dir_fd, err): appends to console.log in the VM's folder. */
int console_open(struct console *console, int dir_fd, struct err *err);
void console_close(struct console *console);

/* console_put: bytes from the guest; any thread; does not block but on the log file when a lot is pending. */
void console_put(struct console *console, const uint8_t *data, size_t len);
/* console_flush: write what is pending to the log and to the watchers.  Main thread.  A watcher that does not
 * read is skipped (the log has it all). */
void console_flush(struct console *console);

/* console_attach(console, backlog_bytes, err): a new watcher; returns its end of the stream, the caller's to give
 * away and close, or -1.  console_detach(console, i): that watcher has gone. */
int console_attach(struct console *console, size_t backlog_bytes, struct err *err);
void console_detach(struct console *console, size_t i);

#endif
