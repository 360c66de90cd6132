/* replica.h: send one recovery point of a VM to a host that keeps them (docs/replication.md, A cycle). */
#ifndef MIGRATE_REPLICA_H
#define MIGRATE_REPLICA_H

#include "common/err.h"
#include "migrate/move.h"
#include "vmm/snapshot_record.h"

struct replica_options {
	/* Of these: vm, the peer and how to reach it, reconnect_ns, links, packing, bytes_per_s, cancel. */
	struct move_options move;
	const char *uuid; /* of the VM */
	const char *job;
	const char *keep; /* which points the other host shall keep (retention.h) */
	/* cut(arg, record, term, err): make, or choose, the snapshot that is to be sent, and fill its record, which the receiver of the
	 * point gets, and the term that the VM runs under.  Called when the other host is ready for it, and once more if what was sent
	 * of it cannot become whole. */
	int (*cut)(void *arg, struct snapshot_record *record, uint64_t *term, struct err *err);
	void *arg;
};

struct replica_report {
	struct dvol_id point;
	uint64_t boundary_ns; /* the record's time */
	uint64_t connect_ns, cut_ns, total_ns;
	uint64_t pages, bytes; /* on the stream, before encryption */
	uint64_t seed_bytes;   /* of disks that the other host had nothing of */
	unsigned reconnects;
};

/* replica_send(options, observer, report, err): 0: the point is durable there.  -1: it may be there all the same when the link broke at the
 * end; the next one finds out.  In the calling thread; SIGPIPE must be ignored. */
int replica_send(const struct replica_options *options, const struct move_observer *observer,
		 struct replica_report *report, struct err *err);

#endif
