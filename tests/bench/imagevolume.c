/* imagevolume.c: what must not depend on a volume's size: closing an epoch under load, and what changed; and the digest
 * and check of a full one; and what an open handle takes of memory. */
#include "common/io.h"
#include "common/units.h"
#include "tests/bench/imagebench.h"
#include "tests/bench/proc.h"
#include "tests/bench/procfs.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { CLOSE_EVERY = 512, ASKED = 9, SAMPLE_EVERY = 64, MEMORY_WRITES = 20000 };

#define PATIENCE_NS        300000000000ull
#define MOST_CLOSE_MS      10.0
#define LARGE_BYTES        (64ULL << 30) /* what is larger may take longer to say what changed */
#define MOST_CHANGED_MS    10.0
#define MOST_CHANGED_LARGE 20.0
#define IDLE_MIB_PER_TIB   1.0

static double ms_since(uint64_t began_ns)
{
	return (double)(clock_mono_ns() - began_ns) / 1e6;
}

/* Until that many operations are done; false after a failure. */
static int wait_done(struct load_run *run, uint64_t operations, struct err *err)
{
	uint64_t deadline = clock_mono_ns() + PATIENCE_NS;

	while (__atomic_load_n(&run->done, __ATOMIC_RELAXED) < operations) {
		if (proc_check(deadline, "writes to a volume", err) != 0)
			return -1;
		if (__atomic_load_n(&run->stop, __ATOMIC_RELAXED))
			return err_set(err, ERR_SYSTEM, "the writers stopped");
		proc_pause(200000);
	}
	return 0;
}

/* Close epochs while all threads write, one for every so many writes; and as long a load without closes. */
static int closes(struct image_bench *bench, struct disk *disk, const char *size, struct err *err)
{
	struct load load = image_bench_random(bench, disk->size_bytes);
	struct image_figure *latency, *stall, *without;
	struct load_run run;
	int result;

	latency = image_report_figure(bench->report, "ms", BOUND_MOST, MOST_CLOSE_MS,
				      "closing an epoch under load, %s", size);
	latency->worst = true;
	stall = image_report_figure(bench->report, "ms", BOUND_NONE, 0, "the same, the longest write");
	without = image_report_figure(bench->report, "ms", BOUND_NONE, 0,
				      "the same without closes, the longest write");
	load.operations = (uint64_t)bench->closes * CLOSE_EVERY;
	if (load_start(&run, disk, &load, bench->report->threads, err) != 0 || load_wait(&run, err) <= 0)
		return -1;
	stats_add(&without->values, (double)run.worst_ns / 1e6);
	load.first = load.operations;
	load.operations = UINT64_MAX;
	if (load_start(&run, disk, &load, bench->report->threads, err) != 0)
		return -1;
	result = 0;
	for (unsigned i = 0; i < bench->closes && result == 0; i++) {
		result = wait_done(&run, (uint64_t)(i + 1) * CLOSE_EVERY, err);
		if (result == 0) {
			uint64_t began = clock_mono_ns();

			result = dvol_epoch_close(disk->vol, NULL, NULL, err);
			stats_add(&latency->values, ms_since(began));
		}
	}
	if (load_stop(&run, result == 0 ? err : NULL) < 0)
		result = -1;
	stats_add(&stall->values, (double)run.worst_ns / 1e6);
	return result;
}

static int close_after_changes(struct image_bench *bench, struct disk *disk, struct dvol_id ids[2],
			       struct err *err)
{
	struct load load = image_bench_random(bench, disk->size_bytes);

	load.operations = bench->changes;
	load.flush_every = 0;
	return dvol_epoch_close(disk->vol, NULL, &ids[0], err) == 0 &&
		       load_run(disk, &load, bench->report->threads, err) > 0 &&
		       dvol_epoch_close(disk->vol, NULL, &ids[1], err) == 0
		   ? 0
		   : -1;
}

