/* test_schedule.c: when cycles of replication begin: single decisions, and hosts with many jobs, simulated. */
#include "replicate/schedule.h"
#include "tests/lib/random.h"
#include "tests/lib/test.h"

#include <string.h>

#define SECOND 1000000000ull
#define BEGIN  (1000 * SECOND)

enum { JOBS = 200 };

/* A host: cycles that run end when they have taken their time. */
struct host {
	struct schedule_job job[JOBS], *list[JOBS];
	uint64_t ends[JOBS], began[JOBS], takes_ns[JOBS], oldest_ns[JOBS];
	unsigned cycles[JOBS], most; /* at the same time */
	size_t n;
	uint64_t now, random;
};

static struct host *host_of(size_t n, uint64_t rpo_ns, uint64_t takes_ns)
{
	static struct host host;

	memset(&host, 0, sizeof(host));
	host.n = n;
	host.now = BEGIN;
	host.random = random_begin();
	for (size_t i = 0; i < n; i++) {
		host.job[i].rpo_ns = rpo_ns;
		host.takes_ns[i] = takes_ns;
		host.list[i] = &host.job[i];
		schedule_begin(&host.job[i], random_next(&host.random), host.now);
	}
	return &host;
}

static void end_cycles(struct host *host)
{
	for (size_t i = 0; i < host->n; i++) {
		struct schedule_job *job = &host->job[i];
		uint64_t age = host->now - job->boundary_ns;

		if (!job->running || host->ends[i] > host->now)
			continue;
		/* Just before this one is committed the newest is oldest. */
		if (job->boundary_ns && age > host->oldest_ns[i])
			host->oldest_ns[i] = age;
		(void)schedule_missed(job, host->now);
		schedule_committed(job, host->began[i], host->now);
		host->cycles[i]++;
	}
}

static void start_cycles(struct host *host, unsigned parallel)
{
	struct schedule_job *job;
	unsigned running = 0;

	while ((job = schedule_next(host->list, host->n, parallel, host->now))) {
		size_t i = (size_t)(job - host->job);

		assert_true(!job->running && !job->paused && schedule_due(job) <= host->now);
		schedule_started(job);
		host->began[i] = host->now;
		/* A fifth more or less. */
		host->ends[i] = host->now + host->takes_ns[i] * (80 + random_below(&host->random, 41)) / 100;
	}
	for (size_t i = 0; i < host->n; i++)
		running += host->job[i].running;
	assert_true(running <= parallel);
	if (running > host->most)
		host->most = running;
}

static void run(struct host *host, unsigned parallel, uint64_t ns)
{
	uint64_t until = host->now + ns;

	while (host->now < until) {
		uint64_t next;

		end_cycles(host);
		for (size_t i = 0; i < host->n; i++)
			(void)schedule_missed(&host->job[i], host->now);
		start_cycles(host, parallel);
		next = schedule_wake(host->list, host->n, parallel, host->now);
		for (size_t i = 0; i < host->n; i++)
			if (host->job[i].running && host->ends[i] < next)
				next = host->ends[i];
		assert_true(next > host->now && next != SCHEDULE_NEVER);
		host->now = next < until ? next : until;
	}
}

/* What a cycle takes is not known at first, nor have the jobs found places beside each other. */
static void settle(struct host *host, unsigned parallel)
{
	run(host, parallel, 5 * host->job[0].rpo_ns);
	memset(host->oldest_ns, 0, sizeof(host->oldest_ns));
	memset(host->cycles, 0, sizeof(host->cycles));
	for (size_t i = 0; i < host->n; i++)
		host->job[i].missed = 0;
}

static uint64_t oldest(const struct host *host)
{
	uint64_t age = 0;

	for (size_t i = 0; i < host->n; i++)
		if (host->oldest_ns[i] > age)
			age = host->oldest_ns[i];
	return age;
}

/* Now and then more of them than ever before are due at one moment: one in a hundred cycles may be late by that. */
static bool hardly_missed(const struct host *host, size_t first, size_t end)
{
	unsigned missed = 0, cycles = 0;

	for (size_t i = first; i < end; i++) {
		missed += host->job[i].missed;
		cycles += host->cycles[i];
	}
	return cycles > 0 && missed * 100 <= cycles;
}

static void a_point_is_never_older_than_it_may_be(void **state)
{
	struct host *host = host_of(1, 30 * SECOND, 4 * SECOND);

	(void)state;
	run(host, 1, 3600 * SECOND);
	assert_true(oldest(host) <= 30 * SECOND);
	assert_int_equal(host->job[0].missed, 0);
	/* Nor are there many more cycles than it takes. */
	assert_in_range(host->cycles[0], 120, 180);
}

