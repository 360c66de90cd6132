/* vmproc.h: the VM process: one event loop around one machine.
 *
 * The main thread does everything but running vCPUs: it answers the control socket (requests.c), keeps the
 * hand-over (handover.c) and moves console bytes.  vCPU threads reach it through two eventfds only. */
#ifndef VMM_VMPROC_H
#define VMM_VMPROC_H

#include "common/io.h"
#include "vmm/config.h"
#include "vmm/console.h"
#include "vmm/control.h"
#include "vmm/handover.h"
#include "vmm/jail.h"
#include "vmm/ledger.h"
#include "vmm/machine.h"
#include "vmm/pager.h"
#include "vmm/postcopy.h"
#include "vmm/snapshot.h"
#include "vmm/spawn.h"
#include <jansson.h>
#include <stdatomic.h>

enum { VMPROC_CLIENTS = 32 };

struct client {
	int fd;          /* -1: free slot */
	uint64_t serial; /* tells two clients of one slot apart */
	bool subscribed;
	bool is_mover;
	bool is_parent; /* the socket pair that this process was started with */
	json_t
	    *parked; /* its request that waits until all of RAM is there; it is not listened to meanwhile */
};

/* A dirty-rate measurement that runs: answered when it is over. */
struct rate_sample {
	bool active;
	size_t client;
	uint64_t client_serial;
	uint64_t request_id;
	uint64_t started, ends; /* CLOCK_MONOTONIC ns */
	struct pageset pages;
};

/* The epoch that the disks' volumes get for a mover (requests_epoch.c). */
struct move_epoch {
	struct disk_jobs jobs;
	bool active; /* they have not ended */
	struct dvol_id id;
	struct dvol_id keep;     /* of the move's earlier ones, from this one on; number 0: all */
	bool last;               /* the guest stands still */
	struct dvol_id unmarked; /* the last one of a move that came to nothing: not marked as a move's yet */
	const char *vm;
	struct err result; /* once it is not active; kind ERR_NONE: closed */
	bool waiting;      /* a request for it is to be answered */
	size_t client;
	uint64_t client_serial, request_id;
};

/* What a mover leaves to one that goes on after it (requests_kept.c).  The VM process itself reads none of it. */
struct kept_move {
	struct pageset due; /* words NULL: nothing is kept for anybody */
	int notes_fd;
	uint64_t term;
	char session[LEDGER_SESSION_LEN + 1];
	char peer[LEDGER_PEER_MAX + 1]; /* its URL */
};

struct vmproc {
	struct vm_config config;
	struct machine *machine;
	struct ledger ledger;
	struct console console;
	struct handover handover;
	struct jail jail;
	uid_t starter; /* who may ask for anything, besides root */
	struct rate_sample rate;
	struct snapshot snapshot;
	struct move_epoch move_epoch;
	struct kept_move kept;
	struct pager pager;       /* of a restored guest */
	struct postcopy postcopy; /* of one that runs before all of its RAM has come */
	int uffd_device;          /* opened while this process still may */
	struct client client[VMPROC_CLIENTS];
	uint64_t next_serial;
	int listen_fd;
	int signal_fd;
	const int
	    *taps; /* while it is made: descriptors of taps, borrowed, in the order of the request's "taps" */
	size_t ntaps;
	uint64_t started_ns;
	json_t *limits; /* what the starter says of its limits; NULL: it has none */
	uint64_t
	    input_retry_ns; /* typed bytes found the guest's queue full: not before this time again; 0 none */
	bool known_before;  /* the ledger had a record when this process came */
	bool ledger_mine;   /* the ledger's record is about this process */
	char state_told[16]; /* the last state that subscribers heard of */

	/* Set by a vCPU thread, read by the main thread after end_fd was written. */
	int end_fd;
	enum machine_end end_why;
	char end_detail[256];

	bool quit; /* leave the loop once the answers are sent */
	const char *quit_why;
	char quit_detail[256];
	int exit_status;
};

/* vmproc_run(fd): the whole life of a VM process that was started with the socket pair end fd: the `start`
 * request, the loop, the end.  Returns the exit status. */
