/* iosubjects.c: what is measured, and the disks and the network for it. */
#include "common/io.h"
#include "tests/bench/imageqemu.h"
#include "tests/bench/iobench.h"
#include "tests/bench/proc.h"
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define PATIENCE_NS 300000000000ull

const struct io_subject io_subjects[] = {
    {GROUP_DVOL, "drover_dvol", NULL, false},
    {GROUP_DROVER_RAW, "drover_raw", NULL, false},
    {GROUP_QEMU_RAW, "qemu_raw_native", "native", false},
    {GROUP_QEMU_RAW, "qemu_raw_native_iothread", "native", true},
    {GROUP_QEMU_RAW, "qemu_raw_io_uring", "io_uring", false},
    {GROUP_QEMU_RAW, "qemu_raw_io_uring_iothread", "io_uring", true},
    {GROUP_QEMU_QCOW2, "qemu_qcow2_native", "native", false},
    {GROUP_QEMU_QCOW2, "qemu_qcow2_native_iothread", "native", true},
    {GROUP_QEMU_QCOW2, "qemu_qcow2_io_uring", "io_uring", false},
    {GROUP_QEMU_QCOW2, "qemu_qcow2_io_uring_iothread", "io_uring", true},
    {GROUP_DROVER_NET, "drover_net", NULL, false},
    {GROUP_QEMU_NET, "qemu_net", NULL, false},
};
const size_t io_subject_count = sizeof(io_subjects) / sizeof(io_subjects[0]);

#define IOPS "requests/s"
const struct io_row io_rows[] = {
    {"full: 4 KiB random read, depth 1", "io=randread qd=1", IOPS, false, false, false},
    {"full: 4 KiB random read, depth 32", "io=randread qd=32", IOPS, false, false, false},
    {"full: 4 KiB random write, depth 1", "io=randwrite qd=1", IOPS, false, false, true},
    {"full: 4 KiB random write, depth 32", "io=randwrite qd=32", IOPS, false, false, true},
    {"full: 64 KiB sequential read, depth 8", "io=read bs=64K qd=8", IOPS, false, false, false},
    {"full: 64 KiB sequential write, depth 8", "io=write bs=64K qd=8", IOPS, false, false, true},
    {"thin: 4 KiB random write, depth 1", "io=randwrite qd=1", IOPS, false, true, true},
    {"thin: 4 KiB random write, depth 32", "io=randwrite qd=32", IOPS, false, true, true},
    {"thin: 64 KiB sequential write, depth 8", "io=write bs=64K qd=8", IOPS, false, true, true},
    {"net: round trips, 64 bytes", "qd=1 frame=64", "round trips/s", true, false, false},
    {"net: frames of 64 bytes", "qd=64 frame=64", "frames/s", true, false, false},
    {"net: frames of 1514 bytes", "qd=64 frame=1514", "frames/s", true, false, false},
};
const size_t io_row_count = sizeof(io_rows) / sizeof(io_rows[0]);

bool io_is_drover(const struct io_subject *subject)
{
	return subject->group == GROUP_DVOL || subject->group == GROUP_DROVER_RAW ||
	       subject->group == GROUP_DROVER_NET;
}

bool io_applies(const struct io_row *row, const struct io_subject *subject)
{
	bool net = subject->group == GROUP_DROVER_NET || subject->group == GROUP_QEMU_NET;

	/* drover only reads raw images. */
	return row->net == net && !(row->writes && subject->group == GROUP_DROVER_RAW);
}

static const char *suffix(const struct io_subject *subject)
{
	return subject->group == GROUP_DVOL ? "dvol" : subject->group == GROUP_QEMU_QCOW2 ? "qcow2" : "raw";
}