static int ask_changed(struct disk *disk, const struct dvol_id ids[2], struct image_figure *figure,
		       struct err *err)
{
	for (unsigned i = 0; i < ASKED; i++) {
		struct dvol_extent *list;
		size_t count;
		uint64_t began = clock_mono_ns();

		if (dvol_changed(disk->vol, ids[0], ids[1], &list, &count, err) != 0)
			return -1;
		stats_add(&figure->values, ms_since(began));
		free(list);
	}
	return 0;
}

static int changed(struct image_bench *bench, struct disk *disk, const char *size,
		   const struct dvol_id ids[2], struct err *err)
{
	double most = disk->size_bytes > LARGE_BYTES ? MOST_CHANGED_LARGE : MOST_CHANGED_MS;
	struct dvol_open_options options = {.writable = true, .direct = true};
	struct image_figure *figure =
	    image_report_figure(bench->report, "ms", BOUND_MOST, most, "changed after %llu writes, %s",
				(unsigned long long)bench->changes, size);

	if (ask_changed(disk, ids, figure, err) != 0 || dvol_close(disk->vol, err) != 0) {
		disk->vol = NULL;
		return -1;
	}
	disk->vol = dvol_open(disk->path, &options, err);
	figure = image_report_figure(bench->report, "ms", BOUND_MOST, most, "the same, opened again");
	return disk->vol ? ask_changed(disk, ids, figure, err) : -1;
}

static int digest_and_check(struct image_bench *bench, struct disk *disk, const struct dvol_id ids[2],
			    struct err *err)
{
	struct image_figure *figure;
	uint8_t root[DVOL_ROOT];
	struct dvol_info info;
	uint64_t began = clock_mono_ns();

	figure = image_report_figure(bench->report, "ms", BOUND_NONE, 0, "the first digest of a full volume");
	if (dvol_digest(disk->vol, ids[0], root, err) != 0)
		return -1;
	stats_add(&figure->values, ms_since(began));
	figure = image_report_figure(bench->report, "ms", BOUND_NONE, 0,
				     "the next digest, after %llu changed blocks",
				     (unsigned long long)bench->changes);
	began = clock_mono_ns();
	if (dvol_digest(disk->vol, ids[1], root, err) != 0)
		return -1;
	stats_add(&figure->values, ms_since(began));
	figure = image_report_figure(bench->report, "ms", BOUND_NONE, 0, "check of all metadata");
	began = clock_mono_ns();
	if (dvol_check(disk->vol, &info, NULL, NULL, err) != 0)
		return -1;
	stats_add(&figure->values, ms_since(began));
	if (info.errors != 0)
		return err_set(err, ERR_INPUT, "check found %llu errors", (unsigned long long)info.errors);
	return 0;
}

int image_volume(struct image_bench *bench, uint64_t size_bytes, bool full, struct err *err)
{
	struct dvol_id ids[2];
	struct disk disk;
	char path[DISK_PATH], text[16], size[40];
	int result;

	snprintf(size, sizeof(size), "%s%s", full ? "a full volume of " : "a thin volume of ",
		 units_format_size(size_bytes, text));
	fprintf(stderr, "%s\n", size);
	image_bench_path(bench, "dvol", path);
	result = disk_dvol(&disk, path, size_bytes, err);
	if (result == 0 && full)
		result = image_bench_fill(bench, &disk, err);
	if (result == 0)
		result = closes(bench, &disk, size, err);
	if (result == 0)
		result = close_after_changes(bench, &disk, ids, err);
	if (result == 0)
		result = changed(bench, &disk, size, ids, err);
	if (result == 0 && full)
		result = digest_and_check(bench, &disk, ids, err);
	if (disk_end(&disk, result == 0 ? err : NULL) != 0)
		result = -1;
	return result;
}

/* ---- memory ---- */
static int64_t resident_kib(void)
{
	return procfs_field_kib(getpid(), "status", "RssAnon");
}

