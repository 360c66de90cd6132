/* spawn.h: start a VM process (the program drover-vm) for a new or an incoming VM. */
#ifndef VMM_SPAWN_H
#define VMM_SPAWN_H

#include "common/err.h"
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

/* spawn_vm(config, incoming, control, pid, err): start drover-vm in a session of its own (it outlives the
 * caller) and, where the host allows it, a pid namespace of its own, send it the configuration over a socket pair, and wait until the machine is made: booting is next,
 * for a new VM (incoming NULL: the guest runs when this returns), or waiting for state and commit. *control
 * speaks with it over the socket pair; the VM process of an incoming VM ends when that closes before commit.
 * *pid may be NULL.  On failure nothing is left running and *err says what the VM process said. */
int spawn_vm(const struct vm_config *config, const struct spawn_incoming *incoming, struct control *control,
	     pid_t *pid, struct err *err);

#endif
