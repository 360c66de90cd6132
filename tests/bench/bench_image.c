/* bench_image: a volume beside a raw file, with the same loads: QD threads doing synchronous I/O through the page cache's
 * bypass (O_DIRECT), 4 KiB at random or 64 KiB in order, and a flush every so many.
 *
 * bench_image [FOLDER [SIZE_MIB [REPEATS]]]: medians, one line a load; space used a row below.  The folder should be on
 * the disk to be measured. */
#include "common/io.h"
#include "imagefmt/dvol.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { THREADS = 8, OPERATIONS = 16384, REPEATS_MAX = 15 };

static char folder[512] = "/var/tmp";
static uint64_t size_bytes = 1024ULL << 20;
static unsigned repeats = 3;

struct target {
	struct dvol *vol; /* or a raw file */
	int fd;
};

struct load {
	bool write, random;
	uint32_t bytes, flush_every, operations;
};

struct worker {
	struct target *target;
	const struct load *load;
	unsigned number;
	uint64_t seed;
	pthread_t thread;
};

static void die(const char *what, const struct err *err)
{
	fprintf(stderr, "bench_image: %s: %s\n", what, err != NULL ? err->text : strerror(errno));
	exit(1);
}

static void transfer(struct target *target, void *data, const struct load *load, uint64_t offset)
{
	struct err err = {0};
	if (target->vol == NULL) {
		ssize_t n = load->write ? pwrite(target->fd, data, load->bytes, (off_t)offset)
					: pread(target->fd, data, load->bytes, (off_t)offset);
		if (n != (ssize_t)load->bytes)
			die("raw I/O", NULL);
	} else if ((load->write ? dvol_write(target->vol, data, load->bytes, offset, &err)
				: dvol_read(target->vol, data, load->bytes, offset, &err)) < 0) {
		die("volume I/O", &err);
	}
}

static void flush(struct target *target)
{
	struct err err = {0};
	if (target->vol != NULL ? dvol_flush(target->vol, &err) < 0 : fdatasync(target->fd) < 0)
		die("flush", target->vol != NULL ? &err : NULL);
}

static void *work(void *context)
{
	struct worker *worker = context;
	const struct load *load = worker->load;
	uint64_t slots = size_bytes / load->bytes, at = slots / THREADS * worker->number, x = worker->seed;
	void *data;
	if (posix_memalign(&data, 4096, load->bytes) != 0)
		die("memory", NULL);
	memset(data, 0x5a + (int)worker->number, load->bytes);
	for (uint32_t i = 0; i < load->operations / THREADS; i++) {
		x ^= x << 13;
		x ^= x >> 7;
		x ^= x << 17;
		transfer(worker->target, data, load, (load->random ? x % slots : at++ % slots) * load->bytes);
		if (load->flush_every != 0 && i % (load->flush_every / THREADS) == 0 && worker->number == 0)
			flush(worker->target);
	}
	free(data);
	return NULL;
}

/* run: operations a second. */
static double run(struct target *target, const struct load *load)
{
	static uint64_t seed = 88172645463325252ULL;
	struct worker workers[THREADS];
	uint64_t began = clock_mono_ns();
	for (unsigned i = 0; i < THREADS; i++) {
		seed += 0x9e3779b97f4a7c15ULL;
		workers[i] = (struct worker){.target = target, .load = load, .number = i, .seed = seed};
		if (pthread_create(&workers[i].thread, NULL, work, &workers[i]) != 0)
			die("thread", NULL);
	}
	for (unsigned i = 0; i < THREADS; i++)
		pthread_join(workers[i].thread, NULL);
	if (load->write)
		flush(target);
	return load->operations / ((double)(clock_mono_ns() - began) / 1e9);
}

static int by_value(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;
	return x < y ? -1 : x > y;
}

static double median(double *values, unsigned n)
{
	qsort(values, n, sizeof(*values), by_value);
	return values[n / 2];
}

static void path_of(char path[600], const char *name)
{
	snprintf(path, 600, "%s/bench_image.%d.%s", folder, (int)getpid(), name);
}

static struct target fresh(bool raw)
{
	struct err err = {0};
	struct target target = {.fd = -1};
	char path[600];
	path_of(path, raw ? "raw" : "dvol");
	unlink(path);
	if (raw) {
		target.fd = open(path, O_RDWR | O_CREAT | O_EXCL | O_DIRECT, 0600);
		if (target.fd < 0 || ftruncate(target.fd, (off_t)size_bytes) < 0)
			die(path, NULL);
		return target;
	}
	struct dvol_create_options create = {.size_bytes = size_bytes};
	struct dvol_open_options options = {.writable = true, .direct = true};
	if (dvol_create(path, &create, &err) < 0 || (target.vol = dvol_open(path, &options, &err)) == NULL)
		die(path, &err);
	return target;
}

static void end(struct target *target, bool raw)
{
	struct err err = {0};
	char path[600];
	if (raw)
		close(target->fd);
	else if (dvol_close(target->vol, &err) < 0)
		die("close", &err);
	path_of(path, raw ? "raw" : "dvol");
	unlink(path);
}

static const struct load fill = {.write = true, .bytes = 65536};
static const struct load thin = {
    .write = true, .random = true, .bytes = 4096, .flush_every = 64, .operations = OPERATIONS};
