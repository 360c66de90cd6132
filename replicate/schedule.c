#include "replicate/schedule.h"

#define SECOND_NS 1000000000ull

/* Jobs begin within this, however long their objective is: a first point should not wait for a week. */
#define SPREAD_NS (10 * SECOND_NS)
#define RETRY_NS  SECOND_NS
#define RETRY_MAX (60 * SECOND_NS)

enum { MARGIN = 10 /* a tenth of the objective */ };

void schedule_begin(struct schedule_job *job, uint64_t seed, uint64_t now)
{
	uint64_t spread = job->rpo_ns / 2 < SPREAD_NS ? job->rpo_ns / 2 : SPREAD_NS;

	job->since_ns = now;
	job->place_ns = spread ? seed % spread : 0;
	job->running = false;
	job->retry_ns = 0;
	job->failures = 0;
}

void schedule_started(struct schedule_job *job)
{
	job->wanted_ns = schedule_due(job);
	job->running = true;
}

void schedule_committed(struct schedule_job *job, uint64_t boundary_ns, uint64_t now)
{
	job->running = false;
	job->ended_ns = now;
	job->boundary_ns = boundary_ns;
	job->retry_ns = 0;
	job->failures = 0;
	job->took_ns[job->cycles++ % SCHEDULE_HISTORY] = now - job->wanted_ns;
}

/* Again soon, and then less and less often; but not later than the objective needs it, while it can still be kept. */
void schedule_failed(struct schedule_job *job, uint64_t now)
{
	uint64_t wait = job->failures < 6 ? RETRY_NS << job->failures : RETRY_MAX,
		 deadline = schedule_deadline(job);
	uint64_t last = schedule_expected(job) < deadline ? deadline - schedule_expected(job) : 0;

	job->running = false;
	job->ended_ns = now;
	job->failures++;
	job->retry_ns = now + (wait < RETRY_MAX ? wait : RETRY_MAX);
	if (last >= now + RETRY_NS && last < job->retry_ns)
		job->retry_ns = last;
}

/* The second-longest of the latest: one that hung is no measure, and the typical one is too short. */
uint64_t schedule_expected(const struct schedule_job *job)
{
	unsigned known = job->cycles < SCHEDULE_HISTORY ? job->cycles : SCHEDULE_HISTORY;
	uint64_t longest = 0, second = 0;

	for (unsigned i = 0; i < known; i++) {
		if (job->took_ns[i] > longest) {
			second = longest;
			longest = job->took_ns[i];
		} else if (job->took_ns[i] > second) {
			second = job->took_ns[i];
		}
	}
	return known == 1 ? longest : second;
}

uint64_t schedule_deadline(const struct schedule_job *job)
{
	return (job->boundary_ns ? job->boundary_ns : job->since_ns) + job->rpo_ns;
}

uint64_t schedule_due(const struct schedule_job *job)
{
	uint64_t lead = job->rpo_ns / MARGIN + schedule_expected(job), due;

	if (job->paused || job->running)
		return SCHEDULE_NEVER;
	if (!job->boundary_ns)
		due = job->since_ns + job->place_ns;
	else
		due = job->boundary_ns + (job->rpo_ns > lead ? job->rpo_ns - lead : 0);
	if (due < job->retry_ns)
		due = job->retry_ns;
	return due > job->not_before_ns ? due : job->not_before_ns;
}

bool schedule_missed(struct schedule_job *job, uint64_t now)
{
	uint64_t deadline = schedule_deadline(job);

	if (job->paused || now <= deadline || job->missed_ns == deadline)
		return false;
	job->missed_ns = deadline;
	job->missed++;
	return true;
}

/* Of those that wait the one whose deadline is nearest goes first.  One that has missed it stands behind those that can still be in time, but
 * not for longer than its objective after it ran last: so all of too many jobs are late alike, and one that is always late takes
 * nothing from the others. */
static uint64_t urgency(const struct schedule_job *job, uint64_t now)
{
	uint64_t deadline = schedule_deadline(job);

	return deadline < now && job->ended_ns ? job->ended_ns + job->rpo_ns : deadline;
}

static unsigned running(struct schedule_job *const *jobs, size_t n)
{
	unsigned count = 0;

	for (size_t i = 0; i < n; i++)
		count += jobs[i]->running;
	return count;
}

struct schedule_job *schedule_next(struct schedule_job *const *jobs, size_t n, unsigned parallel,
				   uint64_t now)
{
	struct schedule_job *best = NULL;

	if (running(jobs, n) >= parallel)
		return NULL;
	for (size_t i = 0; i < n; i++) {
		struct schedule_job *job = jobs[i];

		if (schedule_due(job) > now)
			continue;
		if (!best || job->priority > best->priority ||
		    (job->priority == best->priority && urgency(job, now) < urgency(best, now)))
			best = job;
	}
	return best;
}

uint64_t schedule_wake(struct schedule_job *const *jobs, size_t n, unsigned parallel, uint64_t now)
{
	bool full = running(jobs, n) >= parallel;
	uint64_t wake = SCHEDULE_NEVER;

	for (size_t i = 0; i < n; i++) {
		uint64_t due = full ? SCHEDULE_NEVER : schedule_due(jobs[i]),
			 deadline = schedule_deadline(jobs[i]) + 1;

		if (due < wake)
			wake = due;
		/* A miss is said when it happens. */
		if (!jobs[i]->paused && deadline > now && deadline < wake)
			wake = deadline;
	}
	return wake;
}
