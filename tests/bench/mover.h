/* mover.h: one way to move the test guest from one "host" of this machine to another.
 *
 * A mover is a row of mover_table (mover.c) over one of two implementations, mover_drover.c and mover_qemu.c.
 * A run calls spawn, ready, prepare, migrate and stop in this order; stop also after any failure. */
#ifndef BENCH_MOVER_H
#define BENCH_MOVER_H

#include "common/err.h"
#include "tests/bench/benchenv.h"
#include "tests/bench/cpumeter.h"
#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define MOVE_DIRTY_MAX UINT32_MAX

/* Classes of rates at which the guest writes; a mover's are those at which it is measured unless the user chooses. */
enum mover_at {
	AT_IDLE = 1,
	AT_LOW = 2,  /* what any link carries away */
	AT_HIGH = 4, /* above MOVER_LOW_MB */
	AT_FLAT = 8, /* as fast as it can */
};
enum { MOVER_LOW_MB = 200 };

struct mover;

/* One run.  The caller fills what stands above the line and gives dir an empty folder. */
struct move {
	const struct mover *mover;
	const struct benchenv *env;
	char dir[BENCHENV_PATH];
	uint32_t dirty_mb; /* MB/s that the guest writes; MOVE_DIRTY_MAX: as fast as it can */
	/* Of drover: more words of the guest's command line, which then fills as much as they say; a disk; --dirty-tracking. */
	const char *words, *disk, *tracking;
	struct cpumeter meter;
	/* ---- what spawn fills: where the guest's serial port goes before and after the move */
	char source_log[BENCHENV_PATH + 64];
	char destination_log[BENCHENV_PATH + 64];
	pid_t vm; /* ---- what ready fills: the process that runs the guest */
	/* ---- what prepare fills: the forecast; negative: there is none */
	double planned_total_ms, planned_downtime_ms;
	/* ---- what migrate fills */
	uint64_t begin_ns,
	    end_ns; /* clock_mono_ns: the order given; moved, and the guest runs at the destination */
	double reported_total_ms; /* by the mover itself; negative: it does not say */
	double reported_downtime_ms;
	double reported_mib;
	json_t *reported; /* all that it said, for the JSON report; owned by the run */
	/* ---- the implementation's own */
	void *data;
};

struct mover_ops {
	/* available(mover, env, err): 0 when its programs are there; else -1 and what is missing. */
	int (*available)(const struct mover *mover, const struct benchenv *env, struct err *err);
	/* spawn: start the program that starts the guest; does not wait for anything.
	 * ready: it has done so, and takes orders.  The guest may have run for a while by then. */
	int (*spawn)(struct move *move, struct err *err);
	int (*ready)(struct move *move, uint64_t deadline_ns, struct err *err);
	/* prepare: what exists before an administrator gives the order, and so is not timed: for QEMU the waiting
	 * destination and the tunnel to it.  drover needs nothing; it makes its forecast here. */
	int (*prepare)(struct move *move, uint64_t deadline_ns, struct err *err);
	/* migrate: from the order until the guest runs at the destination; samples move->meter meanwhile.
	 * ERR_LINK when deadline_ns passes first. */
	int (*migrate)(struct move *move, uint64_t deadline_ns, struct err *err);
	/* stop: frees data and asks the guest to end; the caller then ends all processes that are left. */
	void (*stop)(struct move *move);
};

struct mover {
	const char *name;  /* on the command line and in the JSON report */
	const char *title; /* in the table */
	const struct mover_ops *ops;
	unsigned at; /* of enum mover_at */
	bool over_ssh;
	const char *firmware;    /* QEMU: -bios; NULL: its default, SeaBIOS */
	const char *if_busy;     /* drover: --if-busy; NULL: its default, throttle */
	unsigned streams;        /* drover: --streams; 0: as many as it likes */
	bool postcopy;           /* QEMU: switch to post-copy after the first pass */
	unsigned channels;       /* QEMU: multifd channels; 0: one stream */
	const char *compression; /* QEMU: of multifd; NULL: none */
	unsigned downtime_ms;    /* QEMU: downtime-limit; drover: --downtime, 0: its default of 30 */
};

extern const struct mover mover_table[];
extern const size_t mover_count;

extern const struct mover_ops mover_drover_ops;
extern const struct mover_ops mover_qemu_ops;
/* Of bench_start: prepare takes the snapshot that spawn restores. */
extern const struct mover_ops mover_restore_ops;

/* mover_find(name): NULL: there is none of that name.  mover_at(dirty_mb): the class of this rate. */
const struct mover *mover_find(const char *name);
enum mover_at mover_at(uint32_t dirty_mb);

/* Of drover's two hosts: mover_drover_go(move, from, to, deadline_ns, err): `drover migrate` from the one ('a', 'b') to the other; fills what
 * migrate fills.  mover_drover_console: the log of the guest's serial port there. */
int mover_drover_go(struct move *move, char from, char to, uint64_t deadline_ns, struct err *err);
void mover_drover_console(const struct move *move, char host, char *path, size_t cap);

/* mover_cmdline(move, text): the command line of the guest of this run. */
const char *mover_cmdline(const struct move *move, char text[256]);

#endif
