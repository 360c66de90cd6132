/* jail.h: what the VM process gives up once it holds all that it needs (docs/isolation.md). */
#ifndef VMM_JAIL_H
#define VMM_JAIL_H

#include "common/err.h"
#include <jansson.h>
#include <stdbool.h>
#include <sys/types.h>

/* What a host may deny.  Capabilities and the filter of system calls are there always. */
enum jail_part {
	JAIL_USER, /* root's: a user id that no other VM has; an ordinary user's: a user namespace */
	JAIL_MOUNT,
	JAIL_PID, /* made by spawn_vm */
	JAIL_NET,
	JAIL_IPC,
	JAIL_UTS,
	JAIL_PARTS
};

struct jail {
	bool has[JAIL_PARTS];
	bool entered;
};

/* jail_enter(jail, err): from its return on this process is a user of its own in namespaces of its own, without a file
 * system, without environment and capabilities, and can make the system calls of jail_filter.c only.  What is open stays open.
 * Before the process's first thread: threads made later inherit all of it; ERR_STATE, and nothing done, where there is one
 * already.  There is no way back.
 * A part that the host denies is missing from jail->has, and named in the log; -1 with *err when capabilities cannot be
 * dropped or system calls not be filtered: such a process must not meet a guest.  Then, too, there is no way back. */
int jail_enter(struct jail *jail, struct err *err);

/* jail_json(jail): {"has": [names], "lacks": [names]}, a new reference. */
json_t *jail_json(const struct jail *jail);

#endif
