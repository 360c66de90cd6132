/* bench_start: how long a VM takes to start, and what its process needs beside the guest's RAM; drover's and
 * QEMU's.  Method and reading: docs/benchmarks.md. */
#include "common/io.h"
#include "common/units.h"
#include "tests/bench/guestlog.h"
#include "tests/bench/hostinfo.h"
#include "tests/bench/mover.h"
#include "tests/bench/proc.h"
#include "tests/bench/procfs.h"
#include "tests/bench/stats.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define RUNS         5
#define TIMEOUT_NS   60000000000ull
#define LOOK_NS      100000ull /* between two looks at the serial log: the error of the time */
#define START_MS     50.0
#define OVERHEAD_MIB 8.0

static const struct mover programs[] = {
    {.name = "drover", .title = "drover", .ops = &mover_drover_ops},
    {.name = "drover-restore", .title = "drover restore", .ops = &mover_restore_ops},
    {.name = "qemu-qboot", .title = "QEMU, pc, qboot", .ops = &mover_qemu_ops, .firmware = "qboot.rom"},
};
enum { PROGRAMS = sizeof(programs) / sizeof(programs[0]) };
static const unsigned sizes_mib[] = {64, 1024, 16384, 65536};
enum { SIZES = sizeof(sizes_mib) / sizeof(sizes_mib[0]) };

/* All runs of one program at one size. */
struct cell {
	struct stats start_ms;    /* exec of the command to the guest's first serial byte */
	struct stats rss_mib;     /* resident beside the guest's RAM */
	struct stats pss_mib;     /* the same with shared pages counted in part */
	struct stats pagetab_mib; /* the process's page tables, which RSS does not hold */
	unsigned runs;
	char failure[256];
};

/* Wait for the first byte of the log. */
static int await_byte(const char *path, uint64_t deadline_ns, struct err *err)
{
	struct stat st;

	while (stat(path, &st) != 0 || st.st_size == 0) {
		if (proc_check(deadline_ns, "the guest's first serial byte", err) != 0)
			return -1;
		proc_pause(LOOK_NS);
	}
	return 0;
}

/* A kind of memory in MiB: private, of files, and shared less the guest's RAM.  Pages of the RAM that the process
 * itself never touched are allocated but not resident in it, hence the bound. */
static double beside_ram(int64_t anon_kib, int64_t file_kib, int64_t shared_kib, int64_t ram_kib)
{
	return (anon_kib + file_kib + (shared_kib > ram_kib ? shared_kib - ram_kib : 0)) / 1024.0;
}

static int weigh(const struct benchenv *env, pid_t pid, struct cell *cell, struct err *err)
{
	static const char *const fields[][2] = {
	    {"status", "RssAnon"},        {"status", "RssFile"},        {"status", "RssShmem"},
	    {"smaps_rollup", "Pss_Anon"}, {"smaps_rollup", "Pss_File"}, {"smaps_rollup", "Pss_Shmem"},
	    {"status", "VmPTE"},
	};
	enum { FIELDS = sizeof(fields) / sizeof(fields[0]) };
	int64_t kib[FIELDS];
	int64_t ram = procfs_memfd_kib(pid, (uint64_t)env->memory_mib << 20);

	for (size_t i = 0; i < FIELDS; i++) {
		kib[i] = procfs_field_kib(pid, fields[i][0], fields[i][1]);
		if (kib[i] < 0 || ram < 0)
			return err_set(err, ERR_SYSTEM, "/proc/%d/%s does not tell %s of the VM process",
				       (int)pid, fields[i][0], ram < 0 ? "the RAM" : fields[i][1]);
	}
	stats_add(&cell->rss_mib, beside_ram(kib[0], kib[1], kib[2], ram));
	stats_add(&cell->pss_mib, beside_ram(kib[3], kib[4], kib[5], ram));
	stats_add(&cell->pagetab_mib, kib[6] / 1024.0);
	return 0;
}

static bool is_restore(const struct mover *mover)
{
	return mover->ops == &mover_restore_ops;
}

