/* cycle.h: one cycle of a job: a boundary here, the point of it there (docs/replication.md, A cycle). */
#ifndef REPLICATE_CYCLE_H
#define REPLICATE_CYCLE_H

#include "migrate/replica.h"
#include "replicate/job.h"

/* cycle_run(job, cancel, observer, report, err): the caller holds the job's lock.  What comes of it is in the job's state and events also when
 * it fails.  0: the point is durable there. */
int cycle_run(const struct job *job, const volatile sig_atomic_t *cancel,
	      const struct move_observer *observer, struct replica_report *report, struct err *err);

#endif
