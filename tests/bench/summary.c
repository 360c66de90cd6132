#include "tests/bench/summary.h"
#include <math.h>
#include <stdio.h>
#include <string.h>

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

static void add_known(struct cell *cell, enum measure measure, double value)
{
	if (value >= 0)
		stats_add(&cell->measures[measure], value);
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
		add_known(cell, MEASURE_TOTAL, run->total_ms);
		add_known(cell, MEASURE_DOWNTIME, run->landing_gap_ms);
		add_known(cell, MEASURE_PAUSE, run->gap_ms);
		add_known(cell, MEASURE_WIRE, run->wire_mib);
		add_known(cell, MEASURE_CPU, run->cpu_s);
		add_known(cell, MEASURE_SLOWED, run->slowed_percent);
	}
	return ncells;
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
	return stats_median(&cell->measures[measure]);
}

/* ---- promises ---- */

/* With what drover is compared. */
enum peers {
	PEERS_NONE,    /* the limit is absolute */
	PEERS_IDEAL,   /* the least that its memory takes */
	PEERS_PLAIN,   /* QEMU without encryption and compression: pre-copy or multifd, any downtime limit */
	PEERS_PRECOPY, /* of these one stream */
	PEERS_SSH,     /* QEMU through an SSH tunnel */
	PEERS_ZSTD,    /* multifd, packed */
	PEERS_POSTCOPY,
};

static bool is_peer(const struct mover *mover, enum peers peers)
{
	bool plain = !mover->over_ssh && !mover->compression && !mover->postcopy;

	if (mover->ops != &mover_qemu_ops)
		return false;
	switch (peers) {
	case PEERS_PLAIN:
		return plain;
	case PEERS_PRECOPY:
		return plain && mover->channels == 0;
	case PEERS_SSH:
		return mover->over_ssh;
	case PEERS_ZSTD:
		return mover->compression != NULL;
	case PEERS_POSTCOPY:
		return mover->postcopy;
	default:
		return false;
	}
}

#define FLAT MOVE_DIRTY_MAX
static const struct aim {
	const char *id;
	uint32_t dirty_mb;
	const char *mover;
	enum measure measure;
	double limit; /* or factor */
	enum peers peers;
} aims[] = {
    {"idle-total", 0, "drover", MEASURE_TOTAL, 0.6, PEERS_PLAIN},
    {"100-total", 100, "drover", MEASURE_TOTAL, 0.6, PEERS_PLAIN},
    {"idle-total-ssh", 0, "drover", MEASURE_TOTAL, 0.4, PEERS_SSH},
    {"100-total-ssh", 100, "drover", MEASURE_TOTAL, 0.4, PEERS_SSH},
    {"idle-bytes", 0, "drover", MEASURE_WIRE, 0.45, PEERS_PRECOPY},
    {"100-bytes", 100, "drover", MEASURE_WIRE, 0.45, PEERS_PRECOPY},
    {"idle-bytes-ideal", 0, "drover", MEASURE_WIRE, 1.15, PEERS_IDEAL},
    {"100-downtime", 100, "drover", MEASURE_DOWNTIME, 10, PEERS_NONE},
    {"100-downtime-qemu", 100, "drover", MEASURE_DOWNTIME, 1, PEERS_PLAIN},
    {"400-downtime", 400, "drover", MEASURE_DOWNTIME, 10, PEERS_NONE},
    {"400-downtime-qemu", 400, "drover", MEASURE_DOWNTIME, 1, PEERS_PLAIN},
    {"100-pause-qemu", 100, "drover", MEASURE_PAUSE, 1, PEERS_PLAIN},
    {"400-pause-qemu", 400, "drover", MEASURE_PAUSE, 1, PEERS_PLAIN},
    {"flat-postcopy-downtime", FLAT, "drover-postcopy", MEASURE_DOWNTIME, 15, PEERS_NONE},
    {"flat-postcopy-downtime-qemu", FLAT, "drover-postcopy", MEASURE_DOWNTIME, 1, PEERS_POSTCOPY},
    {"flat-throttle-downtime", FLAT, "drover", MEASURE_DOWNTIME, 30, PEERS_NONE},
    {"flat-throttle-slowed", FLAT, "drover", MEASURE_SLOWED, 1, PEERS_PLAIN},
    {"idle-cpu", 0, "drover", MEASURE_CPU, 1.2, PEERS_ZSTD},
    {"100-cpu", 100, "drover", MEASURE_CPU, 1.2, PEERS_ZSTD},
};

