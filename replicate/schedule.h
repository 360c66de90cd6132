/* schedule.h: when cycles of replication begin.  Pure: all times are nanoseconds of a clock that does not jump (CLOCK_BOOTTIME), given by
 * the caller.  docs/replication.md, "When a cycle begins". */
#ifndef REPLICATE_SCHEDULE_H
#define REPLICATE_SCHEDULE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { SCHEDULE_HISTORY = 8 };
#define SCHEDULE_NEVER UINT64_MAX

struct schedule_job {
	uint64_t rpo_ns; /* the age that the newest point may reach; not 0 */
	int priority;    /* higher ones go first */
	bool paused;
	uint64_t not_before_ns; /* a window opens then; 0: one is open */

	/* What has come of it; the functions below. */
	bool running;
	uint64_t wanted_ns;                 /* the one that runs was due then */
	uint64_t ended_ns;                  /* the last one, however; 0: none has */
	uint64_t since_ns;                  /* when it was made, resumed, or found by a new daemon */
	uint64_t place_ns;                  /* after that, the first cycle */
	uint64_t boundary_ns;               /* of the newest point; 0: there is none */
	uint64_t retry_ns;                  /* a failed one is tried again then; 0: none has failed */
	unsigned failures;                  /* one after the other */
	uint64_t took_ns[SCHEDULE_HISTORY]; /* the latest, the wait for a turn included */
	unsigned cycles;                    /* that were committed */
	unsigned missed;                    /* objectives */
	uint64_t missed_ns;                 /* the deadline that was counted last */
};

/* schedule_begin(job, seed, now): the job is known from now on; seed: a hash of its name, so that jobs do not all begin at one
 * moment.  boundary_ns and took_ns may have been set from what is on record.
 * schedule_started(job): a cycle runs.
 * schedule_committed(job, boundary_ns, now): it has ended with a point.  schedule_failed(job, now): it has ended without. */
void schedule_begin(struct schedule_job *job, uint64_t seed, uint64_t now);
void schedule_started(struct schedule_job *job);
void schedule_committed(struct schedule_job *job, uint64_t boundary_ns, uint64_t now);
void schedule_failed(struct schedule_job *job, uint64_t now);

/* schedule_expected(job): what a cycle is expected to take, from when it is due until it is committed.
 * schedule_deadline(job): when the newest point has the age that it may reach.
 * schedule_due(job): when the next cycle is to begin; SCHEDULE_NEVER: paused, or one runs. */
uint64_t schedule_expected(const struct schedule_job *job);
uint64_t schedule_deadline(const struct schedule_job *job);
uint64_t schedule_due(const struct schedule_job *job);

/* schedule_missed(job, now): an objective is missed that was not counted yet; counts it, once for each point that came too late. */
bool schedule_missed(struct schedule_job *job, uint64_t now);

/* schedule_next(jobs, n, parallel, now): which cycle to start now; NULL: none, since none is due or `parallel` run.
 * schedule_wake(jobs, n, parallel, now): when to ask again, unless something ends before; SCHEDULE_NEVER: not before. */
struct schedule_job *schedule_next(struct schedule_job *const *jobs, size_t n, unsigned parallel,
				   uint64_t now);
uint64_t schedule_wake(struct schedule_job *const *jobs, size_t n, unsigned parallel, uint64_t now);

#endif
