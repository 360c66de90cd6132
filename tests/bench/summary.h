/* summary.h: what a set of migrations says: medians, ratios, and whether drover keeps its promises.  Pure. */
#ifndef BENCH_SUMMARY_H
#define BENCH_SUMMARY_H

#include "tests/bench/figures.h"
#include "tests/bench/run.h"
#include "tests/bench/stats.h"
#include "tests/bench/targets.h"
#include <stddef.h>
#include <stdint.h>

enum measure {
	MEASURE_TOTAL,    /* ms */
	MEASURE_DOWNTIME, /* ms: the guest's longest pause at the switch-over */
	MEASURE_PAUSE,    /* ms: its longest pause in all of the move */
	MEASURE_WIRE,     /* MiB */
	MEASURE_CPU,      /* s */
	MEASURE_SLOWED,   /* percent */
	MEASURE_COUNT
};

/* All runs of one mover at one dirty rate. */
struct cell {
	const struct mover *mover;
	uint32_t dirty_mb;
	unsigned runs, moved;
	struct stats measures[MEASURE_COUNT];
	uint64_t memory_errors, breaks;
};
enum { SUMMARY_CELLS_MAX = 64 };
/* summary_cells(runs, count, cells): one for each pair of mover and dirty rate that occurs, in the order of first
 * occurrence.  Returns how many.  summary_find: the cell of this mover and rate, NULL when there is none. */
size_t summary_cells(const struct run *runs, size_t count, struct cell cells[SUMMARY_CELLS_MAX]);
const struct cell *summary_find(const struct cell *cells, size_t count, const struct mover *mover,
				uint32_t dirty_mb);

/* summary_targets(cells, count, ideal_mib, targets): the promises about moves on loopback.  One that compares takes the best median that
 * any of the peers it names had; one whose cells were not run is not measured.  ideal_mib: the least that an idle guest's memory
 * takes on the wire; negative: not known. */
void summary_targets(const struct cell *cells, size_t count, double ideal_mib, struct targets *targets);

/* summary_forecasts(runs, count, figures, targets): what drover said before each move, beside what came. */
void summary_forecasts(const struct run *runs, size_t count, struct figures *figures,
		       struct targets *targets);
/* summary_phases(runs, count, figures): of what drover's moves consisted. */
void summary_phases(const struct run *runs, size_t count, struct figures *figures);

#endif
