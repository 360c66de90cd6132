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

enum { CPUMETER_VMS = 16, CPUMETER_THREADS = 64 };

struct cpumeter {
	struct cpumeter_vm {
		pid_t pid;
		uint64_t first_ns, last_ns; /* of its vCPU threads */
		/* Its other threads, those that ended too: what they used up to the last look. */
		struct {
			pid_t tid;
			uint64_t ns;
		} others[CPUMETER_THREADS];
		size_t nothers;
	} vms[CPUMETER_VMS];
	size_t count;
	uint64_t start_ns, guest_start_ns, busy_start_ns;
	/* ---- filled by cpumeter_stop */
	uint64_t total_ns;  /* all that the benchmark started */
	uint64_t guest_ns;  /* of this, the vCPU threads */
	uint64_t others_ns; /* what the machine was busy with besides: noise; in clock ticks, so coarse */
};

/* start: from now on.  sample: note again what the known VMs' vCPUs used, cheap; call it every few ms while
 * they may end, for what one used after the last look goes to "beside the guest".
 * stop: fills the results; finds VMs that started meanwhile, too. */
void cpumeter_start(struct cpumeter *meter);
void cpumeter_sample(struct cpumeter *meter);
void cpumeter_stop(struct cpumeter *meter);

#endif
