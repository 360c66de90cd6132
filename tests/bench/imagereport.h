/* imagereport.h: what bench_image measured, judged: as Markdown for people, as JSON for programs. */
#ifndef BENCH_IMAGEREPORT_H
#define BENCH_IMAGEREPORT_H

#include "tests/bench/hostinfo.h"
#include "tests/bench/stats.h"
#include <stdio.h>

/* One load on all subjects, in turns; operations a second. */
enum subject { SUBJECT_RAW, SUBJECT_DVOL, SUBJECT_RAW_QEMU, SUBJECT_QCOW2, SUBJECTS };
struct image_load {
	const char *name;
	double least_raw; /* target of dvol / raw */
	struct stats rates[SUBJECTS];
	struct stats to_raw, to_qcow2; /* of each round */
};

/* Anything else. */
enum bound { BOUND_NONE, BOUND_MOST, BOUND_LEAST };
struct image_figure {
	char name[112];
	const char *unit;
	struct stats values;
	enum bound bound;
	bool worst; /* the bound is for the largest value, not the median */
	double limit;
};

enum { IMAGE_LOADS_MAX = 8, IMAGE_FIGURES_MAX = 64 };
struct image_report {
	const json_t *host;
	uint64_t size_bytes;
	unsigned threads, rounds;
	double took_s, others_cpus;
	struct image_load loads[IMAGE_LOADS_MAX];
	size_t nloads;
	struct image_figure figures[IMAGE_FIGURES_MAX];
	size_t nfigures;
};

/* image_report_figure(report, unit, bound, limit, format, …): a new one, without values.  NULL never; room is asserted. */
struct image_figure *image_report_figure(struct image_report *report, const char *unit, enum bound bound,
					 double limit, const char *format, ...)
    __attribute__((format(printf, 5, 6)));
void image_report_markdown(const struct image_report *report, FILE *out);
json_t *image_report_json(const struct image_report *report); /* a new reference */
unsigned image_report_missed(const struct image_report *report);

#endif
