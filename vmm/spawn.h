/* spawn.h: start a VM process (the program drover-vm) for a new or an incoming VM. */
#ifndef VMM_SPAWN_H
#define VMM_SPAWN_H

#include "common/buf.h"
#include "common/err.h"
#include "imagefmt/dvol.h"
#include "vmm/config.h"
#include "vmm/control.h"
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

enum { SPAWN_FD = 3 }; /* the descriptor on which drover-vm finds its socket */

/* What an incoming VM is started with, besides its configuration. */
struct spawn_incoming {
	uint64_t term;       /* the term that it will run under */
	const char *session; /* hand-over attempt */
	const json_t
	    *cpu; /* what the guest saw of its CPU so far (machine_cpu_json): this host must offer as much */
	const char *peer; /* where it comes from, for status; may be "" */
	bool paused;      /* by the user: stays so when it starts here */
	int ram_fd;       /* memfd that serve fills; borrowed */
};

/* What a VM is started with that goes on where a snapshot was taken. */
struct spawn_restore {
	const char *ram; /* volume with the RAM */
	struct dvol_id epoch;
	const json_t *cpu; /* as of an incoming one */
	bool paused;
	const struct buf *state; /* the machine's */
};

/* spawn_vm(config, incoming, control, pid, err): start drover-vm in a session of its own (it outlives the
 * caller), send it the configuration over a socket pair, and wait until the machine is made: booting is next,
 * for a new VM (incoming NULL: the guest runs when this returns), or waiting for state and commit. *control
 * speaks with it over the socket pair; the VM process of an incoming VM ends when that closes before commit.
 * *pid may be NULL.  On failure nothing is left running and *err says what the VM process said. */
int spawn_vm(const struct vm_config *config, const struct spawn_incoming *incoming, struct control *control,
	     pid_t *pid, struct err *err);
/* spawn_restored(config, restore, control, pid, why_read, err): as spawn_vm for a new VM, whose guest runs (or is paused) as the snapshot has
 * it.  why_read[ERR_TEXT]: "" when RAM comes while the guest runs already, else why all of it was read first. */
int spawn_restored(const struct vm_config *config, const struct spawn_restore *restore,
		   struct control *control, pid_t *pid, char why_read[ERR_TEXT], struct err *err);

#endif
