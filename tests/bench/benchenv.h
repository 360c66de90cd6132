/* benchenv.h: what all runs of a benchmark share: a temporary folder, the SSH server, the programs, the guest. */
#ifndef BENCH_BENCHENV_H
#define BENCH_BENCHENV_H

#include "common/err.h"
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

enum { BENCHENV_PATH = 256 };

struct sshd;
struct farhost;

struct benchenv {
	char build[BENCHENV_PATH];  /* $DROVER_BUILD, absolute */
	char dir[BENCHENV_PATH];    /* temporary, short enough for socket addresses below it */
	char guest[BENCHENV_PATH];  /* the test guest's ELF */
	char drover[BENCHENV_PATH]; /* the command */
	char qemu[BENCHENV_PATH];   /* the program; empty: not installed */
	struct sshd *sshd;          /* tests/lib/sshd.h; NULL until benchenv_sshd */
	char ssh_url[320];          /* ssh://USER@127.0.0.1:PORT; benchenv_sshd */
	bool keep;                  /* remove no folder */
	bool own_network;           /* loopback carries nothing but what the benchmark does */
	struct farhost *far; /* the destination is in a network of its own (farhost.h); NULL: it is here */
	bool plan;           /* drover says what it expects before each move */
	bool shared_ram;     /* QEMU too keeps the guest's RAM in a memfd, not in its own memory */
	unsigned memory_mib, fill_mib, compress, report_ms;
};

/* benchenv_defaults(env): an empty one with the usual guest.
 * benchenv_open(env, err): fills the paths, makes the folder, and moves into a network namespace of its own where the
 * system allows that (own_network).  After proc_open.
 * benchenv_close: ends all processes that are left and removes the folder; harmless before. */
void benchenv_defaults(struct benchenv *env);
int benchenv_open(struct benchenv *env, struct err *err);
void benchenv_close(struct benchenv *env);

/* benchenv_sshd(env, extra, err): start the SSH server unless it runs, in the network that the caller is in; extra: lines of its
 * configuration, "" for none.  benchenv_sshd_stop: harmless where none runs. */
int benchenv_sshd(struct benchenv *env, const char *extra, struct err *err);
void benchenv_sshd_stop(struct benchenv *env);
/* benchenv_wire_bytes(env): what ever went to the destination over the network. */
uint64_t benchenv_wire_bytes(const struct benchenv *env);
/* benchenv_end_processes(env): everything that was started but the SSH server. */
void benchenv_end_processes(struct benchenv *env);

/* benchenv_run_dir(env, dir, err): a new empty folder.  benchenv_remove(env, path): a folder and all in it, unless
 * folders are to be kept. */
int benchenv_run_dir(const struct benchenv *env, char dir[BENCHENV_PATH], struct err *err);
void benchenv_remove(const struct benchenv *env, const char *path);

/* benchenv_report_path(env, name, path): <build>/bench/<name>; makes the folder. */
int benchenv_report_path(const struct benchenv *env, const char *name, char path[BENCHENV_PATH],
			 struct err *err);

#endif
