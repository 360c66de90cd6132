/* link_io.h: what carries the bytes of a link; inside migrate/ only.
 *
 * An implementation never blocks: link.c polls, for all of them alike.  Every function runs in the thread that uses
 * the link. */
#ifndef MIGRATE_LINK_IO_H
#define MIGRATE_LINK_IO_H

#include "common/err.h"
#include "migrate/ssh.h"
#include <poll.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

enum { LINK_IO_END = -2, LINK_IO_FDS = 2 };

struct link_ops {
	/* take up to len bytes: how many were taken; 0 none now: poll; -1 with *err (ERR_LINK) */
	ssize_t (*write)(void *io, const uint8_t *data, size_t len, struct err *err);
	/* bytes that arrived: how many; 0 none now: poll; LINK_IO_END the other side sends no more, NOT an error;
	 * -1 with *err.  cap 0: only let the implementation's own protocol go on; returns 0 then. */
	ssize_t (*read)(void *io, uint8_t *data, size_t cap, struct err *err);
	/* bytes were taken that the operating system does not have yet */
	bool (*pending)(void *io);
	/* what to poll for, to be able to read (if so wanted) or write; returns how many entries.  One with descriptor -1: there is
	 * nothing left to wait for, and read says why. */
	size_t (*poll_set)(void *io, bool reading, bool writing, struct pollfd fds[LINK_IO_FDS]);
	/* a number that changes when the other side takes bytes out of the operating system's queue; any when unknown */
	long (*queued)(void *io);
	/* nanoseconds of a round trip, the shortest that was measured; NULL: not known */
	uint64_t (*rtt)(void *io);
	/* measure once more, which blocks, as long as it took to connect at most; with rtt */
	void (*measure)(void *io);
	/* the link ended or what came on it is no stream: append what is known of the cause to err->text.
	 * May wait for it, for a second at most. */
	void (*explain)(void *io, struct err *err);
	void (*cut)(void *io);
	void (*close)(void *io);
};

/* fds_open: see link_open_fds.  ssh_open: see link_open_ssh; *peer is a name of the host that lives as long as it.
 * NULL with *err. */
extern const struct link_ops fds_ops;
void *fds_open(int in, int out, const char *peer, struct err *err);
extern const struct link_ops ssh_ops;
void *ssh_open(const struct ssh_target *target, const char **peer, struct err *err);

#endif