int image_memory_of(const char *path, uint64_t mapped_bytes, struct err *err)
{
	struct dvol_open_options options = {.writable = true, .direct = true};
	int64_t before = resident_kib(), idle, most = 0;
	struct dvol *vol = dvol_open(path, &options, err);
	uint64_t size, jumps, near_jumps = load_jumps(mapped_bytes);
	void *data;
	int result = 0;

	if (!vol)
		return -1;
	idle = resident_kib();
	size = dvol_size(vol);
	jumps = load_jumps(size);
	if (posix_memalign(&data, DVOL_BLOCK, DVOL_BLOCK) != 0)
		abort();
	memset(data, 0x5a, DVOL_BLOCK);
	for (uint64_t i = 0; i < MEMORY_WRITES && result == 0; i++) {
		uint64_t far = (uint64_t)((unsigned __int128)i * jumps % size);

		result = dvol_write(vol, data, DVOL_BLOCK, far, err);
		if (result == 0)
			result = dvol_read(vol, data, DVOL_BLOCK, i * near_jumps % mapped_bytes, err);
		if (i % SAMPLE_EVERY == 0 && resident_kib() > most)
			most = resident_kib();
	}
	if (result == 0)
		printf("%lld %lld %lld\n", (long long)(idle - before), (long long)(most - before),
		       (long long)(resident_kib() - before));
	free(data);
	if (dvol_close(vol, result == 0 ? err : NULL) != 0)
		result = -1;
	return result;
}

/* In a process of its own: this one's memory says nothing of a volume any longer. */
static int ask_memory(struct image_bench *bench, const char *path, long long kib[3], struct err *err)
{
	char out[DISK_PATH], mapped[24];
	const char *argv[] = {"/proc/self/exe", "--memory-of", path, mapped, NULL};
	struct proc_spawn spawn = {.argv = argv, .out = out, .errors = out};
	void *text;
	size_t len;
	int n;

	image_bench_path(bench, "memory.out", out);
	snprintf(mapped, sizeof(mapped), "%llu", (unsigned long long)bench->mapped_bytes);
	if (proc_run(&spawn, clock_mono_ns() + PATIENCE_NS, err) != 0)
		return -1;
	if (io_read_file(out, 4096, &text, &len) != 0)
		return err_sys(err, "%s", out);
	n = sscanf(text, "%lld %lld %lld", &kib[0], &kib[1], &kib[2]);
	free(text);
	unlink(out);
	return n == 3 ? 0 : err_set(err, ERR_SYSTEM, "--memory-of did not print three numbers");
}

int image_memory(struct image_bench *bench, struct err *err)
{
	uint64_t tib = 1ULL << 40;
	struct image_figure *figure;
	long long kib[3];
	struct disk disk;
	char path[DISK_PATH], mapped[16];
	int result;

	image_bench_path(bench, "dvol", path);
	units_format_size(bench->mapped_bytes, mapped);
	result = disk_dvol(&disk, path, tib, err);
	if (result == 0) {
		disk.size_bytes = bench->mapped_bytes;
		result = image_bench_fill(bench, &disk, err);
		disk.size_bytes = tib;
	}
	if (dvol_close(disk.vol, result == 0 ? err : NULL) != 0)
		result = -1;
	disk.vol = NULL;
	if (result == 0)
		result = ask_memory(bench, path, kib, err);
	disk_end(&disk, NULL);
	if (result != 0)
		return -1;
	figure = image_report_figure(bench->report, "MiB", BOUND_MOST, IDLE_MIB_PER_TIB,
				     "memory of an open handle, 1 TiB with %s mapped, idle", mapped);
	stats_add(&figure->values, (double)kib[0] / 1024);
	figure = image_report_figure(bench->report, "MiB", BOUND_NONE, 0,
				     "the same, at most, while all of it is written and read at random");
	stats_add(&figure->values, (double)kib[1] / 1024);
	figure = image_report_figure(bench->report, "MiB", BOUND_NONE, 0, "the same, at the end of that");
	stats_add(&figure->values, (double)kib[2] / 1024);
	return 0;
}