int vmproc_run(int fd);

/* For requests.c: */

/* What an answer carries back besides JSON. */
struct answer {
	json_t *ok;               /* NULL: an empty object */
	int fds[CONTROL_MAX_FDS]; /* sent along */
	size_t nfds;
	bool close_fds; /* they were made for this answer */
	bool later;     /* no answer now: somebody kept the request id */
};

typedef int vmproc_handler(struct vmproc *vm, struct client *client, const json_t *request, int fd,
			   struct answer *answer, struct err *err);

/* requests_handle(vm, client, request, fd, answer, err): do what request asks; fd is what came with it or -1
 * (borrowed).  Returns 0 with *answer, or -1 with *err. */
int requests_handle(struct vmproc *vm, struct client *client, const json_t *request, int fd,
		    struct answer *answer, struct err *err);

/* What snapshots need (requests_snapshot.c). */
vmproc_handler do_snapshot_begin, do_snapshot_end, do_epoch_delete;
/* requests_snapshot_gone: the client that made a snapshot is gone.  requests_epoch_deleted: the answer to epoch-delete is due. */
void requests_snapshot_gone(struct vmproc *vm);
void requests_epoch_deleted(struct vmproc *vm);
/* What a move does to the disks (requests_epoch.c).  requests_last_epoch(vm, request, err): the guest has been paused by this request: close
 * the epoch that it names, if it names one.  requests_epoch_closed: the threads are at their end.  requests_settle_disks: the guest, which came here,
 * runs. */
vmproc_handler do_epoch_close;
int requests_last_epoch(struct vmproc *vm, const json_t *request, struct err *err);
void requests_epoch_closed(struct vmproc *vm);
void requests_settle_disks(struct vmproc *vm);
/* Moves whose mover dies (requests_kept.c).  requests_kept_tick: let go of what nobody can go on with any more.  requests_kept_json: for
 * `status`; new reference, NULL: nothing is kept. */
vmproc_handler do_keep, do_go_on, do_leave;
void requests_kept_tick(struct vmproc *vm);
json_t *requests_kept_json(const struct vmproc *vm);
/* What post-copy needs (requests_postcopy.c). */
vmproc_handler do_postcopy_begin, do_postcopy_end, do_handover_lent;
/* requests_ram_is_coming: pages of a guest's RAM may still be missing.  requests_postcopy_json: for `status`; new reference. */
bool requests_ram_is_coming(const struct vmproc *vm);
json_t *requests_postcopy_json(const struct vmproc *vm);
/* requests_check_idle(vm, err): nobody moves, copies or measures this VM; ERR_STATE with what is under way. */
int requests_check_idle(const struct vmproc *vm, struct err *err);
/* vmproc_read_state(fd, state, err): a machine state that came as a file, appended to *state; the caller frees. */
int vmproc_read_state(int fd, struct buf *state, struct err *err);
/* vmproc_memfd(name, data, len, err): a memfd with that content, the caller's; or -1. */
int vmproc_memfd(const char *name, const void *data, size_t len, struct err *err);
/* vmproc_answer: an answer that came later: to the client in slot `client`, if it is still the one with that serial. */
void vmproc_answer(struct vmproc *vm, size_t client, uint64_t serial, uint64_t request_id, json_t *ok,
		   const struct err *err);

/* vmproc_make(vm, start, start_fd, owner, err): the `start` request (vmproc_make.c): ledger, machine, control socket; then this process
 * gives up its rights, and a guest that is not to wait runs.  start_fd: what came with it (RAM, or a snapshot's machine state), or -1. */
int vmproc_make(struct vmproc *vm, const json_t *start, int start_fd, const struct machine_owner *owner,
		struct err *err);
/* vmproc_ram_is_there(vm): all of RAM is there: who waited for that gets his answer. */
void vmproc_ram_is_there(struct vmproc *vm);
/* vmproc_quit(vm, why, detail, status): end the process once the present answer is out. */
void vmproc_quit(struct vmproc *vm, const char *why, const char *detail, int status);
void vmproc_end_rate(struct vmproc *vm); /* stop the sample, answer it */

#endif
