/* What each CPU does: fill its share of the pages, then dirty and verify it for ever. */
#ifndef GUEST_WORK_H
#define GUEST_WORK_H

#include "clock.h"
#include "params.h"
#include <stdbool.h>
#include <stdint.h>

/* A rate-limited activity; all zeroes to begin with.  Times are in 1/1024 TSC cycles since base. */
struct pacer {
	uint64_t rate; /* that the rest was computed for */
	uint64_t base, next, step;
};

struct worker {
	struct pvclock pv;
	bool has_pv;
	unsigned id;
	_Atomic uint32_t online, filled;

	uint64_t first, pages; /* its share of all pages */
	uint64_t dirty_pages;  /* how many of them, from the first on, it dirties */
	uint64_t next_dirty, next_verify;
	uint64_t random;
	struct pacer dirty_pacer, verify_pacer;
	uint64_t last_tsc, last_ns;

	volatile uint64_t written, verified; /* pages; read by CPU 0 */
} __attribute__((aligned(64)));

/* An error found, for CPU 0 to print. */
struct work_error {
	volatile uint32_t ready;
	const char *clock; /* "tsc" or "kvmclock" that went back from a to b, or NULL: */
	uint64_t page, offset, expected, found;
};

#define WORK_ERRORS 10 /* printed; more are counted only */

/* Sets up the version table and the workers, and each CPU's share.  After pattern_init() and ram_init(). */
void work_init(const struct params *p);

struct worker *work_worker(unsigned id);

/* Fills the worker's share and marks it filled. */
void work_fill(struct worker *w);

/* One turn of the work loop, some microseconds at most: a few pages are dirtied, one is verified.  Returns
 * the TSC read at its start. */
uint64_t work_turn(struct worker *w);

/* Changes the rate of dirtying, for all CPUs together.  CPU 0. */
void work_set_dirty(uint64_t rate);

/* Sums over all CPUs. */
uint64_t work_written(void);
uint64_t work_verified(void);
uint64_t work_errors(void);

/* The i-th error found (i < WORK_ERRORS), or NULL where there are not that many. */
const struct work_error *work_error(unsigned i);

#endif