/* A raw file whose blocks all have different bytes, written past the page cache. */
static int fill_raw(const char *path, uint64_t size_bytes, struct err *err)
{
	enum { CHUNK = 1 << 20 };
	uint64_t *data = NULL, random = 0x9e3779b97f4a7c15;
	int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_DIRECT | O_CLOEXEC, 0600), result = 0;

	if (fd < 0 || posix_memalign((void **)&data, 4096, CHUNK) != 0)
		result = err_sys(err, "%s", path);
	for (uint64_t at = 0; at < size_bytes && result == 0; at += CHUNK) {
		for (size_t i = 0; i < CHUNK / sizeof(*data); i++)
			data[i] = random = random * 0x5851f42d4c957f2d + 1;
		if (pwrite(fd, data, CHUNK, (off_t)at) != CHUNK)
			result = err_sys(err, "%s", path);
	}
	if (result == 0 && fdatasync(fd) != 0)
		result = err_sys(err, "%s", path);
	free(data);
	io_close(&fd);
	return result;
}

static int command(const struct io_bench *bench, const char *const *argv, struct err *err)
{
	char errors[BENCHENV_PATH + 32];
	struct proc_spawn spawn = {.argv = argv, .errors = errors};

	snprintf(errors, sizeof(errors), "%s/command.err", bench->env->dir);
	return proc_run(&spawn, clock_mono_ns() + PATIENCE_NS, err);
}

/* A volume without epochs, all of whose blocks are its own. */
static int fill_dvol(const char *path, uint64_t size_bytes, struct err *err)
{
	struct load load = {.write = true, .bytes = 65536, .step = 65536, .operations = size_bytes / 65536};
	struct disk disk;

	if (disk_dvol(&disk, path, size_bytes, err) != 0)
		return -1;
	if (load_run(&disk, &load, 4, err) > 0)
		return dvol_close(disk.vol, err);
	dvol_close(disk.vol, NULL);
	return -1;
}

int io_disks_make(const struct io_bench *bench, struct err *err)
{
	char raw[BENCHENV_PATH + 32], dvol[BENCHENV_PATH + 32], qcow2[BENCHENV_PATH + 32];
	const char *convert[] = {"qemu-img", "convert", "-t",    "none", "-T",  "none", "-f",
				 "raw",      "-O",      "qcow2", raw,    qcow2, NULL};

	snprintf(raw, sizeof(raw), "%s/full.raw", bench->dir);
	snprintf(dvol, sizeof(dvol), "%s/full.dvol", bench->dir);
	snprintf(qcow2, sizeof(qcow2), "%s/full.qcow2", bench->dir);
	if (fill_raw(raw, bench->size_bytes, err) != 0 || fill_dvol(dvol, bench->size_bytes, err) != 0)
		return -1;
	return bench->env->qemu[0] ? command(bench, convert, err) : 0;
}

int io_disk(const struct io_bench *bench, const struct io_row *row, const struct io_subject *subject,
	    char path[BENCHENV_PATH], struct err *err)
{
	char size[24];
	const char *create[] = {bench->env->drover, "image", "create", path, size, NULL};

	snprintf(path, BENCHENV_PATH, "%.*s/%s.%s", BENCHENV_PATH - 32, bench->dir,
		 row->thin ? "thin" : "full", suffix(subject));
	if (!row->thin)
		return 0;
	unlink(path);
	snprintf(size, sizeof(size), "%lluM", (unsigned long long)(bench->size_bytes >> 20));
	if (subject->group == GROUP_DVOL)
		return command(bench, create, err);
	return qemu_img_create(bench->dir, path, suffix(subject), bench->size_bytes, err);
}

int io_network(struct err *err)
{
	static const char *const commands[][12] = {
	    {"ip", "link", "add", "io-br", "type", "bridge"},
	    {"ip", "link", "set", "io-br", "up"},
	    {"ip", "tuntap", "add", "io-0", "mode", "tap"},
	    {"ip", "tuntap", "add", "io-1", "mode", "tap"},
	    {"ip", "link", "set", "io-0", "master", "io-br", "up"},
	    {"ip", "link", "set", "io-1", "master", "io-br", "up"},
	};

	for (size_t i = 0; i < sizeof(commands) / sizeof(commands[0]); i++) {
		struct proc_spawn spawn = {.argv = commands[i]};

		if (proc_run(&spawn, clock_mono_ns() + 10000000000ull, err) != 0)
			return -1;
	}
	return 0;
}