static void two_hundred_jobs_of_a_minute(void **state)
{
	struct host *host = host_of(JOBS, 60 * SECOND, SECOND * 4 / 10);

	(void)state;
	settle(host, 2);
	run(host, 2, 3600 * SECOND);
	assert_true(oldest(host) <= 60 * SECOND);
	for (size_t i = 0; i < JOBS; i++)
		assert_int_equal(host->job[i].missed, 0);
	assert_int_equal(host->most, 2);
}

/* 2.5 times of what two cycles at a time can do: all are late, and all alike; each is said once for each point. */
static void too_many_jobs_share_what_there_is(void **state)
{
	struct host *host = host_of(50, 10 * SECOND, SECOND);
	unsigned least = UINT32_MAX, most = 0;

	(void)state;
	run(host, 2, 1000 * SECOND);
	for (size_t i = 0; i < host->n; i++) {
		least = host->cycles[i] < least ? host->cycles[i] : least;
		most = host->cycles[i] > most ? host->cycles[i] : most;
		assert_true(host->job[i].missed > 0 && host->job[i].missed <= host->cycles[i] + 1);
	}
	assert_true(least * 3 >= most * 2);
	assert_in_range(least, 30, 45);
}

static void those_that_matter_more_are_in_time(void **state)
{
	struct host *host = host_of(50, 10 * SECOND, SECOND);

	(void)state;
	for (size_t i = 0; i < 8; i++)
		host->job[i].priority = 1;
	settle(host, 2);
	run(host, 2, 1000 * SECOND);
	assert_true(hardly_missed(host, 0, 8));
	for (size_t i = 8; i < host->n; i++)
		assert_true(host->cycles[i] > 10);
}

/* One whose cycles take longer than its objective runs them back to back, and takes nothing from the others. */
static void one_that_cannot_be_in_time(void **state)
{
	struct host *host = host_of(20, 60 * SECOND, SECOND);

	(void)state;
	host->takes_ns[7] = 90 * SECOND;
	settle(host, 2);
	run(host, 2, 3600 * SECOND);
	assert_in_range(host->cycles[7], 30, 50);
	assert_true(host->job[7].missed + 2 >= host->cycles[7]);
	assert_true(hardly_missed(host, 0, 7) && hardly_missed(host, 8, host->n));
}

static void a_failed_one_is_tried_again(void **state)
{
	struct schedule_job job = {.rpo_ns = 3600 * SECOND};
	uint64_t now = BEGIN, last = 0;

	(void)state;
	schedule_begin(&job, 0, now);
	for (int i = 0; i < 10; i++) {
		schedule_started(&job);
		assert_true(schedule_due(&job) == SCHEDULE_NEVER);
		schedule_failed(&job, now);
		assert_true(schedule_due(&job) - now >= last);
		last = schedule_due(&job) - now;
		assert_in_range(last, SECOND, 60 * SECOND);
		now = schedule_due(&job);
	}
	assert_true(last == 60 * SECOND);
	/* Not after it would be too late, though. */
	job.rpo_ns = now + 20 * SECOND - BEGIN;
	schedule_failed(&job, now);
	assert_true(schedule_due(&job) == now + 20 * SECOND);
	schedule_committed(&job, now, now + SECOND);
	assert_true(schedule_due(&job) > now + job.rpo_ns / 2);
}

static void a_pause_and_a_window(void **state)
{
	struct schedule_job job = {.rpo_ns = 60 * SECOND}, *list[] = {&job};

	(void)state;
	schedule_begin(&job, 0, BEGIN);
	schedule_started(&job);
	schedule_committed(&job, BEGIN, BEGIN + SECOND);
	job.paused = true;
	assert_null(schedule_next(list, 1, 1, BEGIN + 1000 * SECOND));
	assert_false(schedule_missed(&job, BEGIN + 1000 * SECOND));
	assert_true(schedule_wake(list, 1, 1, BEGIN) == SCHEDULE_NEVER);
	job.paused = false;
	job.not_before_ns = BEGIN + 500 * SECOND;
	assert_null(schedule_next(list, 1, 1, BEGIN + 499 * SECOND));
	assert_ptr_equal(schedule_next(list, 1, 1, BEGIN + 500 * SECOND), &job);
	assert_true(schedule_missed(&job, BEGIN + 61 * SECOND));
	assert_false(schedule_missed(&job, BEGIN + 62 * SECOND));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(a_point_is_never_older_than_it_may_be),
	    cmocka_unit_test(two_hundred_jobs_of_a_minute),
	    cmocka_unit_test(too_many_jobs_share_what_there_is),
	    cmocka_unit_test(those_that_matter_more_are_in_time),
	    cmocka_unit_test(one_that_cannot_be_in_time),
	    cmocka_unit_test(a_failed_one_is_tried_again),
	    cmocka_unit_test(a_pause_and_a_window),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
