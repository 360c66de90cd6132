/* vms.h: the VMs that this host knows, as the commands see them. */
#ifndef CLI_VMS_H
#define CLI_VMS_H

#include "common/err.h"
#include "vmm/config.h"
#include "vmm/control.h"
#include "vmm/ledger.h"
#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>

/* How long a VM process may take to answer a question that it answers at once when it is well. */
enum { VMS_STATUS_TIMEOUT_MS = 2000, VMS_ORDER_TIMEOUT_MS = 30000 };

/* One VM: what its process says, else what its ledger says. */
struct vm_view {
	char name[CONFIG_NAME_MAX + 1];
	/* A state of docs/control.md, or one that a VM without a process can have: "handed-over", "pending",
	 * "stopped", "refused", "down" (ran here; its process is gone), "dropped" (a copy that never
	 * started), "empty" (a folder without a record), "damaged" (the ledger cannot be read); or
	 * "not-answering". */
	char state[32];
	bool known;  /* this host has a folder or a process of it */
	bool locked; /* a VM process lives */
	bool answered;
	char uuid[CONFIG_UUID_LEN + 1]; /* "" unknown */
	char peer[LEDGER_PEER_MAX + 1]; /* the other host of a hand-over; "" where none */
	char phase[32];                 /* of a hand-over, as the VM process names it; "" where none */
	char dirty_mode[16];
	uint64_t term, next_term, pid, memory_bytes, cpus,
	    uptime_ms; /* 0 unknown; next_term: of a hand-over */
};

/* vms_view(name, view): never fails: what cannot be learnt shows as such in view->state.  Waits at most
 * VMS_STATUS_TIMEOUT_MS for the VM process; and a moment for one to which nobody listens, since it begins or was killed just now. */
void vms_view(const char *name, struct vm_view *view);
/* vms_view_settled: the same; but a process without a guest (stopped, handed over, dropped) that is on its way out is waited
 * for, 5 s at most: for commands that need the VM's name free. */
void vms_view_settled(const char *name, struct vm_view *view);
/* vms_view_reply: the same, and all that the process said, a new reference; NULL when it did not answer. */
void vms_view_reply(const char *name, struct vm_view *view, json_t **reply);

/* vms_state_text(view, text, size): the state as a person reads it: "handed over to ssh://b". */
const char *vms_state_text(const struct vm_view *view, char *text, size_t size);

/* vms_json(view): an object with every field; null where unknown.  New reference. */
json_t *vms_json(const struct vm_view *view);

/* vms_names(names, count, err): all names, sorted; the caller frees each and the array.  A host without any
 * folder of drover's gives 0 names. */
int vms_names(char ***names, size_t *count, struct err *err);
void vms_free_names(char **names, size_t count);

/* vms_no_process(view, err): ERR_STATE: why there is no process of this VM to talk to, and what helps.  Returns
 * -1. */
int vms_no_process(const struct vm_view *view, struct err *err);

/* vms_connect(control, name, err): control_connect, with the words of vms_no_process. */
int vms_connect(struct control *control, const char *name, struct err *err);

/* vms_order(name, request, timeout_ms, reply, err): connect, one request (reference stolen), its answer (reply
 * may be NULL), close. */
int vms_order(const char *name, json_t *request, int timeout_ms, json_t **reply, struct err *err);

/* vms_await_end(control, name, timeout_ms): whether the VM's process ended within that time; an order to end is answered while
 * it is still closing, and what follows ("run", "forget") must find the VM's name free.  Then what it
 * could not remove is removed: sockets and control groups. */
bool vms_await_end(struct control *control, const char *name, int timeout_ms);

#endif
