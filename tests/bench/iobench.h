/* iobench.h: the parts of bench_io: VMs that drive a disk or a network as fast as they can, and what becomes of it. */
#ifndef BENCH_IOBENCH_H
#define BENCH_IOBENCH_H

#include "tests/bench/hostinfo.h"
#include "tests/bench/stats.h"
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

/* What is behind the guest's disk, or its network. */
enum io_group {
	GROUP_DVOL,
	GROUP_DROVER_RAW,
	GROUP_QEMU_RAW,
	GROUP_QEMU_QCOW2,
	GROUP_DROVER_NET,
	GROUP_QEMU_NET,
	IO_GROUPS
};
struct io_subject {
	enum io_group group;
	const char *name; /* in the JSON report */
	const char *aio;  /* QEMU */
	bool iothread;
};

struct io_row {
	const char *title;
	const char *load; /* of the guest's command line; "seconds=" is put behind it */
	const char *unit;
	bool net, thin, writes;
};

/* One run. */
struct io_result {
	double rate;    /* requests, or frames, a second */
	double cpu_us;  /* CPU time a request or frame, beside the vCPUs' */
	double all_us;  /* the same with theirs */
	double mean_us; /* that a request takes; of disks */
	double kicks;   /* notifications a request or frame */
};

enum { IO_SUBJECTS_MAX = 16, IO_ROWS_MAX = 16 };
extern const struct io_subject io_subjects[];
extern const size_t io_subject_count;
extern const struct io_row io_rows[];
extern const size_t io_row_count;

struct io_cell {
	struct stats rate, cpu_us, all_us, mean_us, kicks;
	char failure[256]; /* of the last run that failed; empty */
};

struct io_bench {
	struct benchenv *env;
	char dir[BENCHENV_PATH]; /* of the disks */
	uint64_t size_bytes;
	unsigned rounds, seconds;
	const char *only; /* part of the titles of the rows that are wanted; NULL: all */
	struct io_cell cells[IO_ROWS_MAX][IO_SUBJECTS_MAX];
	double took_s, others_cpus;
};

bool io_is_drover(const struct io_subject *subject);
/* io_applies: the subject is measured in this row. */
bool io_applies(const struct io_row *row, const struct io_subject *subject);

/* io_disks_make(bench, err): the full images of all kinds, once.  io_disk(bench, row, subject, path, err): the path of the one
 * to run on: a full one, or a new one where the row is about thin ones. */
int io_disks_make(const struct io_bench *bench, struct err *err);
int io_disk(const struct io_bench *bench, const struct io_row *row, const struct io_subject *subject,
	    char path[BENCHENV_PATH], struct err *err);
/* io_network(err): two taps on a bridge, in this process's network namespace. */
int io_network(struct err *err);

/* io_run(bench, row, subject, result, err): one run: VMs are started, measured, and gone.  0, or -1 with err. */
int io_run(struct io_bench *bench, const struct io_row *row, const struct io_subject *subject,
	   struct io_result *result, struct err *err);

/* io_report_markdown, io_report_json (a new reference); io_missed: how many ratios are below their target. */
void io_report_markdown(const struct io_bench *bench, const json_t *host, FILE *out);
json_t *io_report_json(const struct io_bench *bench, const json_t *host);
unsigned io_missed(const struct io_bench *bench);

#endif
