#include "tests/bench/cpumeter.h"
#include "tests/bench/procfs.h"
#include <stdbool.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

static uint64_t all_ns(void)
{
	struct procfs_stat found[PROCFS_MAX];
	size_t count = procfs_descendants(found, PROCFS_MAX);
	uint64_t tick_ns = 1000000000ull / sysconf(_SC_CLK_TCK);
	struct rusage reaped;
	uint64_t sum;

	getrusage(RUSAGE_CHILDREN, &reaped);
	sum = (reaped.ru_utime.tv_sec + reaped.ru_stime.tv_sec) * 1000000000ull +
	      (reaped.ru_utime.tv_usec + reaped.ru_stime.tv_usec) * 1000ull;
	for (size_t i = 0; i < count; i++)
		sum += procfs_cpu_ns(found[i].pid) + found[i].reaped_ticks * tick_ns;
	return sum;
}

/* All CPU time that the machine spent so far, on whatever, less this process's own. */
static uint64_t busy_ns(void)
{
	struct timespec own;

	clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &own);
	return procfs_busy_ns() - (own.tv_sec * 1000000000ull + own.tv_nsec);
}

static void note_other(struct cpumeter_vm *vm, const struct procfs_thread *thread)
{
	size_t at = 0;

	while (at < vm->nothers && vm->others[at].tid != thread->tid)
		at++;
	if (at == CPUMETER_THREADS)
		return;
	vm->others[at].tid = thread->tid;
	vm->others[at].ns = thread->cpu_ns;
	if (at == vm->nothers)
		vm->nothers++;
}

/* What the vCPU threads of a process used: all that it did less what its other threads did.  Not what the threads' own
 * counters say: the kernel brings these up to date when a thread gives its CPU up, which a vCPU that polls does not do
 * for a second or more; a process's clock is exact, and so are threads that sleep often.  What a thread that ended (QEMU's send
 * memory, and end with the move) had used is still in the process's clock, so it is remembered. */
static uint64_t guest_ns(struct cpumeter_vm *vm)
{
	struct procfs_thread threads[CPUMETER_THREADS];
	size_t count = procfs_threads(vm->pid, threads, CPUMETER_THREADS);
	uint64_t others = 0, all;
	bool any = false;

	for (size_t i = 0; i < count; i++) {
		any = any || threads[i].vcpu;
		if (!threads[i].vcpu)
			note_other(vm, &threads[i]);
	}
	if (!any)
		return 0;
	for (size_t i = 0; i < vm->nothers; i++)
		others += vm->others[i].ns;
	all = procfs_cpu_ns(vm->pid);
	return all > others ? all - others : 0;
}

static bool known(const struct cpumeter *meter, pid_t pid)
{
	for (size_t i = 0; i < meter->count; i++)
		if (meter->vms[i].pid == pid)
			return true;
	return false;
}

/* Add processes with vCPUs that are not known yet; `fresh`: they started after the meter, so count from zero. */
static void find_vms(struct cpumeter *meter, bool fresh)
{
	struct procfs_stat found[PROCFS_MAX];
	size_t count = procfs_descendants(found, PROCFS_MAX);

	for (size_t i = 0; i < count && meter->count < CPUMETER_VMS; i++) {
		struct cpumeter_vm *vm = &meter->vms[meter->count];

		if (known(meter, found[i].pid))
			continue;
		*vm = (struct cpumeter_vm){.pid = found[i].pid};
		vm->last_ns = guest_ns(vm);
		vm->first_ns = fresh ? 0 : vm->last_ns;
		meter->count += vm->last_ns > 0;
	}
}

static uint64_t vcpus_ns(struct cpumeter *meter)
{
	uint64_t sum = 0;

	cpumeter_sample(meter);
	for (size_t i = 0; i < meter->count; i++)
		sum += meter->vms[i].last_ns - meter->vms[i].first_ns;
	return sum;
}

/* CPU time of all, and of the vCPUs at the same moment: they run on while this process, which may have to wait for a CPU
 * itself, adds the rest up, so what they had halfway counts. */
static uint64_t both_ns(struct cpumeter *meter, uint64_t *guest_ns)
{
	uint64_t before = vcpus_ns(meter), all = all_ns();

	*guest_ns = before + (vcpus_ns(meter) - before) / 2;
	return all;
}

void cpumeter_start(struct cpumeter *meter)
{
	meter->count = 0;
	find_vms(meter, false);
	meter->start_ns = both_ns(meter, &meter->guest_start_ns);
	meter->busy_start_ns = busy_ns();
}

void cpumeter_sample(struct cpumeter *meter)
{
	for (size_t i = 0; i < meter->count; i++) {
		uint64_t now_ns = guest_ns(&meter->vms[i]);

		if (now_ns > meter->vms[i].last_ns)
			meter->vms[i].last_ns = now_ns;
	}
}

void cpumeter_stop(struct cpumeter *meter)
{
	uint64_t busy = busy_ns() - meter->busy_start_ns;

	find_vms(meter, true);
	meter->total_ns = both_ns(meter, &meter->guest_ns) - meter->start_ns;
	meter->guest_ns -= meter->guest_start_ns;
	if (meter->guest_ns > meter->total_ns)
		meter->guest_ns = meter->total_ns;
	meter->others_ns = busy > meter->total_ns ? busy - meter->total_ns : 0;
}
