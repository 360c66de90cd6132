/* disk_jobs.h: something that is done to all of a running VM's volumes at once, to each by a thread of its own. */
#ifndef VMM_DISK_JOBS_H
#define VMM_DISK_JOBS_H

#include "common/err.h"
#include "imagefmt/dvol.h"
#include "vmm/config.h"
#include "vmm/machine.h"
#include <pthread.h>
#include <stdbool.h>

/* One volume's.  cut: for dvol_epoch_close_cut, where the job closes an epoch.  0, or -1 with *err. */
typedef int disk_job(void *arg, struct dvol *volume, const struct dvol_cut *cut, struct err *err);

struct disk_jobs;
struct disk_jobs_thread {
	struct disk_jobs *jobs;
	pthread_t thread;
	struct dvol *volume;
	bool cut; /* jobs->lock */
	bool failed;
	struct err err;
};

struct disk_jobs {
	struct disk_jobs_thread thread[CONFIG_MAX_DEVICES];
	unsigned count;
	disk_job *job;
	void *arg;
	pthread_mutex_t lock;
	pthread_cond_t change;
	unsigned running; /* lock */
	int done_fd;      /* eventfd: readable when all are at their end */
};

/* disk_jobs_init; disk_jobs_destroy: waits for the threads; harmless on a zeroed struct. */
int disk_jobs_init(struct disk_jobs *jobs, struct err *err);
void disk_jobs_destroy(struct disk_jobs *jobs);

/* disk_jobs_begin(jobs, machine, job, arg, err): one job for each volume that the guest writes to; none may be under way.  -1: not all
 * could be begun; those that were go on until disk_jobs_end.
 * disk_jobs_await_cut: until each has called cut->done, or ended.  disk_jobs_end: until all have ended; -1 with the first
 * failure; harmless where none was begun. */
int disk_jobs_begin(struct disk_jobs *jobs, const struct machine *machine, disk_job *job, void *arg,
		    struct err *err);
void disk_jobs_await_cut(struct disk_jobs *jobs);
int disk_jobs_end(struct disk_jobs *jobs, struct err *err);

#endif
