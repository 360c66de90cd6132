/* imagebench.h: the parts of bench_image.  Each adds what it measured to the report, and removes its files; -1 with err. */
#ifndef BENCH_IMAGEBENCH_H
#define BENCH_IMAGEBENCH_H

#include "tests/bench/imagedisk.h"
#include "tests/bench/imagereport.h"

struct image_bench {
	char dir[DISK_PATH - 64]; /* its own, on the disk that is measured */
	bool qemu;                /* qemu-img is there */
	unsigned closes;          /* epochs closed for a latency */
	uint64_t operations;      /* of a random load */
	uint64_t changes;         /* blocks written for `changed` and the digest */
	uint64_t mapped_bytes;    /* of the volume whose handle's memory is measured */
	struct image_report *report;
};

/* image_bench_path(bench, name, path): a file in its folder.  image_bench_fill(bench, disk, err): write all of it.
 * image_bench_random(bench): the load of 4 KiB writes with a flush every 64. */
void image_bench_path(const struct image_bench *bench, const char *name, char path[DISK_PATH]);
int image_bench_fill(const struct image_bench *bench, const struct disk *disk, struct err *err);
struct load image_bench_random(const struct image_bench *bench, uint64_t size_bytes);

/* image_loads: raw, dvol, qcow2 side by side.  image_epochs: random writes right after an epoch was closed.
 * image_volume: closing, `changed`, digest, check on a volume of this size; all of it is written first, or nothing.
 * image_memory: what an open handle of a large volume takes; image_memory_of prints it, in a process of its own. */
int image_loads(struct image_bench *bench, struct err *err);
int image_epochs(struct image_bench *bench, struct err *err);
int image_volume(struct image_bench *bench, uint64_t size_bytes, bool full, struct err *err);
int image_memory(struct image_bench *bench, struct err *err);
int image_memory_of(const char *path, uint64_t mapped_bytes, struct err *err);

#endif
