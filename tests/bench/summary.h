/* summary.h: what a set of migrations says: medians, ratios, and whether drover meets its targets.  Pure. */
#ifndef BENCH_SUMMARY_H
#define BENCH_SUMMARY_H

#include "tests/bench/run.h"
#include "tests/bench/stats.h"
#include <stddef.h>
#include <stdint.h>

/* All runs of one mover at one dirty rate. */
struct cell {
	const struct mover *mover;
	uint32_t dirty_mb;
	unsigned runs, moved;
	struct stats total_ms, gap_ms, wire_mib, cpu_s;
	uint64_t memory_errors, breaks;
};
enum { SUMMARY_CELLS_MAX = 64 };
/* summary_cells(runs, count, cells): one for each pair of mover and dirty rate that occurs, in the order of first
 * occurrence.  Returns how many. */
size_t summary_cells(const struct run *runs, size_t count, struct cell cells[SUMMARY_CELLS_MAX]);

/* summary_find: the cell of this mover and rate, NULL when there is none.  summary_measure: one measure's values. */
enum measure { MEASURE_TOTAL, MEASURE_GAP, MEASURE_WIRE, MEASURE_CPU, MEASURE_COUNT };
const struct cell *summary_find(const struct cell *cells, size_t count, const struct mover *mover,
				uint32_t dirty_mb);
const struct stats *summary_measure(const struct cell *cell, enum measure measure);

/* What drover promises about itself, judged. */
enum verdict { VERDICT_NOT_MEASURED, VERDICT_MET, VERDICT_MISSED };
struct target {
	char text[128]; /* "total at 100 MB/s <= QEMU plain pre-copy" */
	uint32_t dirty_mb;
	double got;   /* valid unless not measured; -1: no run finished */
	double limit; /* the same; -1: there is none, since QEMU did not finish */
	const char *unit;
	char against[64]; /* the mover that set the limit; empty: the limit is absolute */
	enum verdict verdict;
};
enum { SUMMARY_TARGETS_MAX = 64 };
/* summary_targets(cells, count, targets): for each dirty rate: total, gap, and content; a target against QEMU takes
 * the best median of QEMU's plain pre-copy at any downtime limit that was run. */
size_t summary_targets(const struct cell *cells, size_t count, struct target targets[SUMMARY_TARGETS_MAX]);

const char *summary_verdict_name(enum verdict verdict);

#endif