static const struct load reads = {.random = true, .bytes = 4096, .operations = OPERATIONS};

enum { THIN, FILL, OVERWRITE, READ, SEQ_READ, LOADS };
static const char *const names[LOADS] = {"thin 4K random write, flush/64", "thin 64K sequential write",
					 "full 4K random write, flush/64", "full 4K random read",
					 "64K sequential read"};

static void measure(bool raw, double results[LOADS])
{
	double values[LOADS][REPEATS_MAX] = {0};
	struct load all = fill;
	all.operations = (uint32_t)(size_bytes / all.bytes);
	for (unsigned i = 0; i < repeats; i++) {
		struct target target = fresh(raw);
		values[THIN][i] = run(&target, &thin);
		end(&target, raw);
		target = fresh(raw);
		all.write = true;
		values[FILL][i] = run(&target, &all);
		values[OVERWRITE][i] = run(&target, &thin);
		values[READ][i] = run(&target, &reads);
		all.write = false;
		values[SEQ_READ][i] = run(&target, &all);
		end(&target, raw);
	}
	for (unsigned l = 0; l < LOADS; l++)
		results[l] = median(values[l], repeats);
}

static void close_epochs(struct dvol *vol, unsigned count, double *worst_ms)
{
	struct err err = {0};
	for (unsigned i = 0; i < count; i++) {
		uint64_t began = clock_mono_ns();
		if (dvol_epoch_close(vol, NULL, NULL, &err) < 0)
			die("close an epoch", &err);
		double ms = (double)(clock_mono_ns() - began) / 1e6;
		*worst_ms = ms > *worst_ms ? ms : *worst_ms;
	}
}

static uint64_t used(struct dvol *vol)
{
	struct err err = {0};
	struct dvol_info info;
	if (dvol_flush(vol, &err) < 0 || dvol_info(vol, &info, &err) < 0)
		die("info", &err);
	return info.used_bytes;
}

/* The row that decides: random writes right after an epoch was closed, with `kept` epochs. */
static void after_close(double steady)
{
	static const unsigned kept[] = {1, 10, 100};
	struct load all = fill, some = thin;
	all.operations = (uint32_t)(size_bytes / all.bytes);
	some.operations = 256;
	struct target target = fresh(false);
	run(&target, &all);
	unsigned have = 0;
	for (unsigned k = 0; k < 3; k++) {
		double values[REPEATS_MAX] = {0}, worst = 0, space = 0;
		for (; have < kept[k]; have++) {
			run(&target, &some);
			close_epochs(target.vol, 1, &worst);
		}
		for (unsigned i = 0; i < repeats; i++, have++) {
			uint64_t before = used(target.vol);
			values[i] = run(&target, &thin);
			space = (double)(used(target.vol) - before) / ((double)OPERATIONS * 4096);
			close_epochs(target.vol, 1, &worst);
		}
		double iops = median(values, repeats);
		printf("%-36s %10.0f  %.2f x steady, space %.3f x, close at worst %.2f ms\n",
		       k == 0   ? "4K random write after close, 1 kept"
		       : k == 1 ? "  10 kept"
				: "  100 kept",
		       iops, iops / steady, space, worst);
	}
	struct err err = {0};
	struct dvol_epoch *list;
	struct dvol_extent *extents;
	size_t count, nextents;
	if (dvol_epochs(target.vol, &list, &count, &err) < 0)
		die("epochs", &err);
	uint64_t began = clock_mono_ns();
	if (dvol_changed(target.vol, list[count - 2].id, list[count - 1].id, &extents, &nextents, &err) < 0)
		die("changed", &err);
	printf("%-36s %10.2f ms for %zu extents\n", "changed between two epochs",
	       (double)(clock_mono_ns() - began) / 1e6, nextents);
	began = clock_mono_ns();
	if (dvol_epoch_delete(target.vol, list[count / 2].id, &err) < 0)
		die("delete", &err);
	printf("%-36s %10.2f ms\n", "delete an epoch in the middle", (double)(clock_mono_ns() - began) / 1e6);
	free(list);
	free(extents);
	end(&target, false);
}

int main(int argc, char **argv)
{
	double raw[LOADS], dvol[LOADS];
	if (argc > 1)
		snprintf(folder, sizeof(folder), "%s", argv[1]);
	if (argc > 2)
		size_bytes = strtoull(argv[2], NULL, 10) << 20;
	if (argc > 3)
		repeats = (unsigned)strtoul(argv[3], NULL, 10);
	if (size_bytes < 64ULL << 20 || repeats < 1 || repeats > REPEATS_MAX) {
		fprintf(
		    stderr,
		    "usage: bench_image [FOLDER [SIZE_MIB [REPEATS]]] (64 MiB or more, 1 to 15 repeats)\n");
		return 2;
	}
	measure(true, raw);
	measure(false, dvol);
	printf("%-36s %10s %10s   ratio\n", "operations a second", "raw", "dvol");
	for (unsigned l = 0; l < LOADS; l++)
		printf("%-36s %10.0f %10.0f   %.2f\n", names[l], raw[l], dvol[l], dvol[l] / raw[l]);
	after_close(dvol[OVERWRITE]);
	return 0;
}
