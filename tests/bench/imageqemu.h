/* imageqemu.h: the same loads through `qemu-img bench`, on qcow2 and on raw files. */
#ifndef BENCH_IMAGEQEMU_H
#define BENCH_IMAGEQEMU_H

#include "tests/bench/imagedisk.h"

/* qemu_img_create(dir, path, format, size_bytes, err): a new image with qemu-img's defaults.  qemu_img_snapshot:
 * option -c makes an internal snapshot, -d deletes it.
 * qemu_img_bench: operations a second as qemu-img says, cache=none and native AIO, at most depth in flight; the load's
 * flushes included, but none at the end.  -1 with err.  dir: for what the program says. */
int qemu_img_create(const char *dir, const char *path, const char *format, uint64_t size_bytes,
		    struct err *err);
int qemu_img_snapshot(const char *dir, const char *path, const char *option, const char *name,
		      struct err *err);
double qemu_img_bench(const char *dir, const char *path, const char *format, uint64_t size_bytes,
		      const struct load *load, unsigned depth, struct err *err);

#endif
