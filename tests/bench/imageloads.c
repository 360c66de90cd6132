/* imageloads.c: a raw file, a volume and qcow2 under the same loads, in turns. */
#include "tests/bench/imagebench.h"
#include "tests/bench/imageqemu.h"
#include "tests/bench/proc.h"
#include <stdio.h>
#include <string.h>
#include <unistd.h>

enum which { THIN_RANDOM, THIN_SEQUENTIAL, OVERWRITE, READ, SEQ_OVERWRITE, SEQ_READ, LOADS };

static const struct {
	const char *name;
	double least_raw;
} targets[LOADS] = {
    [THIN_RANDOM] = {"thin: 4 KiB random write, flush every 64", 0.7},
    [THIN_SEQUENTIAL] = {"thin: 64 KiB sequential write", 0.7},
    [OVERWRITE] = {"full: 4 KiB random write, flush every 64", 0.9},
    [READ] = {"full: 4 KiB random read", 0.9},
    [SEQ_OVERWRITE] = {"full: 64 KiB sequential write", 0.9},
    [SEQ_READ] = {"full: 64 KiB sequential read", 0.9},
};

void image_bench_path(const struct image_bench *bench, const char *name, char path[DISK_PATH])
{
	snprintf(path, DISK_PATH, "%s/%s", bench->dir, name);
}

int image_bench_fill(const struct image_bench *bench, const struct disk *disk, struct err *err)
{
	struct load load = {
	    .write = true, .bytes = 65536, .step = 65536, .operations = disk->size_bytes / 65536};

	return load_run(disk, &load, bench->report->threads, err) > 0 ? 0 : -1;
}

struct load image_bench_random(const struct image_bench *bench, uint64_t size_bytes)
{
	return (struct load){.write = true,
			     .bytes = DVOL_BLOCK,
			     .step = load_jumps(size_bytes),
			     .operations = bench->operations,
			     .flush_every = 64};
}

/* The four subjects of a round. */
struct subjects {
	struct disk raw, dvol;
	char raw_qemu[DISK_PATH], qcow2[DISK_PATH];
};

static int subjects_make(struct image_bench *bench, struct subjects *subjects, struct err *err)
{
	uint64_t size = bench->report->size_bytes;
	char path[DISK_PATH];

	memset(subjects, 0, sizeof(*subjects));
	subjects->raw.fd = subjects->dvol.fd = -1;
	image_bench_path(bench, "raw", path);
	if (disk_raw(&subjects->raw, path, size, err) != 0)
		return -1;
	image_bench_path(bench, "dvol", path);
	if (disk_dvol(&subjects->dvol, path, size, err) != 0)
		return -1;
	image_bench_path(bench, "raw.qemu", subjects->raw_qemu);
	image_bench_path(bench, "qcow2", subjects->qcow2);
	if (!bench->qemu)
		return 0;
	return qemu_img_create(bench->dir, subjects->raw_qemu, "raw", size, err) == 0
		   ? qemu_img_create(bench->dir, subjects->qcow2, "qcow2", size, err)
		   : -1;
}

static int subjects_end(struct subjects *subjects, struct err *err)
{
	disk_end(&subjects->raw, NULL);
	unlink(subjects->raw_qemu);
	unlink(subjects->qcow2);
	return disk_end(&subjects->dvol, err);
}

static double run_on(const struct image_bench *bench, struct subjects *subjects, enum subject subject,
		     const struct load *load, struct err *err)
{
	const struct image_report *report = bench->report;

	switch (subject) {
	case SUBJECT_RAW:
		return load_run(&subjects->raw, load, report->threads, err);
	case SUBJECT_DVOL:
		return load_run(&subjects->dvol, load, report->threads, err);
	case SUBJECT_RAW_QEMU:
		return qemu_img_bench(bench->dir, subjects->raw_qemu, "raw", report->size_bytes, load,
				      report->threads, err);
	default:
		return qemu_img_bench(bench->dir, subjects->qcow2, "qcow2", report->size_bytes, load,
				      report->threads, err);
	}
}

/* One load on each subject, beginning with another one in each round. */
static int run_load(struct image_bench *bench, struct subjects *subjects, enum which which, unsigned round,
		    struct err *err)
{
	struct image_report *report = bench->report;
	struct image_load *cell = &report->loads[which];
	struct load load = image_bench_random(bench, report->size_bytes);
	double rates[SUBJECTS] = {0};

	if (which == THIN_SEQUENTIAL || which == SEQ_OVERWRITE || which == SEQ_READ)
		load = (struct load){.bytes = 65536, .step = 65536, .operations = report->size_bytes / 65536};
	load.write = which != READ && which != SEQ_READ;
	if (!load.write)
		load.flush_every = 0;
	if (which != THIN_SEQUENTIAL)
		load.first = load.operations * round;
	for (unsigned i = 0; i < SUBJECTS; i++) {
		enum subject subject = (i + round) % SUBJECTS;

		if (!bench->qemu && subject >= SUBJECT_RAW_QEMU)
			continue;
		if (proc_interrupted())
			return err_set(err, ERR_CANCELLED, "interrupted");
		rates[subject] = run_on(bench, subjects, subject, &load, err);
		if (rates[subject] <= 0)
			return -1;
		stats_add(&cell->rates[subject], rates[subject]);
	}
	stats_add(&cell->to_raw, rates[SUBJECT_DVOL] / rates[SUBJECT_RAW]);
	if (bench->qemu)
		stats_add(&cell->to_qcow2, rates[SUBJECT_DVOL] / rates[SUBJECT_QCOW2]);
	fprintf(stderr, "round %u: %-42s raw %6.0f, dvol %6.0f, qcow2 %6.0f\n", round + 1,
		targets[which].name, rates[SUBJECT_RAW], rates[SUBJECT_DVOL], rates[SUBJECT_QCOW2]);
	return 0;
}

int image_loads(struct image_bench *bench, struct err *err)
{
	struct image_report *report = bench->report;
	struct subjects subjects;
	int result = 0;

	for (report->nloads = 0; report->nloads < LOADS; report->nloads++) {
		report->loads[report->nloads].name = targets[report->nloads].name;
		report->loads[report->nloads].least_raw = targets[report->nloads].least_raw;
	}
	for (unsigned round = 0; round < report->rounds && result == 0; round++) {
		for (enum which which = 0; which < LOADS && result == 0; which++) {
			if (which <= THIN_SEQUENTIAL)
				result = subjects_make(bench, &subjects, err);
			if (result == 0)
				result = run_load(bench, &subjects, which, round, err);
			if (result == 0 && (which == THIN_RANDOM || which == LOADS - 1))
				result = subjects_end(&subjects, err);
		}
	}
	return result;
}
