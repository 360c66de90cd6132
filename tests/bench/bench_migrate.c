/* bench_migrate: drover's live migration beside QEMU's.  Method and reading: docs/benchmarks.md. */
#include "common/io.h"
#include "tests/bench/parts.h"
#include "tests/bench/plan.h"
#include "tests/bench/proc.h"
#include "tests/bench/report.h"
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* The movers of this rate whose programs are there; say which are not. */
static size_t available(const struct plan *plan, const struct benchenv *env, uint32_t dirty_mb,
			const struct mover *movers[PLAN_MOVERS_MAX])
{
	const struct mover *wanted[PLAN_MOVERS_MAX];
	size_t count = plan_movers(plan, dirty_mb, wanted), kept = 0;
	struct err why;

	for (size_t i = 0; i < count; i++) {
		if (wanted[i]->ops->available(wanted[i], env, &why) == 0)
			movers[kept++] = wanted[i];
		else
			fprintf(stderr, "left out: %s\n", why.text);
	}
	return kept;
}

static void say(const struct run *run)
{
	char dirty[24];

	fprintf(stderr, "%-8s %-17s ", run_dirty_name(run->dirty_mb, dirty), run->mover->name);
	if (run->end == RUN_MOVED)
		fprintf(stderr,
			"%6.0f ms, downtime %6.1f, pause %6.1f ms, %5.0f MiB, %.2f s CPU, slowed %3.0f %%, "
			"%" PRIu64 " errors%s%s\n",
			run->total_ms, run->landing_gap_ms, run->gap_ms, run->wire_mib, run->cpu_s,
			run->slowed_percent, run->memory_errors + run->breaks, run->note[0] ? "; " : "",
			run->note);
	else
		fprintf(stderr, "%s: %s\n", run_end_name(run->end), run->note);
}

/* It was tried at this rate and did not finish: it would not the next time either, and costs the whole limit. */
static bool hopeless(const struct run *runs, size_t count, const struct mover *mover, uint32_t dirty_mb)
{
	for (size_t i = 0; i < count; i++)
		if (runs[i].mover == mover && runs[i].dirty_mb == dirty_mb && runs[i].end == RUN_UNFINISHED)
			return true;
	return false;
}

/* All runs: rate by rate, the movers in turn, each round beginning with another one. */
static int measure(const struct plan *plan, struct benchenv *env, struct run *runs, size_t *count,
		   struct err *err)
{
	for (size_t d = 0; d < plan->ndirty; d++) {
		const struct mover *movers[PLAN_MOVERS_MAX];
		size_t nmovers = available(plan, env, plan->dirty_mb[d], movers);

		for (size_t i = 0; i < plan->runs * nmovers; i++) {
			const struct mover *mover = movers[(i + i / nmovers) % nmovers];
			struct run *run = &runs[*count];

			if (hopeless(runs, *count, mover, plan->dirty_mb[d]))
				continue;
			if (run_do(env, mover, plan->dirty_mb[d], plan->timeout_s, run) != 0)
				return err_set(err, ERR_CANCELLED, "interrupted");
			++*count;
			say(run);
		}
	}
	return 0;
}

/* The parts besides moves, each for itself: one that cannot be had here does not keep the others from being measured. */
static int measure_parts(const struct plan *plan, struct benchenv *env, struct report *report,
			 struct err *err)
{
	static const struct {
		unsigned part; /* any of these wants it */
		const char *name;
		int (*measure)(struct benchenv *env, struct results *results, unsigned rounds,
			       struct err *err);
	} parts[] = {
	    {PART_MOVES | PART_LINES, "the ideal", part_ideal},
	    {PART_AGAIN, "a second move", part_again},
	    {PART_HARVEST, "harvests", part_harvest},
	    {PART_LINES, "slow links", part_lines}, /* the last one: the SSH server is elsewhere afterwards */
	};
	size_t out = 0;

