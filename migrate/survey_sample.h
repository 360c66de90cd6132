/* survey_sample.h: what a page of the guest costs on the stream: some are packed as a move packs them, and those of them that the guest
 * writes to meanwhile once more, as a later round sends them. */
#ifndef MIGRATE_SURVEY_SAMPLE_H
#define MIGRATE_SURVEY_SAMPLE_H

#include "common/err.h"
#include "common/pageset.h"
#include "migrate/packer.h"
#include "migrate/pages.h"
#include <stddef.h>
#include <stdint.h>

enum { SURVEY_RUNS = 64 };

struct survey_sample {
	struct pages_source source;
	struct pages_encoder *encoder;
	uint64_t start[SURVEY_RUNS]; /* of runs of neighbours, which are packed together; rising */
	size_t runs;
};

/* Of one page, on average. */
struct survey_cost {
	double bytes; /* on the stream */
	double ns;    /* to read and pack it, in one thread */
};

/* survey_median(ns, n): of some durations, which it sorts: what happened to be interrupted is no measure.  0 of none. */
double survey_median(uint64_t *ns, size_t n);

/* survey_sample_open(sample, ram_fd, pages, packing, err): of RAM with so many pages; ram_fd stays the caller's.
 * -1 with *err.  survey_sample_close: harmless on a zeroed struct, and after a failure. */
int survey_sample_open(struct survey_sample *sample, int ram_fd, uint64_t pages, enum packer_mode packing,
		       struct err *err);
void survey_sample_close(struct survey_sample *sample);

/* survey_sample_first(sample, touched, count, link_ns, cost, err): pages anywhere among the `count` members of the set, which is emptied;
 * link_ns: what a byte takes on one link, so that the packer chooses as it would in the move.  *cost stays as it is where there is
 * nothing to pack.
 * survey_sample_again(sample, dirty, cost, err): those of the same pages that are in `dirty`, which stays; *cost stays as it is where
 * they are too few to tell. */
int survey_sample_first(struct survey_sample *sample, struct pageset *touched, uint64_t count, double link_ns,
			struct survey_cost *cost, struct err *err);
int survey_sample_again(struct survey_sample *sample, const struct pageset *dirty, struct survey_cost *cost,
			struct err *err);

#endif
