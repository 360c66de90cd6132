/* imageepochs.c: random writes to a full volume right after an epoch was closed; beside it qcow2 after a snapshot. */
#include "tests/bench/imagebench.h"
#include "tests/bench/imageqemu.h"
#include "tests/bench/proc.h"
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

enum { BETWEEN = 256 }; /* operations in the epochs that are only there to be kept */

#define LEAST_STEADY 0.5
#define MOST_SPACE   1.2

static int count_epochs(struct dvol *vol, size_t *count, struct dvol_id *oldest, struct err *err)
{
	struct dvol_epoch *list;

	if (dvol_epochs(vol, &list, count, err) != 0)
		return -1;
	if (*count > 0)
		*oldest = list[0].id;
	free(list);
	return 0;
}

/* Exactly `kept` epochs, the newest closed just now. */
static int keep(struct image_bench *bench, struct disk *disk, unsigned kept, uint64_t *at, struct err *err)
{
	struct load load = image_bench_random(bench, disk->size_bytes);
	struct dvol_id oldest;
	size_t count;

	load.operations = BETWEEN;
	for (;;) {
		if (count_epochs(disk->vol, &count, &oldest, err) != 0)
			return -1;
		if (count + 1 == kept)
			return dvol_epoch_close(disk->vol, NULL, NULL, err);
		if (count >= kept) {
			if (dvol_epoch_delete(disk->vol, oldest, err) != 0)
				return -1;
			continue;
		}
		load.first = *at;
		*at += BETWEEN;
		if (load_run(disk, &load, bench->report->threads, err) <= 0 ||
		    dvol_epoch_close(disk->vol, NULL, NULL, err) != 0)
			return -1;
	}
}

static int used(const struct disk *disk, uint64_t *bytes, struct err *err)
{
	struct dvol_info info;

	if (dvol_flush(disk->vol, err) != 0 || dvol_info(disk->vol, &info, err) != 0)
		return -1;
	*bytes = info.used_bytes;
	return 0;
}

static int dvol_row(struct image_bench *bench, struct disk *disk, unsigned kept, uint64_t *at,
		    struct err *err)
{
	struct image_report *report = bench->report;
	struct load load = image_bench_random(bench, disk->size_bytes);
	struct image_figure *ratio, *rate, *space;

	ratio = image_report_figure(report, "x steady", BOUND_LEAST, LEAST_STEADY,
				    "4 KiB random writes after a close, %u kept", kept);
	rate = image_report_figure(report, "writes/s", BOUND_NONE, 0, "the same, writes");
	space =
	    image_report_figure(report, "x", BOUND_MOST, MOST_SPACE, "the same, file space per byte written");
	for (unsigned round = 0; round < report->rounds; round++) {
		double first, again;
		uint64_t before, after;

		if (proc_interrupted())
			return err_set(err, ERR_CANCELLED, "interrupted");
		if (keep(bench, disk, kept, at, err) != 0 || used(disk, &before, err) != 0)
			return -1;
		load.first = *at;
		*at += load.operations;
		first = load_run(disk, &load, report->threads, err);
		if (first <= 0 || used(disk, &after, err) != 0)
			return -1;
		again = load_run(disk, &load, report->threads, err);
		if (again <= 0)
			return -1;
		stats_add(&ratio->values, first / again);
		stats_add(&rate->values, first);
		stats_add(&space->values,
			  (double)(int64_t)(after - before) / (double)(load.operations * DVOL_BLOCK));
	}
	return 0;
}

static int qcow2_row(struct image_bench *bench, struct err *err)
{
	struct image_report *report = bench->report;
	struct load fill = {
	    .write = true, .bytes = 65536, .step = 65536, .operations = report->size_bytes / 65536};
	struct load load = image_bench_random(bench, report->size_bytes);
	struct image_figure *ratio, *rate;
	char path[DISK_PATH];
	int result;

	ratio = image_report_figure(report, "x steady", BOUND_NONE, 0,
				    "qcow2: 4 KiB random writes after an internal snapshot, 1 kept");
	rate = image_report_figure(report, "writes/s", BOUND_NONE, 0, "the same, writes");
	image_bench_path(bench, "qcow2", path);
	result = qemu_img_create(bench->dir, path, "qcow2", report->size_bytes, err);
	if (result == 0 &&
	    qemu_img_bench(bench->dir, path, "qcow2", report->size_bytes, &fill, report->threads, err) <= 0)
		result = -1;
	for (unsigned round = 0; round < report->rounds && result == 0; round++) {
		double first, again;

		result = qemu_img_snapshot(bench->dir, path, "-c", "one", err);
		if (result != 0)
			break;
		first = qemu_img_bench(bench->dir, path, "qcow2", report->size_bytes, &load, report->threads,
				       err);
		again = first <= 0 ? first
				   : qemu_img_bench(bench->dir, path, "qcow2", report->size_bytes, &load,
						    report->threads, err);
		load.first += load.operations;
		if (again <= 0)
			result = -1;
		else
			result = qemu_img_snapshot(bench->dir, path, "-d", "one", err);
		stats_add(&ratio->values, first / again);
		stats_add(&rate->values, first);
	}
	unlink(path);
	return result;
}

int image_epochs(struct image_bench *bench, struct err *err)
{
	static const unsigned kept[] = {1, 10, 100};
	struct disk disk;
	char path[DISK_PATH];
	uint64_t at = 0;
	int result;

	image_bench_path(bench, "dvol", path);
	result = disk_dvol(&disk, path, bench->report->size_bytes, err);
	if (result == 0)
		result = image_bench_fill(bench, &disk, err);
	for (size_t i = 0; i < sizeof(kept) / sizeof(kept[0]) && result == 0; i++)
		result = dvol_row(bench, &disk, kept[i], &at, err);
	if (disk_end(&disk, result == 0 ? err : NULL) != 0)
		result = -1;
	return result == 0 && bench->qemu ? qcow2_row(bench, err) : result;
}
