/* disk_jobs.c: see disk_jobs.h. */
#include "vmm/disk_jobs.h"
#include "common/io.h"
#include "common/thread.h"
#include <errno.h>
#include <sys/eventfd.h>

int disk_jobs_init(struct disk_jobs *jobs, struct err *err)
{
	*jobs = (struct disk_jobs){.count = 0};
	pthread_mutex_init(&jobs->lock, NULL);
	pthread_cond_init(&jobs->change, NULL);
	jobs->done_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	return jobs->done_fd >= 0 ? 0 : err_sys(err, "cannot make an eventfd");
}

void disk_jobs_destroy(struct disk_jobs *jobs)
{
	if (!jobs->done_fd)
		return;
	(void)disk_jobs_end(jobs, NULL);
	io_close(&jobs->done_fd);
	pthread_cond_destroy(&jobs->change);
	pthread_mutex_destroy(&jobs->lock);
	*jobs = (struct disk_jobs){.count = 0};
}

static void is_cut(void *arg)
{
	struct disk_jobs_thread *of = arg;
	pthread_mutex_lock(&of->jobs->lock);
	of->cut = true;
	pthread_cond_signal(&of->jobs->change);
	pthread_mutex_unlock(&of->jobs->lock);
}

static void *run(void *arg)
{
	struct disk_jobs_thread *of = arg;
	struct disk_jobs *jobs = of->jobs;
	const struct dvol_cut cut = {.done = is_cut, .context = of};
	of->failed = jobs->job(jobs->arg, of->volume, &cut, &of->err) != 0;
	is_cut(of); /* also where it failed before */
	pthread_mutex_lock(&jobs->lock);
	bool last = --jobs->running == 0;
	pthread_mutex_unlock(&jobs->lock);
	if (last)
		(void)eventfd_write(jobs->done_fd, 1);
	return NULL;
}

int disk_jobs_begin(struct disk_jobs *jobs, const struct machine *machine, disk_job *job, void *arg,
		    struct err *err)
{
	struct dvol *volumes[CONFIG_MAX_DEVICES];
	unsigned count = machine_volumes(machine, volumes, NULL);
	jobs->job = job;
	jobs->arg = arg;
	jobs->running = 1; /* this thread's: nobody is the last before all are begun */
	int status = 0;
	for (unsigned i = 0; i < count && !status; i++) {
		struct disk_jobs_thread *of = &jobs->thread[jobs->count];
		*of = (struct disk_jobs_thread){.jobs = jobs, .volume = volumes[i]};
		pthread_mutex_lock(&jobs->lock);
		jobs->running++;
		pthread_mutex_unlock(&jobs->lock);
		if (thread_start(&of->thread, run, of))
			status = err_sys(err, "cannot make a thread for the VM's disks");
		else
			jobs->count++;
	}
	pthread_mutex_lock(&jobs->lock);
	jobs->running -= status ? 2 : 1;
	bool none = jobs->running == 0;
	pthread_mutex_unlock(&jobs->lock);
	if (none)
		(void)eventfd_write(jobs->done_fd, 1);
	return status;
}

void disk_jobs_await_cut(struct disk_jobs *jobs)
{
	pthread_mutex_lock(&jobs->lock);
	for (unsigned i = 0; i < jobs->count; i++)
		while (!jobs->thread[i].cut)
			pthread_cond_wait(&jobs->change, &jobs->lock);
	pthread_mutex_unlock(&jobs->lock);
}

int disk_jobs_end(struct disk_jobs *jobs, struct err *err)
{
	eventfd_t times;
	int status = 0;
	for (unsigned i = 0; i < jobs->count; i++) {
		struct disk_jobs_thread *of = &jobs->thread[i];
		pthread_join(of->thread, NULL);
		if (of->failed && !status && err)
			*err = of->err;
		status = of->failed ? -1 : status;
	}
	jobs->count = 0;
	(void)eventfd_read(jobs->done_fd, &times);
	return status;
}
