/* permit.h: what a sender may ask of `drover serve`: which VMs, and which actions; as a forced command says. */
#ifndef MIGRATE_PERMIT_H
#define MIGRATE_PERMIT_H

#include "common/err.h"
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* What a session is for. */
enum permit_action {
	PERMIT_MOVE = 1,      /* bring a VM here */
	PERMIT_OUTCOME = 2,   /* ask how a hand-over ended */
	PERMIT_CHECK = 4,     /* ask what this host is like */
	PERMIT_REPLICATE = 8, /* keep copies of a VM here, which do not run */
	PERMIT_ALL = 15,
};
extern const char *const permit_words[]; /* "move", "outcome", "check", "replicate", NULL: bit n */

struct permit {
	const char *const *vms; /* names, or patterns with * and ?; none at all: any VM */
	size_t nvms;
	unsigned actions;
	const char
	    *disks; /* a folder for the disks of VMs that come; NULL: each VM's own in the state folder */
	/* What a VM that comes may have of this host by a name of the sender's: */
	const char *const *images; /* files, and folders with all below them, that it may read */
	size_t nimages;
	const char *const *taps; /* names, or patterns; none at all: any */
	size_t ntaps;
	uint64_t memory_max; /* bytes of RAM; 0: as much as the host has */
};

/* permit_actions(words, n, &actions, err): none at all: all of them.  ERR_USAGE for another word. */
int permit_actions(const char *const *words, size_t n, unsigned *actions, struct err *err);
/* permit_check(permit, action, vm, err): 0, or -1 with ERR_REFUSED.  Of several actions one will do.  vm NULL: the action is about none. */
int permit_check(const struct permit *permit, enum permit_action action, const char *vm, struct err *err);
/* permit_tap(permit, tap): a VM that comes may be connected to that interface.
 * permit_names(permit, path): its path is that of an image, or below one, as it is written.  permit_reads(permit, path): there is such a file,
 * and it is where its path says, links followed on both sides. */
bool permit_tap(const struct permit *permit, const char *tap);
bool permit_names(const struct permit *permit, const char *path);
bool permit_reads(const struct permit *permit, const char *path);

#endif