static const struct {
	const char *name, *unit;
} measures[] = {
    [MEASURE_TOTAL] = {"total time", "ms"},
    [MEASURE_DOWNTIME] = {"guest-seen downtime", "ms"},
    [MEASURE_PAUSE] = {"guest-seen longest pause in all of the move", "ms"},
    [MEASURE_WIRE] = {"on the wire", "MiB"},
    [MEASURE_CPU] = {"CPU of both ends", "s"},
    [MEASURE_SLOWED] = {"guest slowed down", "%"},
};

static const char *const peers_names[] = {
    [PEERS_IDEAL] = "each page once, zstd 1",  [PEERS_PLAIN] = "QEMU's best plain setting",
    [PEERS_PRECOPY] = "QEMU's plain pre-copy", [PEERS_SSH] = "QEMU's best through an SSH tunnel",
    [PEERS_ZSTD] = "QEMU's multifd with zstd", [PEERS_POSTCOPY] = "QEMU's post-copy",
};

/* The best that a peer did at this rate; NULL: none finished.  *ran: one was tried. */
static const struct cell *best_peer(const struct cell *cells, size_t count, const struct aim *aim, bool *ran)
{
	const struct cell *best = NULL;

	*ran = false;
	for (size_t i = 0; i < count; i++) {
		const struct cell *cell = &cells[i];

		if (cell->dirty_mb != aim->dirty_mb || !is_peer(cell->mover, aim->peers))
			continue;
		*ran = true;
		if (cell->measures[aim->measure].count > 0 &&
		    (!best || median_of(cell, aim->measure) < median_of(best, aim->measure)))
			best = cell;
	}
	return best;
}

/* A mover that did not always finish missed it. */
static void judge(struct target *target, const struct cell *cells, size_t count, const struct cell *cell,
		  const struct aim *aim, double ideal_mib)
{
	double got = cell->moved == cell->runs ? median_of(cell, aim->measure) : -1;
	const struct cell *peer;
	bool ran;

	if (aim->peers == PEERS_NONE) {
		target_judge(target, got, aim->limit);
	} else if (aim->peers == PEERS_IDEAL) {
		if (ideal_mib > 0)
			target_judge(target, got, aim->limit * ideal_mib);
	} else {
		peer = best_peer(cells, count, aim, &ran);
		if (peer)
			snprintf(target->against, sizeof(target->against), "%s", peer->mover->name);
		if (peer || ran)
			target_judge(target, got, peer ? aim->limit * median_of(peer, aim->measure) : -1);
	}
}

/* Of each of drover's movers at each rate: it always arrives, with all of its memory. */
static void add_whole(const struct cell *cells, size_t count, struct targets *targets)
{
	uint64_t wrong = 0;
	unsigned runs = 0, moved = 0;
	struct target *target;

	for (size_t i = 0; i < count; i++) {
		if (cells[i].mover->ops != &mover_drover_ops)
			continue;
		wrong += cells[i].memory_errors + cells[i].breaks;
		runs += cells[i].runs;
		moved += cells[i].moved;
	}
	target = target_add(targets, "always-completes", "%", "all of drover's moves: completed", "100 %");
	target->least = true;
	if (runs > 0)
		target_judge(target, 100.0 * moved / runs, 100);
	target = target_add(targets, "memory-right", "",
			    "all of drover's moves: memory errors and broken report numbers", "0");
	if (runs > 0)
		target_judge(target, (double)wrong, 0);
}

