#include "tests/bench/summary.h"
#include <math.h>
#include <stdio.h>
#include <string.h>

/* The gap that a guest may see at 100 MB/s, whatever QEMU does. */
#define GAP_LIMIT_MS    30.0
#define GAP_LIMIT_DIRTY 100

static struct cell *cell_of(struct cell *cells, size_t *count, const struct run *run)
{
	for (size_t i = 0; i < *count; i++)
		if (cells[i].mover == run->mover && cells[i].dirty_mb == run->dirty_mb)
			return &cells[i];
	if (*count == SUMMARY_CELLS_MAX)
		return NULL;
	memset(&cells[*count], 0, sizeof(cells[0]));
	cells[*count].mover = run->mover;
	cells[*count].dirty_mb = run->dirty_mb;
	return &cells[(*count)++];
}

size_t summary_cells(const struct run *runs, size_t count, struct cell cells[SUMMARY_CELLS_MAX])
{
	size_t ncells = 0;

	for (size_t i = 0; i < count; i++) {
		const struct run *run = &runs[i];
		struct cell *cell = cell_of(cells, &ncells, run);

		if (!cell)
			break;
		cell->runs++;
		cell->memory_errors += run->memory_errors;
		cell->breaks += run->breaks;
		if (run->end != RUN_MOVED)
			continue;
		cell->moved++;
		stats_add(&cell->total_ms, run->total_ms);
		stats_add(&cell->gap_ms, run->gap_ms);
		stats_add(&cell->cpu_s, run->cpu_s);
		if (run->wire_mib >= 0)
			stats_add(&cell->wire_mib, run->wire_mib);
	}
	return ncells;
}

static bool is_drover(const struct cell *cell)
{
	return cell->mover->ops == &mover_drover_ops;
}

/* QEMU's pre-copy over one plain stream, at whatever downtime limit. */
static bool is_plain_precopy(const struct cell *cell)
{
	return cell->mover->ops == &mover_qemu_ops && !cell->mover->over_ssh && cell->mover->channels == 0;
}

const struct cell *summary_find(const struct cell *cells, size_t count, const struct mover *mover,
				uint32_t dirty_mb)
{
	for (size_t i = 0; i < count; i++)
		if (cells[i].mover == mover && cells[i].dirty_mb == dirty_mb)
			return &cells[i];
	return NULL;
}

static double median_of(const struct cell *cell, enum measure measure)
{
	return stats_median(summary_measure(cell, measure));
}

const struct stats *summary_measure(const struct cell *cell, enum measure measure)
{
	const struct stats *const all[] = {
	    [MEASURE_TOTAL] = &cell->total_ms,
	    [MEASURE_GAP] = &cell->gap_ms,
	    [MEASURE_WIRE] = &cell->wire_mib,
	    [MEASURE_CPU] = &cell->cpu_s,
	};

	return all[measure];
}

/* The best that QEMU's plain pre-copy did at this rate; NULL: it did not run, or never finished. */
static const struct cell *best_peer(const struct cell *cells, size_t count, uint32_t dirty_mb,
				    enum measure measure)
{
	const struct cell *best = NULL;

	for (size_t i = 0; i < count; i++)
		if (cells[i].dirty_mb == dirty_mb && is_plain_precopy(&cells[i]) && cells[i].moved > 0 &&
		    (!best || median_of(&cells[i], measure) < median_of(best, measure)))
			best = &cells[i];
	return best;
}

static bool peer_ran(const struct cell *cells, size_t count, uint32_t dirty_mb)
{
	for (size_t i = 0; i < count; i++)
		if (cells[i].dirty_mb == dirty_mb && is_plain_precopy(&cells[i]))
			return true;
	return false;
}

/* Judge a median against a limit.  A mover that did not always finish missed it. */
static void judge(struct target *target, const struct cell *cell, enum measure measure, double limit)
{
	target->got = cell->moved > 0 ? median_of(cell, measure) : -1;
	target->limit = limit;
	if (cell->moved < cell->runs)
		target->verdict = VERDICT_MISSED;
	else
		target->verdict = target->got <= limit ? VERDICT_MET : VERDICT_MISSED;
}

static struct target *begin(struct target *targets, size_t *count, const struct cell *cell, const char *what,
			    const char *limit)
{
	struct target *target = &targets[(*count)++];
	char dirty[24];

	memset(target, 0, sizeof(*target));
	target->dirty_mb = cell->dirty_mb;
	target->unit = "ms";
	snprintf(target->text, sizeof(target->text), "%s, %s <= %s", run_dirty_name(cell->dirty_mb, dirty),
		 what, limit);
	return target;
}

static void against_peer(struct target *target, const struct cell *cells, size_t count,
			 const struct cell *cell, enum measure measure)
{
	const struct cell *peer = best_peer(cells, count, cell->dirty_mb, measure);

	if (peer) {
		snprintf(target->against, sizeof(target->against), "%s", peer->mover->name);
		judge(target, cell, measure, median_of(peer, measure));
	} else if (peer_ran(cells, count, cell->dirty_mb)) {
		/* QEMU was tried and never finished: any finish is better. */
		snprintf(target->against, sizeof(target->against), "QEMU, which did not finish");
		judge(target, cell, measure, INFINITY);
		target->limit = -1;
	}
}

size_t summary_targets(const struct cell *cells, size_t count, struct target targets[SUMMARY_TARGETS_MAX])
{
	size_t made = 0;

	for (size_t i = 0; i < count && made + 4 <= SUMMARY_TARGETS_MAX; i++) {
		const struct cell *cell = &cells[i];
		struct target *target;

		if (!is_drover(cell))
			continue;
		target = begin(targets, &made, cell, "total", "QEMU plain pre-copy");
		against_peer(target, cells, count, cell, MEASURE_TOTAL);
		target = begin(targets, &made, cell, "guest gap", "QEMU plain pre-copy");
		against_peer(target, cells, count, cell, MEASURE_GAP);
		if (cell->dirty_mb == GAP_LIMIT_DIRTY) {
			target = begin(targets, &made, cell, "guest gap", "30 ms");
			judge(target, cell, MEASURE_GAP, GAP_LIMIT_MS);
		}
		target = begin(targets, &made, cell, "memory errors and broken report numbers", "0");
		target->unit = "";
		target->got = (double)(cell->memory_errors + cell->breaks);
		target->verdict =
		    target->got == 0 && cell->moved == cell->runs ? VERDICT_MET : VERDICT_MISSED;
	}
	return made;
}

const char *summary_verdict_name(enum verdict verdict)
{
	static const char *const names[] = {
	    [VERDICT_NOT_MEASURED] = "not measured", [VERDICT_MET] = "met", [VERDICT_MISSED] = "MISSED"};

	return names[verdict];
}
