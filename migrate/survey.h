/* survey.h: how would a move go?  What the other host has, how fast the way to it is, what the guest does, and the forecast
 * that follows from all that.  Nothing moves; the other host is sent noise only. */
#ifndef MIGRATE_SURVEY_H
#define MIGRATE_SURVEY_H

#include "migrate/fitness.h"
#include "migrate/move.h"
#include "migrate/plan.h"
#include "migrate/preflight.h"
#include "migrate/survey_sample.h"

/* Pages of RAM that were dirtied in an interval, each counted once. */
struct survey_interval {
	uint64_t ns;
	uint64_t pages;
};

struct survey {
	struct preflight preflight;
	struct fitness fitness;
	uint64_t memory_bytes;
	uint64_t touched_bytes; /* of it, with memory behind it */
	uint64_t
	    disk_bytes; /* of the disks that move, as a host gets them that has no copy; the forecast takes it for one */
	bool paused;                         /* the guest is, by its user: it dirties nothing */
	struct survey_interval brief, whole; /* from the same moment on */
	struct survey_cost first, again;     /* of a page that was touched, and of one that is sent again */
	double new_page_ns;                  /* to write one where there was no memory yet */
	struct plan_model model;
	struct plan_forecast forecast; /* of a host that is fit */
};

/* survey_run(options, observer, survey, err): takes a second and a half and what connecting takes.  Meanwhile the VM's state is
 * "migrating", since this is its mover; the guest runs.  Of options what moves is looked at as by move_vm.  0, also for a host
 * that is unfit (survey->fitness); -1 with *err: host or VM cannot be asked, the VM cannot move at all, cancelled.
 * The caller frees with survey_free, also after a failure. */
int survey_run(const struct move_options *options, const struct move_observer *observer,
	       struct survey *survey, struct err *err);
void survey_free(struct survey *survey);

#endif
