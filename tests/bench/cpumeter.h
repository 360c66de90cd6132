/* cpumeter.h: CPU time of everything that the benchmark started, with the guest's own share apart.
 *
 * What a process used is counted exactly once: in itself while it lives, in whoever waited for it afterwards.
 * The guest's share is the CPU time of the vCPU threads.  It holds the guest's own work (the test guest never
 * sleeps) and also what dirty tracking costs inside KVM_RUN; nothing outside the kernel can tell those two
 * apart, so the rest, "beside the guest", is what a benchmark may compare. */
#ifndef BENCH_CPUMETER_H
#define BENCH_CPUMETER_H

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

enum { CPUMETER_VCPUS = 64 };

struct cpumeter {
	struct {
		pid_t pid, tid;
		uint64_t first_ns, last_ns;
	} vcpus[CPUMETER_VCPUS];
	size_t count;
	uint64_t start_ns;
};

/* start: from now on.  sample: note again what the known vCPU threads used, cheap; call it every few ms while
 * they may end, for what a thread used after the last look goes to "beside the guest".
 * stop: *total_ns of all, *guest_ns of the vCPU threads (found anew: those that started meanwhile too). */
void cpumeter_start(struct cpumeter *meter);
void cpumeter_sample(struct cpumeter *meter);
void cpumeter_stop(struct cpumeter *meter, uint64_t *total_ns, uint64_t *guest_ns);

#endif
