/* bench_io: virtio disks and networks, drover's and QEMU's, driven by the same guest.  Method and reading:
 * docs/benchmarks.md. */
#include "common/io.h"
#include "common/units.h"
#include "tests/bench/cpumeter.h"
#include "tests/bench/iobench.h"
#include "tests/bench/proc.h"
#include <getopt.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

struct options {
	struct io_bench *bench;
	const char *folder;
	bool strict;
};

static int help(FILE *out, int status)
{
	fputs("usage: bench_io [options]\n"
	      "Disks and networks of VMs: drover beside QEMU, the same guest in both.\n"
	      "  --folder DIR   on the disk that is measured; needs about five times --size there (default: "
	      "the build "
	      "folder)\n"
	      "  --size SIZE    of the disks (default 1G; at least 256M)\n"
	      "  --rounds N     how often each load runs on each of them (default 3)\n"
	      "  --seconds N    that each load is measured (default 1)\n"
	      "  --only TEXT    only loads with this in their name\n"
	      "  --strict       exit status 1 when a target is missed\n",
	      out);
	return status;
}

static int parse(int argc, char **argv, struct options *options, struct err *err)
{
	static const struct option known[] = {
	    {"folder", required_argument, NULL, 'f'}, {"size", required_argument, NULL, 's'},
	    {"rounds", required_argument, NULL, 'r'}, {"seconds", required_argument, NULL, 't'},
	    {"only", required_argument, NULL, 'o'},   {"strict", no_argument, NULL, 'S'},
	    {"help", no_argument, NULL, 'h'},         {NULL, 0, NULL, 0},
	};
	struct io_bench *bench = options->bench;
	uint64_t rounds = 3, seconds = 1;
	int c, bad = 0;

	bench->size_bytes = 1ull << 30;
	while (!bad && (c = getopt_long(argc, argv, "", known, NULL)) != -1) {
		if (c == 'f')
			options->folder = optarg;
		else if (c == 's')
			bad = units_parse_size(optarg, &bench->size_bytes, err);
		else if (c == 'r')
			bad = units_parse_uint(optarg, 1, 63, &rounds, err);
		else if (c == 't')
			bad = units_parse_uint(optarg, 1, 60, &seconds, err);
		else if (c == 'o')
			bench->only = optarg;
		else if (c == 'S')
			options->strict = true;
		else
			exit(c == 'h' ? help(stdout, 0) : help(stderr, 2));
	}
	bench->rounds = (unsigned)rounds;
	bench->seconds = (unsigned)seconds;
	if (bad)
		return -1;
	if (optind < argc)
		exit(help(stderr, 2));
	if (bench->size_bytes < 256 << 20 || bench->size_bytes % (1 << 20) != 0)
		return err_set(err, ERR_USAGE, "--size: at least 256M, in multiples of 1M");
	return 0;
}

static void note(struct io_cell *cell, const struct io_result *result)
{
	stats_add(&cell->rate, result->rate);
	stats_add(&cell->cpu_us, result->cpu_us);
	stats_add(&cell->all_us, result->all_us);
	stats_add(&cell->mean_us, result->mean_us);
	stats_add(&cell->kicks, result->kicks);
}

/* One load on all that it applies to, beginning with another one in each round. */
static int measure_row(struct io_bench *bench, size_t r, unsigned round, struct err *err)
{
	fprintf(stderr, "round %u: %s\n", round + 1, io_rows[r].title);
	for (size_t i = 0; i < io_subject_count; i++) {
		size_t s = (i + round) % io_subject_count;
		const struct io_subject *subject = &io_subjects[s];
		struct io_cell *cell = &bench->cells[r][s];
		struct io_result result;
		struct err why = {0};

		if (!io_applies(&io_rows[r], subject) || (!io_is_drover(subject) && !bench->env->qemu[0]))
			continue;
		if (io_run(bench, &io_rows[r], subject, &result, &why) == 0) {
			note(cell, &result);
			fprintf(stderr, "  %-30s %8.0f/s, %6.1f us CPU, %.3f kicks\n", subject->name,
				result.rate, result.cpu_us, result.kicks);
		} else {
			snprintf(cell->failure, sizeof(cell->failure), "%.250s", why.text);
			fprintf(stderr, "  %-30s failed: %s\n", subject->name, why.text);
		}
		if (proc_interrupted())
			return err_set(err, ERR_CANCELLED, "interrupted");
	}
	return 0;
}

static int measure(struct io_bench *bench, struct err *err)
{
	for (unsigned round = 0; round < bench->rounds; round++)
		for (size_t r = 0; r < io_row_count; r++)
			if ((!bench->only || strstr(io_rows[r].title, bench->only)) &&
			    measure_row(bench, r, round, err) != 0)
				return -1;
	return 0;
}

/* The tables to stdout and to io.md, everything to io.json. */
static int publish(const struct io_bench *bench, struct err *err)
{
	json_t *host = hostinfo_json(bench->env), *json = io_report_json(bench, host);
	char path[BENCHENV_PATH];
	FILE *file = NULL;
	int failed = -1;

	io_report_markdown(bench, host, stdout);
	if (benchenv_report_path(bench->env, "io.md", path, err) == 0) {
		file = fopen(path, "w");
		failed = file ? 0 : err_sys(err, "%s", path);
	}
	if (file) {
		io_report_markdown(bench, host, file);
		if (fclose(file) != 0 || benchenv_report_path(bench->env, "io.json", path, err) != 0 ||
		    json_dump_file(json, path, JSON_INDENT(1) | JSON_REAL_PRECISION(6)) != 0)
			failed = err_sys(err, "%s", path);
	}
	json_decref(json);
	json_decref(host);
	return failed;
}

static int run(struct options *options, struct err *err)
{
	struct io_bench *bench = options->bench;
	uint64_t began = clock_mono_ns();
	struct cpumeter meter;
	int result = -1;

	if (!bench->env->qemu[0])
		fputs("left out: QEMU, as qemu-system-x86_64 is not there (package qemu-system-x86)\n",
		      stderr);
	if (!bench->env->own_network)
		return err_set(err, ERR_SYSTEM, "a network namespace and taps take root; run it as root");
	snprintf(bench->dir, sizeof(bench->dir), "%.200s/bench_io.XXXXXX",
		 options->folder ? options->folder : bench->env->build);
	if (!mkdtemp(bench->dir))
		return err_sys(err, "a folder for the disks: %s", bench->dir);
	cpumeter_start(&meter);
	if (io_network(err) == 0 && io_disks_make(bench, err) == 0)
		result = measure(bench, err);
	cpumeter_stop(&meter);
	benchenv_remove(bench->env, bench->dir);
	bench->took_s = (double)(clock_mono_ns() - began) / 1e9;
	bench->others_cpus = (double)meter.others_ns / 1e9 / bench->took_s;
	return result;
}

int main(int argc, char **argv)
{
	static struct io_bench bench;
	struct options options = {.bench = &bench};
	struct err err = {.kind = ERR_NONE};
	struct benchenv env;
	int status = 1;

	benchenv_defaults(&env);
	bench.env = &env;
	if (parse(argc, argv, &options, &err) == 0 && proc_open(&err) == 0 &&
	    benchenv_open(&env, &err) == 0 && run(&options, &err) == 0 && publish(&bench, &err) == 0)
		status = options.strict && io_missed(&bench) > 0;
	benchenv_close(&env);
	if (err.kind != ERR_NONE)
		fprintf(stderr, "bench_io: %s\n", err.text);
	return proc_interrupted() ? 130 : err.kind == ERR_USAGE ? 2 : status;
}
