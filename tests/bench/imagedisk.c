#include "tests/bench/imagedisk.h"
#include "common/io.h"
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

int disk_raw(struct disk *disk, const char *path, uint64_t size_bytes, struct err *err)
{
	*disk = (struct disk){.size_bytes = size_bytes};
	snprintf(disk->path, sizeof(disk->path), "%s", path);
	disk->fd = open(path, O_RDWR | O_CREAT | O_EXCL | O_DIRECT | O_CLOEXEC, 0600);
	if (disk->fd < 0 || ftruncate(disk->fd, (off_t)size_bytes) != 0)
		return err_sys(err, "%s", path);
	return 0;
}

int disk_dvol(struct disk *disk, const char *path, uint64_t size_bytes, struct err *err)
{
	struct dvol_create_options create = {.size_bytes = size_bytes};
	struct dvol_open_options options = {.writable = true, .direct = true};

	*disk = (struct disk){.size_bytes = size_bytes, .fd = -1};
	snprintf(disk->path, sizeof(disk->path), "%s", path);
	if (dvol_create(path, &create, err) != 0)
		return -1;
	disk->vol = dvol_open(path, &options, err);
	return disk->vol ? 0 : -1;
}

int disk_end(struct disk *disk, struct err *err)
{
	int result = dvol_close(disk->vol, err);

	disk->vol = NULL;
	io_close(&disk->fd);
	unlink(disk->path);
	return result;
}

uint64_t load_jumps(uint64_t size_bytes)
{
	uint64_t blocks = size_bytes / DVOL_BLOCK;
	uint64_t step = (uint64_t)((double)blocks * 0.381966) | 1, a = step, b = blocks;

	/* All blocks are reached when the two have no factor in common. */
	for (;;) {
		while (b != 0) {
			uint64_t rest = a % b;

			a = b;
			b = rest;
		}
		if (a == 1)
			return step * DVOL_BLOCK;
		step += 2;
		a = step;
		b = blocks;
	}
}

static int transfer(const struct disk *disk, const struct load *load, void *data, uint64_t offset,
		    struct err *err)
{
	ssize_t n;

	if (disk->vol)
		return load->write ? dvol_write(disk->vol, data, load->bytes, offset, err)
				   : dvol_read(disk->vol, data, load->bytes, offset, err);
	n = load->write ? pwrite(disk->fd, data, load->bytes, (off_t)offset)
			: pread(disk->fd, data, load->bytes, (off_t)offset);
	return n == (ssize_t)load->bytes
		   ? 0
		   : err_sys(err, "%s: byte %llu", disk->path, (unsigned long long)offset);
}

static int flush(const struct disk *disk, struct err *err)
{
	if (disk->vol)
		return dvol_flush(disk->vol, err);
	return fdatasync(disk->fd) == 0 ? 0 : err_sys(err, "%s", disk->path);
}

static void failed(struct load_run *run, const struct err *why)
{
	pthread_mutex_lock(&run->lock);
	if (run->err.kind == ERR_NONE)
		run->err = *why;
	pthread_mutex_unlock(&run->lock);
	__atomic_store_n(&run->stop, true, __ATOMIC_RELAXED);
}

static int one(struct load_run *run, uint64_t i, void *data, struct err *err)
{
	const struct load *load = &run->load;
	uint64_t offset =
	    (uint64_t)((unsigned __int128)(load->first + i) * load->step % run->disk->size_bytes);
	uint64_t began = clock_mono_ns(), took, worst = __atomic_load_n(&run->worst_ns, __ATOMIC_RELAXED);

	if (transfer(run->disk, load, data, offset, err) != 0)
		return -1;
	took = clock_mono_ns() - began;
	while (took > worst && !__atomic_compare_exchange_n(&run->worst_ns, &worst, took, false,
							    __ATOMIC_RELAXED, __ATOMIC_RELAXED))
		;
	__atomic_add_fetch(&run->done, 1, __ATOMIC_RELAXED);
	if (load->flush_every != 0 && (i + 1) % load->flush_every == 0)
		return flush(run->disk, err);
	return 0;
}

static void *work(void *context)
{
	struct load_run *run = context;
	struct err err = {.kind = ERR_NONE};
	void *data;

	if (posix_memalign(&data, DVOL_BLOCK, run->load.bytes) != 0)
		abort();
	memset(data, 0x5a, run->load.bytes);
	while (!__atomic_load_n(&run->stop, __ATOMIC_RELAXED)) {
		uint64_t i = __atomic_fetch_add(&run->next, 1, __ATOMIC_RELAXED);

		if (i >= run->load.operations)
			break;
		if (one(run, i, data, &err) != 0) {
			failed(run, &err);
			break;
		}
	}
	free(data);
	return NULL;
}

int load_start(struct load_run *run, const struct disk *disk, const struct load *load, unsigned threads,
	       struct err *err)
{
	memset(run, 0, sizeof(*run));
	run->disk = disk;
	run->load = *load;
	pthread_mutex_init(&run->lock, NULL);
	run->began_ns = clock_mono_ns();
	for (; run->threads < threads; run->threads++) {
		errno = pthread_create(&run->ids[run->threads], NULL, work, run);
		if (errno != 0) {
			err_sys(err, "a thread");
			load_stop(run, NULL);
			return -1;
		}
	}
	return 0;
}

double load_wait(struct load_run *run, struct err *err)
{
	struct err why = {.kind = ERR_NONE};
	double took_s;

	for (unsigned i = 0; i < run->threads; i++)
		pthread_join(run->ids[i], NULL);
	pthread_mutex_destroy(&run->lock);
	if (run->err.kind == ERR_NONE && run->load.write && flush(run->disk, &why) != 0)
		run->err = why;
	took_s = (double)(clock_mono_ns() - run->began_ns) / 1e9;
	if (run->err.kind == ERR_NONE)
		return (double)run->done / took_s;
	if (err)
		*err = run->err;
	return -1;
}

double load_stop(struct load_run *run, struct err *err)
{
	__atomic_store_n(&run->stop, true, __ATOMIC_RELAXED);
	return load_wait(run, err);
}

double load_run(const struct disk *disk, const struct load *load, unsigned threads, struct err *err)
{
	struct load_run run;

	return load_start(&run, disk, load, threads, err) == 0 ? load_wait(&run, err) : -1;
}
