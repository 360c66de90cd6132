/* report.h: a set of migrations on paper: a Markdown table for people, JSON for programs. */
#ifndef BENCH_REPORT_H
#define BENCH_REPORT_H

#include "tests/bench/hostinfo.h"
#include "tests/bench/parts.h"
#include "tests/bench/summary.h"
#include <stdio.h>

struct report {
	const struct benchenv *env;
	const json_t *host;
	const struct run *runs;
	size_t count;
	unsigned timeout_s;
	double took_s;
	struct results results;
	char left_out[4][400]; /* parts, and why; empty at the end */
	/* ---- filled by report_summarize */
	struct cell cells[SUMMARY_CELLS_MAX];
	size_t ncells;
};

/* report_summarize: before the others.  report_markdown: write all tables.  report_json: a new reference. */
void report_summarize(struct report *report);
void report_markdown(const struct report *report, FILE *out);
json_t *report_json(const struct report *report);

#endif
