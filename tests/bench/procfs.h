/* procfs.h: what /proc says of the benchmark's descendants, of one process's memory, and of the loopback link. */
#ifndef BENCH_PROCFS_H
#define BENCH_PROCFS_H

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

/* procfs_vcpus(pid, &others_ns): how many threads of the process run a vCPU, known by their name ("CPU 0/KVM" is QEMU's,
 * "vcpu…" drover's), and what CPU time those that do not, and have not ended, had so far. */
size_t procfs_vcpus(pid_t pid, uint64_t *others_ns);

/* procfs_field_kib(pid, file, field): a "Field:  123 kB" line of /proc/PID/<file>; -1 when absent. */
int64_t procfs_field_kib(pid_t pid, const char *file, const char *field);
/* procfs_memfd_kib(pid, size): what is allocated of its open memfd of `size` bytes; -1 when it has none. */
int64_t procfs_memfd_kib(pid_t pid, uint64_t size_bytes);

/* procfs_busy_ns(): CPU time that this machine spent not idle since it started, time stolen by its host too. */
uint64_t procfs_busy_ns(void);

/* procfs_loopback_bytes(): bytes that ever crossed the loopback interface of this network namespace. */
uint64_t procfs_loopback_bytes(void);

#endif
