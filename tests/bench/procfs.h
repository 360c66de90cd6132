/* procfs.h: what /proc says of the benchmark's descendants, of one process's memory, and of the loopback link. */
#ifndef BENCH_PROCFS_H
#define BENCH_PROCFS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

enum { PROCFS_MAX = 512 };

struct procfs_stat {
	pid_t pid, parent;
	char state;            /* R, S, D, Z, … */
	uint64_t reaped_ticks; /* user + system time of the children that it waited for, clock ticks */
	uint64_t own_ticks;    /* its own, all threads, those that ended too */
	uint64_t start_ticks;  /* since boot */
};
/* procfs_stat(pid, stat): 0, or -1 when there is no such process. */
int procfs_stat(pid_t pid, struct procfs_stat *stat);
/* procfs_descendants(found, max): all processes below this one, zombies too, parents before children. */
size_t procfs_descendants(struct procfs_stat *found, size_t max);

/* procfs_cpu_ns(pid): CPU time of a process so far, all its threads; 0 when it is gone. */
uint64_t procfs_cpu_ns(pid_t pid);

struct procfs_thread {
	pid_t tid;
	bool vcpu; /* it runs a vCPU, known by its name: "CPU 0/KVM" is QEMU's, "vcpu…" drover's */
	uint64_t cpu_ns;
};
/* procfs_threads(pid, found, max): the threads of a process, how many. */
size_t procfs_threads(pid_t pid, struct procfs_thread *found, size_t max);

/* procfs_field_kib(pid, file, field): a "Field:  123 kB" line of /proc/PID/<file>; -1 when absent. */
int64_t procfs_field_kib(pid_t pid, const char *file, const char *field);
/* procfs_memfd_open(pid, size): its open memfd of `size` bytes, for reading; -1 when it has none.  procfs_memfd_kib: what is allocated
 * of that. */
int procfs_memfd_open(pid_t pid, uint64_t size_bytes);
int64_t procfs_memfd_kib(pid_t pid, uint64_t size_bytes);

/* procfs_busy_ns(): CPU time that this machine spent not idle since it started, time stolen by its host too. */
uint64_t procfs_busy_ns(void);

/* procfs_interface_bytes(name): bytes that an interface of this network namespace ever sent; over "lo" go those of both directions. */
uint64_t procfs_interface_bytes(const char *name);

#endif
