/* bench_image: a .dvol volume beside a raw file and beside qcow2, and what epochs cost.  Method and reading:
 * docs/benchmarks.md. */
#include "common/io.h"
#include "common/units.h"
#include "tests/bench/cpumeter.h"
#include "tests/bench/imagebench.h"
#include "tests/bench/imageqemu.h"
#include "tests/bench/proc.h"
#include <errno.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

struct options {
	const char *folder;
	bool quick, strict;
	uint64_t size_bytes, rounds, threads;
};

static int help(FILE *out, int status)
{
	fputs("usage: bench_image [options]\n"
	      "A .dvol volume, a raw file and a qcow2 image under the same loads; and what closing an epoch "
	      "costs.\n"
	      "  --folder DIR   on the disk that is measured; needs about five times --size there (default "
	      "/var/tmp)\n"
	      "  --size SIZE    of the volumes that are written in full (default 4G; at least 256M)\n"
	      "  --rounds N     how often each load runs on each of them (default 3)\n"
	      "  --threads N    of a load; the depth of qemu-img's (default 8)\n"
	      "  --quick        a size of 512M, one round, shorter loads: to see that it works\n"
	      "  --strict       exit status 1 when a target is missed\n",
	      out);
	return status;
}

static int parse(int argc, char **argv, struct options *options, struct err *err)
{
	static const struct option known[] = {
	    {"folder", required_argument, NULL, 'f'}, {"size", required_argument, NULL, 's'},
	    {"rounds", required_argument, NULL, 'r'}, {"threads", required_argument, NULL, 't'},
	    {"quick", no_argument, NULL, 'q'},        {"strict", no_argument, NULL, 'S'},
	    {"help", no_argument, NULL, 'h'},         {NULL, 0, NULL, 0},
	};
	int c;

	*options =
	    (struct options){.folder = "/var/tmp", .size_bytes = 4ULL << 30, .rounds = 3, .threads = 8};
	while ((c = getopt_long(argc, argv, "", known, NULL)) != -1) {
		int bad = 0;

		if (c == 'f')
			options->folder = optarg;
		else if (c == 's')
			bad = units_parse_size(optarg, &options->size_bytes, err);
		else if (c == 'r')
			bad = units_parse_uint(optarg, 1, 15, &options->rounds, err);
		else if (c == 't')
			bad = units_parse_uint(optarg, 1, DISK_THREADS_MAX, &options->threads, err);
		else if (c == 'S')
			options->strict = true;
		else if (c == 'h')
			exit(help(stdout, 0));
		else if (c == 'q')
			*options = (struct options){.folder = options->folder,
						    .strict = options->strict,
						    .quick = true,
						    .size_bytes = 512 << 20,
						    .rounds = 1,
						    .threads = 8};
		else
			exit(help(stderr, 2));
		if (bad != 0)
			return -1;
	}
	if (optind < argc)
		exit(help(stderr, 2));
	if (options->size_bytes < 256 << 20 || options->size_bytes % 65536 != 0)
		return err_set(err, ERR_USAGE, "--size: at least 256M, in multiples of 64K");
	return 0;
}

static int measure(struct image_bench *bench, struct err *err)
{
	uint64_t size = bench->report->size_bytes;

	if (image_loads(bench, err) != 0 || image_epochs(bench, err) != 0 ||
	    image_volume(bench, size, true, err) != 0)
		return -1;
	for (unsigned shift = 30; shift <= 40; shift += shift == 30 ? 6 : 4)
		if (image_volume(bench, 1ULL << shift, false, err) != 0)
			return -1;
	return image_memory(bench, err);
}

/* The tables to stdout and to image.md, everything to image.json. */
static int publish(const struct benchenv *env, const struct image_report *report, struct err *err)
{
	json_t *json = image_report_json(report);
	char path[BENCHENV_PATH];
	FILE *file = NULL;
	int failed = -1;

	image_report_markdown(report, stdout);
	if (benchenv_report_path(env, "image.md", path, err) == 0) {
		file = fopen(path, "w");
		failed = file ? 0 : err_sys(err, "%s", path);
	}
	if (file) {
		image_report_markdown(report, file);
		if (fclose(file) != 0 || benchenv_report_path(env, "image.json", path, err) != 0 ||
		    json_dump_file(json, path, JSON_INDENT(1) | JSON_REAL_PRECISION(6)) != 0)
			failed = err_sys(err, "%s", path);
	}
	json_decref(json);
	return failed;
}

static int run(const struct benchenv *env, const struct options *options, struct image_report *report,
	       struct err *err)
{
	const char *argv[] = {"qemu-img", "--version", NULL};
	struct proc_spawn spawn = {.argv = argv};
	struct image_bench bench = {.report = report,
				    .closes = options->quick ? 10 : 60,
				    .operations = options->quick ? 4096 : 16384,
				    .changes = 10000,
				    .mapped_bytes = options->quick ? 256ULL << 20 : 2ULL << 30};
	uint64_t began = clock_mono_ns();
	struct cpumeter meter;
	int result;

	report->size_bytes = options->size_bytes;
	report->threads = (unsigned)options->threads;
	report->rounds = (unsigned)options->rounds;
	report->host = hostinfo_json(env);
	bench.qemu = proc_run(&spawn, began + 10000000000ull, NULL) == 0;
	if (!bench.qemu)
		fputs("left out: qcow2, as qemu-img is not there (package qemu-utils)\n", stderr);
	snprintf(bench.dir, sizeof(bench.dir), "%s/bench_image.XXXXXX", options->folder);
	if (!mkdtemp(bench.dir))
		return err_sys(err, "a folder in %s", options->folder);
	cpumeter_start(&meter);
	result = measure(&bench, err);
	cpumeter_stop(&meter);
	benchenv_remove(env, bench.dir);
	report->took_s = (double)(clock_mono_ns() - began) / 1e9;
	report->others_cpus = (double)meter.others_ns / 1e9 / report->took_s;
	return result;
}

int main(int argc, char **argv)
{
	static struct image_report report;
	struct err err = {.kind = ERR_NONE};
	struct options options;
	struct benchenv env;
	int status = 1;

	if (argc == 4 && strcmp(argv[1], "--memory-of") == 0) {
		if (image_memory_of(argv[2], strtoull(argv[3], NULL, 10), &err) == 0)
			return 0;
		fprintf(stderr, "bench_image: %s\n", err.text);
		return 1;
	}
	benchenv_defaults(&env);
	if (parse(argc, argv, &options, &err) == 0 && proc_open(&err) == 0 &&
	    benchenv_open(&env, &err) == 0 && run(&env, &options, &report, &err) == 0 &&
	    publish(&env, &report, &err) == 0)
		status = options.strict && image_report_missed(&report) > 0;
	benchenv_close(&env);
	if (err.kind != ERR_NONE)
		fprintf(stderr, "bench_image: %s\n", err.text);
	return proc_interrupted() ? 130 : status;
}
