/* part_again.c: a guest moves to another host, changes 1 % of what it has, and moves back.  Once with all that it has in memory, once on a
 * disk. */
#include "common/io.h"
#include "imagefmt/dvol.h"
#include "tests/bench/mover.h"
#include "tests/bench/parts.h"
#include "tests/bench/proc.h"
#include "tests/lib/random.h"
#include <stdio.h>
#include <string.h>

#define PATIENCE_NS 60000000000ull
enum { BLOCK = 65536, PART = 10 }; /* the second may take a tenth of the first */

static const struct way {
	const char *name;
	const char *key; /* of the guest's log: what grows as it writes */
	uint64_t begun;  /* the value at which it may move */
	uint64_t
	    changed; /* by how much it has to grow until all of the 1 % of the default 512 MiB is written */
	bool disk;
} ways[] = {
    {"memory", " seq", 3, 12, false},
    {"disk", " flushed", 1400, 1400, true},
};

/* A volume as full as the guest's memory would be, of content that packs like it. */
static int make_disk(const char *path, const struct benchenv *env, struct err *err)
{
	const struct dvol_create_options create = {.size_bytes = (uint64_t)env->fill_mib << 20};
	const struct dvol_open_options options = {.writable = true};
	const size_t random_bytes = DVOL_BLOCK * (100 - env->compress) / 100;
	static uint8_t data[BLOCK];
	uint64_t random = random_from(1);
	struct dvol *vol;
	int status = 0;

	if (dvol_create(path, &create, err) != 0 || !(vol = dvol_open(path, &options, err)))
		return -1;
	for (uint64_t at = 0; at < create.size_bytes && status == 0; at += BLOCK) {
		for (size_t page = 0; page < BLOCK; page += DVOL_BLOCK) {
			memset(data + page, (int)(at / BLOCK % 251) + 1, DVOL_BLOCK);
			random_fill(&random, data + page, random_bytes);
		}
		status = dvol_write(vol, data, BLOCK, at, err);
	}
	return dvol_close(vol, err) == 0 ? status : -1;
}

/* One move; its figures. */
static int go(struct move *move, const struct way *way, char from, char to, struct results *results,
	      double *ms, double *mib, struct err *err)
{
	const char *which = from == 'a' ? "first" : "second";
	uint64_t wire = benchenv_wire_bytes(move->env);

	if (mover_drover_go(move, from, to, clock_mono_ns() + PATIENCE_NS, err) != 0)
		return err_context(err, "the %s move", which);
	*ms = (double)(move->end_ns - move->begin_ns) / 1e6;
	*mib = move->env->own_network ? (double)(benchenv_wire_bytes(move->env) - wire) / (1 << 20)
				      : move->reported_mib;
	stats_add(&figure_of(&results->figures, "ms", "again, %s: %s move", way->name, which)->values, *ms);
	stats_add(&figure_of(&results->figures, "MiB", "again, %s: %s move", way->name, which)->values, *mib);
	return 0;
}

static int there_and_back(struct move *move, const struct way *way, struct results *results,
			  struct stats ratios[2], struct err *err)
{
	uint64_t deadline_ns = clock_mono_ns() + 2 * PATIENCE_NS;
	char a[BENCHENV_PATH + 64], b[BENCHENV_PATH + 64];
	double ms[2], mib[2];

	if (mover_drover_ops.spawn(move, err) != 0 || mover_drover_ops.ready(move, deadline_ns, err) != 0)
		return -1;
	mover_drover_console(move, 'a', a, sizeof(a));
	mover_drover_console(move, 'b', b, sizeof(b));
	if (part_waits_for(a, way->key, way->begun, deadline_ns, err) != 0 ||
	    go(move, way, 'a', 'b', results, &ms[0], &mib[0], err) != 0 ||
	    part_waits_for(b, way->key, part_last(a, way->key) + way->changed, deadline_ns, err) != 0 ||
	    go(move, way, 'b', 'a', results, &ms[1], &mib[1], err) != 0 ||
	    part_waits_for(a, way->key, part_last(b, way->key) + way->changed, deadline_ns, err) != 0)
		return -1;
	if (part_last(a, " errors") != 0)
		return err_set(err, ERR_INPUT, "the guest found wrong data after it came back");
	stats_add(&ratios[0], ms[1] / ms[0]);
	stats_add(&ratios[1], mib[1] / mib[0]);
	return 0;
}

static int round_of(struct benchenv *env, const struct way *way, struct results *results,
		    struct stats ratios[2], struct err *err)
{
	struct move move = {.mover = &mover_table[0], .env = env};
	char words[160], disk[BENCHENV_PATH + 32];
	unsigned changing_kib = env->fill_mib * 1024 / 100;
	int status = 0;

	if (way->disk)
		snprintf(words, sizeof(words), "io=disk-log qd=8 bs=4K iops=500 span=%uK", changing_kib);
	else
		snprintf(words, sizeof(words), "fill=%uM compress=%u working=%uK dirty=20", env->fill_mib,
			 env->compress, changing_kib);
	move.words = words;
	if (benchenv_run_dir(env, move.dir, err) != 0)
		return -1;
	if (way->disk) {
		snprintf(disk, sizeof(disk), "%s/disk.dvol", move.dir);
		move.disk = disk;
		status = make_disk(disk, env, err);
	}
	if (status == 0)
		status = there_and_back(&move, way, results, ratios, err);
	mover_drover_ops.stop(&move);
	benchenv_end_processes(env);
	benchenv_remove(env, move.dir);
	json_decref(move.reported);
	return status;
}

int part_again(struct benchenv *env, struct results *results, unsigned rounds, struct err *err)
{
	static const char *const measures[] = {"time", "bytes"};
	int status = 0;

	for (size_t w = 0; w < sizeof(ways) / sizeof(ways[0]); w++) {
		struct stats ratios[2] = {{.count = 0}, {.count = 0}};

		for (unsigned i = 0; i < rounds && status == 0; i++)
			status = round_of(env, &ways[w], results, ratios, err);
		for (size_t m = 0; m < 2; m++) {
			char id[40], text[120];
			struct target *target;

			snprintf(id, sizeof(id), "again-%s-%s", ways[w].name, measures[m]);
			snprintf(text, sizeof(text),
				 "second move, 1 %% of the %s changed: %s / the first move's", ways[w].name,
				 measures[m]);
			target = target_add(&results->targets, id, "x", text, "0.1 x");
			if (ratios[m].count > 0)
				target_judge(target, stats_median(&ratios[m]), 1.0 / PART);
		}
	}
	return status;
}