	for (size_t i = 0; i < sizeof(parts) / sizeof(parts[0]); i++) {
		if (!(plan->parts & parts[i].part))
			continue;
		fprintf(stderr, "%s\n", parts[i].name);
		if (parts[i].measure(env, &report->results, plan->runs, err) == 0)
			continue;
		if (proc_interrupted())
			return -1;
		fprintf(stderr, "%s: %s\n", parts[i].name, err->text);
		if (out < sizeof(report->left_out) / sizeof(report->left_out[0]) - 1)
			snprintf(report->left_out[out++], sizeof(report->left_out[0]), "%s: %.300s",
				 parts[i].name, err->text);
		err->kind = ERR_NONE;
	}
	return 0;
}

/* The tables to stdout and to migrate.md, everything to migrate.json. */
static int publish(struct report *report, struct err *err)
{
	char path[BENCHENV_PATH];
	json_t *json;
	FILE *file;
	int failed;

	report_summarize(report);
	report_markdown(report, stdout);
	if (benchenv_report_path(report->env, "migrate.md", path, err) != 0)
		return -1;
	file = fopen(path, "w");
	if (!file)
		return err_sys(err, "%s", path);
	report_markdown(report, file);
	if (fclose(file) != 0 || benchenv_report_path(report->env, "migrate.json", path, err) != 0)
		return err_sys(err, "%s", path);
	json = report_json(report);
	failed = !json || json_dump_file(json, path, JSON_INDENT(1) | JSON_REAL_PRECISION(6)) != 0;
	json_decref(json);
	return failed ? err_set(err, ERR_SYSTEM, "%s could not be written", path) : 0;
}

/* 1 when drover damaged a guest, or, where that was asked for, missed a target. */
static int judge(const struct report *report, bool strict)
{
	for (size_t i = 0; i < report->ncells; i++)
		if (report->cells[i].mover->ops == &mover_drover_ops &&
		    report->cells[i].memory_errors + report->cells[i].breaks > 0)
			return 1;
	for (size_t i = 0; strict && i < report->results.targets.count; i++)
		if (report->results.targets.row[i].verdict == VERDICT_MISSED)
			return 1;
	return 0;
}

static int bench(struct plan *plan, struct benchenv *env, struct err *err)
{
	struct run *runs = calloc(plan->ndirty * plan->runs * PLAN_MOVERS_MAX, sizeof(*runs));
	struct report *report = calloc(1, sizeof(*report));
	json_t *host = NULL;
	uint64_t begin_ns = clock_mono_ns();
	size_t count = 0;
	int status = 1;

	if (!runs || !report || benchenv_sshd(env, "", err) != 0)
		goto out;
	host = hostinfo_json(env);
	*report = (struct report){.env = env, .host = host, .runs = runs, .timeout_s = plan->timeout_s};
	report->results.ideal_mib = -1;
	env->plan = true;
	if (((plan->parts & PART_MOVES) && measure(plan, env, runs, &count, err) != 0) ||
	    measure_parts(plan, env, report, err) != 0)
		goto out;
	report->count = count;
	report->took_s = (double)(clock_mono_ns() - begin_ns) / 1e9;
	if (publish(report, err) == 0)
		status = judge(report, plan->strict);
out:
	for (size_t i = 0; i < count; i++)
		json_decref(runs[i].reported);
	json_decref(host);
	free(report);
	free(runs);
	return status;
}

int main(int argc, char **argv)
{
	struct err err = {.kind = ERR_NONE};
	struct benchenv env;
	struct plan plan;
	int status = 1;

	benchenv_defaults(&env);
	if (plan_read(&plan, &env, argc, argv, &err) == 0 && plan.help) {
		plan_help();
		return 0;
	}
	if (err.kind == ERR_NONE && proc_open(&err) == 0 && benchenv_open(&env, &err) == 0)
		status = bench(&plan, &env, &err);
	benchenv_close(&env);
	if (proc_interrupted()) {
		fprintf(stderr, "bench_migrate: interrupted\n");
		return 130;
	}
	if (status != 0 && err.kind != ERR_NONE)
		fprintf(stderr, "bench_migrate: %s\n", err.text);
	return err.kind == ERR_USAGE ? 2 : status;
}