/* From the order until the guest runs: a new one says so at once; a restored one ran when the command was done. */
static int time_start(struct move *move, uint64_t deadline_ns, double *start_ms, struct err *err)
{
	const struct mover_ops *ops = move->mover->ops;
	uint64_t begin_ns = clock_mono_ns();

	if (ops->spawn(move, err) != 0 ||
	    (!is_restore(move->mover) && await_byte(move->source_log, deadline_ns, err) != 0))
		return -1;
	if (!is_restore(move->mover))
		*start_ms = (clock_mono_ns() - begin_ns) / 1e6;
	if (ops->ready(move, deadline_ns, err) != 0)
		return -1;
	if (is_restore(move->mover))
		*start_ms = (clock_mono_ns() - begin_ns) / 1e6;
	return 0;
}

static int run_steps(struct move *move, struct guestlog *log, struct cell *cell, struct err *err)
{
	uint64_t deadline_ns = clock_mono_ns() + TIMEOUT_NS;
	double start_ms = 0;

	if ((is_restore(move->mover) && move->mover->ops->prepare(move, deadline_ns, err) != 0) ||
	    time_start(move, deadline_ns, &start_ms, err) != 0)
		return -1;
	guestlog_open(log, move->source_log);
	/* A restored guest has filled its memory before. */
	if ((is_restore(move->mover) ? guestlog_wait_lines(log, 1, deadline_ns, err)
				     : guestlog_wait_filled(log, deadline_ns, err)) != 0 ||
	    weigh(move->env, move->vm, cell, err) != 0)
		return -1;
	stats_add(&cell->start_ms, start_ms);
	return 0;
}

/* One start; 0, also when it failed (the cell says why), or -1 when interrupted. */
static int run_once(struct benchenv *env, const struct mover *program, struct cell *cell)
{
	struct move move = {.mover = program, .env = env};
	struct guestlog log = {.fd = -1};
	struct err err;

	cell->runs++;
	if (benchenv_run_dir(env, move.dir, &err) != 0 || run_steps(&move, &log, cell, &err) != 0)
		snprintf(cell->failure, sizeof(cell->failure), "%.250s", err.text);
	guestlog_close(&log);
	program->ops->stop(&move);
	benchenv_end_processes(env);
	benchenv_remove(env, move.dir);
	return proc_interrupted() ? -1 : 0;
}

/* All runs: size by size, the programs in turn. */
static int measure(struct benchenv *env, struct cell cells[SIZES][PROGRAMS], struct err *err)
{
	bool there[PROGRAMS];
	struct err why;

	for (size_t p = 0; p < PROGRAMS; p++) {
		there[p] = programs[p].ops->available(&programs[p], env, &why) == 0;
		if (!there[p])
			fprintf(stderr, "left out: %s\n", why.text);
	}
	for (size_t s = 0; s < SIZES; s++) {
		env->memory_mib = sizes_mib[s];
		for (size_t i = 0; i < RUNS * PROGRAMS; i++)
			if (there[i % PROGRAMS] &&
			    run_once(env, &programs[i % PROGRAMS], &cells[s][i % PROGRAMS]) != 0)
				return err_set(err, ERR_CANCELLED, "interrupted");
	}
	return 0;
}

static void put_stats(FILE *out, const struct stats *stats)
{
	if (stats->count == 0)
		fputs(" - |", out);
	else
		fprintf(out, " %.1f (%.1f-%.1f) |", stats_median(stats), stats_min(stats), stats_max(stats));
}

static const char *verdict(const struct cell *cell, const struct stats *stats, double limit)
{
	if (cell->runs == 0)
		return "not measured";
	return stats->count == cell->runs && stats_median(stats) <= limit ? "met" : "MISSED";
}

