/* serve_disks.h: the receiver's side of disks that move with their VM (docs/stream.md, Disks): where the copies are, which epoch they have
 * in common with the sender's, and closing those that arrive.  serve_disks_find is in
 * serve_copies.c.  Internal to migrate/; main thread, unless stated. */
#ifndef MIGRATE_SERVE_DISKS_H
#define MIGRATE_SERVE_DISKS_H

#include "common/err.h"
#include "imagefmt/dvol.h"
#include "migrate/message.h"
#include "vmm/config.h"
#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

struct serve;

struct serve_disk {
	unsigned slot;
	const char *path;    /* here; the configuration's */
	struct dvol *vol;    /* NULL: closed */
	uint64_t written;    /* atomic: bytes since the last flush */
	bool made;           /* there is no epoch yet: worth nothing but for comparing */
	bool compare;        /* it has something to be compared with the sender's, until there is an epoch */
	struct dvol *seed;   /* what it is made of, where it has nothing yet (serve_compare.c); or NULL */
	bool prepared;       /* its head is this session's to change */
	bool diverged;       /* the VM ran here last, and has written what no other host has */
	uint64_t size_bytes; /* the sender's */
	struct dvol_id common, last;
	struct dvol_id closed; /* by this session, and those before it are still there; number 0: none */
};

struct serve_disks {
	struct serve_disk disk[CONFIG_MAX_DEVICES];
	unsigned count;
	bool handed;   /* the VM process has them, or may */
	bool compares; /* the sender can compare */
	bool left;     /* the sender went away, and did not say that it has given up */
};

/* serve_disks_find(serve, begin, err): by what BEGIN says, find or make this host's copies, open them, and put their paths into the
 * session's configuration.  Nothing that was there before is changed.
 * serve_disks_prepare(serve, err): this host has promised to receive the VM: each copy becomes what it was at the epoch that both have.  They become targets
 * of the stream.
 * serve_disks_ready(serve): what READY says of them; a new reference. */
int serve_disks_find(struct serve *serve, const json_t *begin, struct err *err);
int serve_disks_prepare(struct serve *serve, struct err *err);
json_t *serve_disks_ready(const struct serve *serve);

/* serve_compare_open_seed(disk, err): the copy is new: open what somebody may have put beside it to make it of.  In serve_compare.c, as the handler of
 * COMPARE is. */
int serve_compare_open_seed(struct serve_disk *disk, struct err *err);

/* serve_disks_written(serve, volume, bytes, err): pages of a volume were applied.  Any link's thread. */
int serve_disks_written(struct serve *serve, uint16_t volume, uint64_t bytes, struct err *err);
/* serve_disks_close_epoch(serve, last, err): all of the epoch is there: close it on the disks; with the last one the volumes are
 * closed, too. */
int serve_disks_close_epoch(struct serve *serve, bool last, struct err *err);
/* serve_disks_close_point(serve, id, err): it is a point's: closed on every disk, and held by it. */
int serve_disks_close_point(struct serve *serve, struct dvol_id id, struct err *err);
/* serve_disks_tidy(serve): epochs of moves go that a later one replaces.  No link is at work.  It may take longer than a pause: the
 * sender must not be waiting for this host with its guest paused. */
void serve_disks_tidy(struct serve *serve);
/* serve_disks_close(serve): the session is over; no link is at work.  Copies of which there is no epoch are removed, unless the sender just
 * went away: the next session may compare them. */
void serve_disks_close(struct serve *serve);

#endif
