/* part_harvest.c: what a harvest costs that finds 1,000 pages, as a mover asks for it, in guests of two sizes and by both ways that KVM
 * has of telling. */
#include "common/io.h"
#include "common/pageset.h"
#include "tests/bench/mover.h"
#include "tests/bench/parts.h"
#include "tests/bench/proc.h"
#include "vmm/control.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define PATIENCE_NS 60000000000ull
#define WORDS       "fill=4000K verify=0 dirty=max"
enum {
	HARVESTS = 50,
	TRIES = 200,
	FOUND = 1000,
	WRITE_NS = 40000000,
	ANSWER_MS = 10000,
	SMALL_MIB = 1 << 10,
	LARGE_MIB = 64 << 10
};

static int ask(struct control *vm, const char *request, struct err *err)
{
	return control_call(vm, json_pack("{s:s}", "cmd", request), ANSWER_MS, NULL, NULL, NULL, err);
}

/* Become the VM's mover, and learn where what is dirty will be. */
static int attach(struct control *vm, uint64_t pages, struct pageset *dirty, struct err *err)
{
	int fds[CONTROL_MAX_FDS];
	size_t count;
	int status;

	if (control_call(vm, json_pack("{s:s}", "cmd", "migrate"), ANSWER_MS, NULL, fds, &count, err) != 0)
		return -1;
	status = count == 2 ? pageset_map(dirty, fds[1], pages, err)
			    : err_set(err, ERR_INPUT, "%zu descriptors instead of 2", count);
	for (size_t i = 0; i < count; i++)
		if (i != 1 || status != 0)
			close(fds[i]);
	return status;
}

static int harvest(struct control *vm, struct pageset *dirty, struct stats *us, struct stats *pages,
		   struct err *err)
{
	if (ask(vm, "track", err) != 0 || ask(vm, "harvest", err) != 0)
		return -1;
	for (unsigned i = 0; i < TRIES && us->count < HARVESTS; i++) {
		uint64_t began, took_ns, found;

		pageset_clear(dirty);
		proc_pause(WRITE_NS);
		began = clock_mono_ns();
		if (ask(vm, "harvest", err) != 0)
			return -1;
		took_ns = clock_mono_ns() - began;
		found = pageset_count(dirty);
		/* A guest that had no CPU has not written all of them. */
		if (found < FOUND)
			continue;
		stats_add(us, (double)took_ns / 1e3);
		stats_add(pages, (double)found);
	}
	return us->count > 0 ? 0 : err_set(err, ERR_STATE, "the guest never wrote its 1,000 pages in 40 ms");
}

static int measure(struct move *move, struct stats *us, struct stats *pages, struct err *err)
{
	uint64_t deadline_ns = clock_mono_ns() + PATIENCE_NS;
	struct pageset dirty = {.fd = -1};
	struct control vm = {.fd = -1};
	char run[BENCHENV_PATH + 32];
	int status;

	if (mover_drover_ops.spawn(move, err) != 0 || mover_drover_ops.ready(move, deadline_ns, err) != 0 ||
	    part_waits_for(move->source_log, " seq", 1, deadline_ns, err) != 0)
		return -1;
	snprintf(run, sizeof(run), "%s/a/run", move->dir);
	setenv("DROVER_RUN", run, 1);
	status = control_connect(&vm, "bench", err);
	unsetenv("DROVER_RUN");
	if (status != 0)
		return -1;
	status = attach(&vm, (uint64_t)move->env->memory_mib << 8, &dirty, err) != 0 ||
			 harvest(&vm, &dirty, us, pages, err) != 0
		     ? -1
		     : 0;
	pageset_close(&dirty);
	control_close(&vm);
	return status;
}

/* The quickest in a guest of this size: what a harvest costs; those that wait for a CPU are slower.  Negative: it could not be had. */
static double guest(struct benchenv *env, unsigned mib, const char *tracking, struct results *results,
		    struct err *err)
{
	struct move move = {.mover = &mover_table[0], .env = env, .words = WORDS, .tracking = tracking};
	unsigned usual_mib = env->memory_mib;
	struct figure *us, *pages;
	int status;

	us =
	    figure_of(&results->figures, "us", "a harvest, %u GiB, --dirty-tracking %s", mib >> 10, tracking);
	pages = figure_of(&results->figures, "pages", "the same, %u GiB, %s: found", mib >> 10, tracking);
	if (benchenv_run_dir(env, move.dir, err) != 0)
		return -1;
	env->memory_mib = mib;
	status = measure(&move, &us->values, &pages->values, err);
	mover_drover_ops.stop(&move);
	env->memory_mib = usual_mib;
	benchenv_end_processes(env);
	benchenv_remove(env, move.dir);
	return status == 0 ? stats_min(&us->values) : -1;
}

int part_harvest(struct benchenv *env, struct results *results, unsigned rounds, struct err *err)
{
	static const char *const tracking[] = {"auto", "ring", "bitmap"};

	(void)rounds; /* there are many harvests in one */
	for (size_t i = 0; i < sizeof(tracking) / sizeof(tracking[0]); i++) {
		double small = guest(env, SMALL_MIB, tracking[i], results, err);
		double large = small < 0 ? -1 : guest(env, LARGE_MIB, tracking[i], results, err);
		char id[40], text[120];

		if (large < 0)
			return -1;
		if (strcmp(tracking[i], "bitmap") == 0)
			continue; /* it copies a bit for each page there is: chosen for small guests only */
		snprintf(id, sizeof(id), "harvest-%s", tracking[i]);
		snprintf(text, sizeof(text),
			 "quickest harvest of 1,000 pages, tracking %s: a guest of 64 GiB / one of 1 GiB",
			 tracking[i]);
		target_judge(target_add(&results->targets, id, "x", text, "1.25 x"), large / small, 1.25);
	}
	return 0;
}
