/* kept.h: what a mover leaves to another one that goes on after its death (docs/stream.md, A mover that dies): the set of pages that are due, which
 * is the sender's, and notes.  Both are memory of the VM process's, which lives on; it never reads them.  Internal to migrate/; the
 * mover's thread. */
#ifndef MIGRATE_KEPT_H
#define MIGRATE_KEPT_H

#include "common/err.h"
#include "imagefmt/dvol.h"
#include "vmm/config.h"
#include <stdbool.h>
#include <stdint.h>

struct mover;

struct kept_notes {
	uint32_t listed; /* all of RAM has been due once; the disks' first epoch is acknowledged */
	uint32_t deltas; /* as in struct mover */
	uint32_t disks;
	struct dvol_id id, common; /* as in struct mover_disks */
	struct {
		struct dvol_id at; /* as in struct mover_disk: what it brings is due, or there */
		uint64_t compares, compared;
	} disk[CONFIG_MAX_DEVICES];
};

struct kept_page;

struct kept {
	struct kept_page *page; /* NULL: the VM process keeps nothing */
	int fd;
	bool stays; /* the mover ends, and the move does not */
};

/* kept_begin(mover): the sender has its volumes: from here on the VM process keeps what this mover does.  Where it cannot, the user is
 * told.  kept_end(mover, err): not any more. */
void kept_begin(struct mover *mover);
int kept_end(struct mover *mover, struct err *err);
/* kept_note(mover): what is to be known at this point; nothing where nothing is kept. */
void kept_note(struct mover *mover);
/* kept_map(kept, fd, notes, err): the notes of a mover before; takes fd over on success only.  ERR_INPUT: they make no sense. */
int kept_map(struct kept *kept, int fd, struct kept_notes *notes, struct err *err);
void kept_close(struct kept *kept);

#endif