void summary_targets(const struct cell *cells, size_t count, double ideal_mib, struct targets *targets)
{
	for (size_t i = 0; i < sizeof(aims) / sizeof(aims[0]); i++) {
		const struct aim *aim = &aims[i];
		const struct mover *mover = mover_find(aim->mover);
		const struct cell *cell = summary_find(cells, count, mover, aim->dirty_mb);
		char text[120], allowed[120], dirty[24];
		struct target *target;

		snprintf(text, sizeof(text), "%s%s%s: %s", run_dirty_name(aim->dirty_mb, dirty),
			 mover->if_busy ? ", " : "", mover->if_busy ? mover->if_busy : "",
			 measures[aim->measure].name);
		if (aim->peers == PEERS_NONE)
			snprintf(allowed, sizeof(allowed), "%g %s", aim->limit, measures[aim->measure].unit);
		else
			snprintf(allowed, sizeof(allowed), "%g x %s", aim->limit, peers_names[aim->peers]);
		target = target_add(targets, aim->id, measures[aim->measure].unit, text, allowed);
		if (cell)
			judge(target, cells, count, cell, aim, ideal_mib);
	}
	add_whole(cells, count, targets);
}

/* ---- forecasts ---- */

#define NEAR_PART 0.25
#define NEAR_MS   10.0

void summary_forecasts(const struct run *runs, size_t count, struct figures *figures, struct targets *targets)
{
	struct target *target;
	unsigned made = 0, good = 0;

	for (size_t i = 0; i < count; i++) {
		const struct run *run = &runs[i];
		char dirty[24];

		if (run->mover != &mover_table[0] || run->end != RUN_MOVED || run->planned_total_ms < 0)
			continue;
		made++;
		good += fabs(run->planned_total_ms - run->total_ms) <= NEAR_PART * run->total_ms &&
			fabs(run->planned_downtime_ms - run->landing_gap_ms) <= NEAR_MS;
		run_dirty_name(run->dirty_mb, dirty);
		stats_add(&figure_of(figures, "x", "forecast, %s: total / what came", dirty)->values,
			  run->planned_total_ms / run->total_ms);
		stats_add(&figure_of(figures, "ms", "forecast, %s: downtime less what came", dirty)->values,
			  run->planned_downtime_ms - run->landing_gap_ms);
	}
	target = target_add(targets, "forecast", "%",
			    "forecasts with a total within 25 % and a downtime within 10 ms", "80 %");
	target->least = true;
	if (made > 0)
		target_judge(target, 100.0 * good / made, 80);
}

/* ---- where the time goes ---- */

void summary_phases(const struct run *runs, size_t count, struct figures *figures)
{
	for (size_t i = 0; i < count; i++) {
		const struct run *run = &runs[i];
		const json_t *round;
		double rounds_ms = 0;
		char dirty[24];
		size_t at;

		if (run->mover != &mover_table[0] || run->end != RUN_MOVED || run->reported_total_ms < 0)
			continue;
		json_array_foreach(json_object_get(run->reported, "rounds_detail"), at, round) rounds_ms +=
		    json_number_value(json_object_get(round, "ms"));
		run_dirty_name(run->dirty_mb, dirty);
		stats_add(&figure_of(figures, "ms", "drover, %s: until its first round", dirty)->values,
			  run->reported_total_ms - rounds_ms);
		stats_add(
		    &figure_of(figures, "ms", "drover, %s: its rounds, the pause included", dirty)->values,
		    rounds_ms);
		stats_add(&figure_of(figures, "ms",
				     "drover, %s: its own start, and its end after the guest's", dirty)
			       ->values,
			  run->total_ms - run->reported_total_ms);
	}
}
