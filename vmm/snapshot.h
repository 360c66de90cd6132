/* snapshot.h: the VM process's part in a snapshot (docs/snapshots.md): the boundary, at which guest and devices stand still; and
 * deleting epochs of the disks, whose one writer it is.  The rest is the client's, whose death costs nothing: it alone
 * holds the userfaultfd, so that the kernel lifts the protection of RAM with it.  All functions: main thread. */
#ifndef VMM_SNAPSHOT_H
#define VMM_SNAPSHOT_H

#include "common/buf.h"
#include "common/err.h"
#include "imagefmt/dvol.h"
#include "vmm/config.h"
#include "vmm/disk_jobs.h"
#include "vmm/machine.h"
#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

struct snapshot {
	struct machine *machine;
	const char *vm;
	bool active;   /* a client makes one */
	bool standing; /* the guest stands still until its end */
	size_t client;
	uint64_t client_serial;
	struct dvol_id id;
	struct disk_jobs closing; /* the disks' epochs */

	/* An epoch that is being deleted, by a thread of its own. */
	bool deleting;
	pthread_t deleter;
	struct dvol_id doomed;
	int delete_status;
	struct err delete_err;
	size_t delete_client;
	uint64_t delete_serial, delete_request;
	int done_fd; /* eventfd: the thread is at its end */
};

/* snapshot_init(snapshot, machine, vm): vm: the VM's name, which stays the caller's.  snapshot_destroy: waits for its threads;
 * before the machine goes; harmless on a zeroed struct. */
int snapshot_init(struct snapshot *snapshot, struct machine *machine, const char *vm, struct err *err);
void snapshot_destroy(struct snapshot *snapshot);

/* What the client gets. */
struct snapshot_boundary {
	struct buf state;   /* the machine's; the caller frees */
	struct buf touched; /* machine_touched_ram; the caller frees */
	int uffd;           /* RAM is protected; -1: the guest stands still instead, why_standing says why */
	struct err why_standing;
	uint64_t paused_ns; /* how long the guest stood still; 0 while it does */
};
/* snapshot_begin(snapshot, id, ram, device, let_run, boundary, err): pause, close the disks' epoch `id`; with `ram` also take the state and
 * protect RAM (device: uffd_device's); then, with let_run and where RAM could be protected, resume.  On failure the guest is as
 * before, and epochs that were closed meanwhile remain.  snapshot_end: waits for the epochs to be durable: -1 with the first
 * that could not; ends the snapshot in any case.  let_run: resume a guest that stands still for it. */
int snapshot_begin(struct snapshot *snapshot, struct dvol_id id, bool ram, int device, bool let_run,
		   struct snapshot_boundary *boundary, struct err *err);
int snapshot_end(struct snapshot *snapshot, bool let_run, struct err *err);

/* snapshot_delete(snapshot, id, err): begin to delete the disks' epoch; done_fd becomes readable, then snapshot_delete_end gives how
 * that ended. */
int snapshot_delete(struct snapshot *snapshot, struct dvol_id id, struct err *err);
int snapshot_delete_end(struct snapshot *snapshot, struct err *err);

#endif
