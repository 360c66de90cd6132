/* serve_points.h: a session that brings recovery points (docs/replication.md): copies of a VM's disks are kept, each epoch of them with a
 * record, and nothing of the VM runs or is promised.  Internal to migrate/; main thread. */
#ifndef MIGRATE_SERVE_POINTS_H
#define MIGRATE_SERVE_POINTS_H

#include "common/err.h"
#include "migrate/frame.h"
#include "vmm/ledger.h"
#include "vmm/snapshot_record.h"
#include "vmm/snapshot_store.h"
#include <jansson.h>
#include <stdbool.h>

struct serve;

struct serve_points {
	bool on;                     /* it is such a session */
	struct ledger ledger;        /* its lock: the VM neither starts nor comes here meanwhile */
	struct snapshot_store store; /* locked, too */
	char job[CONFIG_NAME_MAX + 1], from[193];
	char keep[160];                /* which points stay (retention.h) */
	struct snapshot_record record; /* of the point that comes; id.number 0: POINT has not come yet */
};

/* serve_points_end(serve, frame, err): WHOLE: the sender has heard that his point is here, and sends no other.
 * serve_points_welcome(serve, err): this host may keep points of the VM: nobody else is at it; WELCOME is sent.
 * serve_points_begin(serve, err): BEGIN, and READY: the copies are found or made, and are what they were at the common epoch.
 * serve_points_frame(serve, frame, err): POINT.
 * serve_points_commit(serve, err): all of an epoch is there: it becomes a point, durable with its record.
 * serve_points_close(serve): the volumes are closed: points that the retention does not keep go; so do the locks.  Harmless in
 * other sessions. */
int serve_points_welcome(struct serve *serve, struct err *err);
int serve_points_begin(struct serve *serve, struct err *err);
int serve_points_frame(struct serve *serve, const struct frame *frame, struct err *err);
int serve_points_commit(struct serve *serve, struct err *err);
int serve_points_end(struct serve *serve, const struct frame *frame, struct err *err);
void serve_points_close(struct serve *serve);

#endif