static void put_table(FILE *out, const json_t *host, struct cell cells[SIZES][PROGRAMS])
{
	char text[512], size[16];

	fprintf(out, "Machine: %s.\nMedians (smallest-largest) of %d starts that took turns.\n\n",
		hostinfo_line(host, text), RUNS);
	fputs("| guest | program | start to first serial byte, ms | RSS beside guest RAM, MiB | PSS, MiB | "
	      "page tables, "
	      "MiB | start <= 50 ms | RSS <= 8 MiB |\n|---|---|---|---|---|---|---|---|\n",
	      out);
	for (size_t s = 0; s < SIZES; s++) {
		for (size_t p = 0; p < PROGRAMS; p++) {
			const struct cell *cell = &cells[s][p];

			fprintf(out, "| %s | %s |", units_format_size((uint64_t)sizes_mib[s] << 20, size),
				programs[p].title);
			put_stats(out, &cell->start_ms);
			put_stats(out, &cell->rss_mib);
			put_stats(out, &cell->pss_mib);
			put_stats(out, &cell->pagetab_mib);
			if (programs[p].ops != &mover_qemu_ops)
				fprintf(out, " %s | %s |\n", verdict(cell, &cell->start_ms, START_MS),
					verdict(cell, &cell->rss_mib, OVERHEAD_MIB));
			else
				fputs(" | |\n", out);
		}
	}
	for (size_t s = 0; s < SIZES; s++)
		for (size_t p = 0; p < PROGRAMS; p++)
			if (cells[s][p].failure[0])
				fprintf(out, "\n%s, %s: %s\n",
					units_format_size((uint64_t)sizes_mib[s] << 20, size),
					programs[p].name, cells[s][p].failure);
}

static json_t *stats_json(const struct stats *stats)
{
	json_t *values = json_array();

	for (size_t i = 0; i < stats->count; i++)
		json_array_append_new(values, json_real(stats->values[i]));
	return json_pack("{s:f, s:o}", "median", stats_median(stats), "all", values);
}

static json_t *cells_json(const json_t *host, struct cell cells[SIZES][PROGRAMS])
{
	json_t *list = json_array();

	for (size_t s = 0; s < SIZES; s++) {
		for (size_t p = 0; p < PROGRAMS; p++) {
			const struct cell *cell = &cells[s][p];
			json_t *object =
			    json_pack("{s:s, s:i, s:i, s:s, s:o, s:o, s:o, s:o}", "program", programs[p].name,
				      "memory_mib", (int)sizes_mib[s], "runs", (int)cell->runs, "failure",
				      cell->failure, "start_ms", stats_json(&cell->start_ms), "rss_mib",
				      stats_json(&cell->rss_mib), "pss_mib", stats_json(&cell->pss_mib),
				      "pagetable_mib", stats_json(&cell->pagetab_mib));

			if (programs[p].ops != &mover_qemu_ops)
				json_object_update_new(
				    object, json_pack("{s:s, s:s}", "start_verdict",
						      verdict(cell, &cell->start_ms, START_MS), "rss_verdict",
						      verdict(cell, &cell->rss_mib, OVERHEAD_MIB)));
			json_array_append_new(list, object);
		}
	}
	return json_pack("{s:i, s:O, s:o}", "format", 1, "host", host, "summary", list);
}

static int publish(const struct benchenv *env, struct cell cells[SIZES][PROGRAMS], struct err *err)
{
	json_t *host = hostinfo_json(env);
	json_t *json = cells_json(host, cells);
	char path[BENCHENV_PATH];
	FILE *file = NULL;
	int failed = -1;

	put_table(stdout, host, cells);
	if (benchenv_report_path(env, "start.md", path, err) == 0) {
		file = fopen(path, "w");
		failed = file ? 0 : err_sys(err, "%s", path);
	}
	if (file) {
		put_table(file, host, cells);
		if (fclose(file) != 0 || benchenv_report_path(env, "start.json", path, err) != 0 ||
		    json_dump_file(json, path, JSON_INDENT(1) | JSON_REAL_PRECISION(6)) != 0)
			failed = err_sys(err, "%s", path);
	}
	json_decref(json);
	json_decref(host);
	return failed;
}

int main(void)
{
	static struct cell cells[SIZES][PROGRAMS];
	struct err err = {.kind = ERR_NONE};
	struct benchenv env;
	int status = 1;

	benchenv_defaults(&env);
	env.fill_mib = 16;
	env.shared_ram = true;
	if (proc_open(&err) == 0 && benchenv_open(&env, &err) == 0 && measure(&env, cells, &err) == 0 &&
	    publish(&env, cells, &err) == 0)
		status = 0;
	benchenv_close(&env);
	if (status != 0)
		fprintf(stderr, "bench_start: %s\n", err.text);
	return proc_interrupted() ? 130 : status;
}
