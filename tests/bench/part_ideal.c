/* part_ideal.c: the least that an idle guest's memory takes on the wire: each page that is not zero once, packed by zstd level 1 with
 * its neighbours, 64 KiB at a time, since that packs better than each page by itself. */
#include "common/io.h"
#include "tests/bench/guestlog.h"
#include "tests/bench/mover.h"
#include "tests/bench/parts.h"
#include "tests/bench/proc.h"
#include "tests/bench/procfs.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <zstd.h>

#define PATIENCE_NS 60000000000ull
enum { PAGE = 4096, BLOCK = 65536 };

static bool is_zero(const uint8_t *page)
{
	return page[0] == 0 && memcmp(page, page + 1, PAGE - 1) == 0;
}

/* All of a file's data, as it would be sent. */
static int pack(int fd, double *mib, struct err *err)
{
	static uint8_t block[BLOCK], packed[2 * BLOCK], page[PAGE];
	off_t size = lseek(fd, 0, SEEK_END), data = 0, hole;
	uint64_t bytes = 0;
	size_t len = 0;

	while (data < size && (data = lseek(fd, data, SEEK_DATA)) >= 0) {
		hole = lseek(fd, data, SEEK_HOLE);
		for (; data < hole; data += PAGE) {
			if (pread(fd, page, PAGE, data) != PAGE)
				return err_sys(err, "cannot read a guest's memory");
			if (is_zero(page))
				continue;
			memcpy(block + len, page, PAGE);
			len += PAGE;
			if (len == BLOCK) {
				bytes += ZSTD_compress(packed, sizeof(packed), block, len, 1);
				len = 0;
			}
		}
	}
	*mib = (double)(bytes + ZSTD_compress(packed, sizeof(packed), block, len, 1)) / (1 << 20);
	return 0;
}

static int run(struct move *move, struct results *results, struct err *err)
{
	uint64_t deadline_ns = clock_mono_ns() + PATIENCE_NS;
	struct guestlog log = {.fd = -1};
	int fd, status;

	if (mover_drover_ops.spawn(move, err) != 0 || mover_drover_ops.ready(move, deadline_ns, err) != 0)
		return -1;
	guestlog_open(&log, move->source_log);
	status = guestlog_wait_filled(&log, deadline_ns, err);
	guestlog_close(&log);
	if (status != 0)
		return -1;
	fd = procfs_memfd_open(move->vm, (uint64_t)move->env->memory_mib << 20);
	if (fd < 0)
		return err_sys(err, "cannot open a guest's memory");
	status = pack(fd, &results->ideal_mib, err);
	close(fd);
	return status;
}

int part_ideal(struct benchenv *env, struct results *results, unsigned rounds, struct err *err)
{
	struct move move = {.mover = &mover_table[0], .env = env};
	int status;

	(void)rounds; /* it is the same each time */
	if (benchenv_run_dir(env, move.dir, err) != 0)
		return -1;
	status = run(&move, results, err);
	mover_drover_ops.stop(&move);
	benchenv_end_processes(env);
	benchenv_remove(env, move.dir);
	if (status == 0)
		stats_add(&figure_of(&results->figures, "MiB", "filled memory, packed by zstd 1 (the ideal)")
			       ->values,
			  results->ideal_mib);
	return status;
}
