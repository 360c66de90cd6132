/* imagedisk.h: a volume or a raw file under load from several threads; the same code for both. */
#ifndef BENCH_IMAGEDISK_H
#define BENCH_IMAGEDISK_H

#include "common/err.h"
#include "imagefmt/dvol.h"
#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

enum { DISK_PATH = 320, DISK_THREADS_MAX = 32 };

struct disk {
	char path[DISK_PATH];
	struct dvol *vol; /* or a raw file */
	int fd;
	uint64_t size_bytes;
};

/* disk_raw, disk_dvol(disk, path, size_bytes, err): a new, empty one, open for direct I/O.  disk_end: close it (a
 * volume's last checkpoint included) and remove the file. */
int disk_raw(struct disk *disk, const char *path, uint64_t size_bytes, struct err *err);
int disk_dvol(struct disk *disk, const char *path, uint64_t size_bytes, struct err *err);
int disk_end(struct disk *disk, struct err *err);

/* Operation i goes to byte (first + i) * step % size, which is the order of `qemu-img bench` too. */
struct load {
	bool write;
	uint32_t bytes;       /* of an operation */
	uint64_t step;        /* bytes */
	uint64_t first;       /* where in the order this run begins */
	uint64_t operations;  /* UINT64_MAX: until load_stop */
	uint32_t flush_every; /* operations; 0: at the end only (writes) */
};

/* load_jumps(size_bytes): the step in bytes that goes through all 4 KiB blocks of a volume, each far from the one before, so
 * that every part of the order is spread evenly over the volume. */
uint64_t load_jumps(uint64_t size_bytes);

struct load_run {
	const struct disk *disk;
	struct load load;
	unsigned threads;
	pthread_t ids[DISK_THREADS_MAX];
	uint64_t began_ns;
	uint64_t next, done; /* operations (atomic) */
	uint64_t worst_ns;   /* the longest read or write, flushes not counted (atomic) */
	bool stop;           /* (atomic) */
	pthread_mutex_t lock;
	struct err err; /* the first one; under lock */
};

/* load_start: run stays the caller's and where it is until load_wait or load_stop, which return operations a second
 * (the flush at the end of a load that writes counts), or -1 with err.  load_run: start and wait. */
int load_start(struct load_run *run, const struct disk *disk, const struct load *load, unsigned threads,
	       struct err *err);
double load_wait(struct load_run *run, struct err *err);
double load_stop(struct load_run *run, struct err *err);
double load_run(const struct disk *disk, const struct load *load, unsigned threads, struct err *err);

#endif
