/* mover_disks.h: the sender's side of disks that move with their VM (docs/stream.md, Disks).
 *
 * In each epoch of the stream the VM process closes an epoch on every disk; it is opened here, and what differs from the one before
 * becomes what the sender has to do.  Internal to migrate/; the mover's thread. */
#ifndef MIGRATE_MOVER_DISKS_H
#define MIGRATE_MOVER_DISKS_H

#include "common/err.h"
#include "imagefmt/dvol.h"
#include "migrate/kept.h"
#include "migrate/message.h"
#include "migrate/sender.h"
#include "vmm/config.h"
#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

struct mover;

struct mover_disk {
	unsigned slot;
	const char *path; /* the configuration's */
	uint64_t size_bytes;
	uint64_t seed_bytes;
	bool seeds;    /* the other host has nothing of it */
	bool compares; /* it has something, but no epoch: blocks from `compared` on are to be compared yet */
	uint64_t compared;
	struct dvol_id at;  /* the epoch that was sent, or is; at first the common one; number 0: none */
	struct dvol *epoch; /* open on it; NULL before the first one */
};

struct mover_disks {
	/* How an epoch is closed; disks.id is its name then.  NULL: the VM process does it, for a mover. */
	int (*cut)(struct mover *mover, struct err *err);
	struct mover_disk disk[CONFIG_MAX_DEVICES];
	unsigned count;
	struct dvol_id id; /* of the last epoch that was closed, or is being */
	bool turned;       /* it is what is read, and what it brings is to do */
	struct dvol_id
	    common;         /* the newest that the receiver has closed, too; number 0: none of this move's */
	uint64_t closed_ns; /* when `id` was, CLOCK_MONOTONIC; 0: not yet */
	uint64_t pages_per_s; /* that the guest writes, by the last epoch */
};

/* mover_disks_learn(mover, err): which there are, by the VM's configuration, and what BEGIN says of them: a new reference; NULL with *err.
 * mover_disks_ready(mover, ready, err): what READY says of the other host's copies. */
json_t *mover_disks_learn(struct mover *mover, struct err *err);
int mover_disks_ready(struct mover *mover, const json_t *ready, struct err *err);
/* mover_disks_recall(mover, notes, err): in place of both, for a mover that goes on after another one. */
int mover_disks_recall(struct mover *mover, const struct kept_notes *notes, struct err *err);
/* mover_disks_add(mover, err): they become volumes of the sender. */
int mover_disks_add(struct mover *mover, struct err *err);
/* mover_compare(mover, i, err): what differs from the other host's copy of disk i becomes its todo; goes on where it was left.  In
 * mover_compare.c. */
int mover_compare(struct mover *mover, unsigned i, struct err *err);
/* mover_disks_seed(mover, err): the epoch that is of disks alone; nothing where there are none. */
int mover_disks_seed(struct mover *mover, struct err *err);

/* For an epoch of the stream that begins, or goes on.  mover_disks_begin(mover, goes_on, err): close the disks' epoch, and list what is to be
 * sent of it.  The last epoch's is closed while the guest stands still: mover_disks_last(mover, request): its name goes into the
 * request that pauses; mover_disks_rest(mover, err): send it, within the epoch of the stream that is open.  Should that epoch not
 * become the last one after all it goes on as any other. */
int mover_disks_begin(struct mover *mover, bool goes_on, struct err *err);
void mover_disks_last(struct mover *mover, json_t *request);
int mover_disks_rest(struct mover *mover, struct err *err);
/* mover_disks_acked(mover, ack): an epoch is acknowledged. */
void mover_disks_acked(struct mover *mover, const struct message_ack *ack);
/* mover_disks_expected(mover): pages that the guest has likely written since the last epoch was closed. */
uint64_t mover_disks_expected(const struct mover *mover);

/* mover_disks_settle(mover): the guest runs there, and the VM process here has ended: of the move's epochs the last one stays. */
void mover_disks_settle(struct mover *mover);
void mover_disks_close(struct mover *mover);

#endif
