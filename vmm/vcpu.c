/* vcpu.c: the vCPU thread: waiting for its turn, KVM_RUN, and what KVM returns with. */
#include "vmm/vcpu.h"
#include "common/io.h"
#include "common/thread.h"
#include "vmm/emulate.h"
#include "vmm/emulate_syscall.h"
#include "vmm/machine_impl.h"
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
enum { STACK_BYTES = 1 << 20 };
#elif defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
enum { STACK_BYTES = 1 << 20 };
#else
enum { STACK_BYTES = 128 << 10 };
#endif
#else
enum { STACK_BYTES = 128 << 10 };
#endif

/* For the signal handler: the run area of the vCPU that this thread runs. */
static __thread struct kvm_run *own_run;

static void on_kick(int signal)
{
	(void)signal;
	/* vcpu_kick has set it already; the throttle's timer has not. */
	if (own_run)
		__atomic_store_n(&own_run->immediate_exit, 1, __ATOMIC_SEQ_CST);
}

void vcpu_kick(struct vcpu *vcpu)
{
	__atomic_store_n(&vcpu->run->immediate_exit, 1, __ATOMIC_SEQ_CST);
	pthread_kill(vcpu->thread, VCPU_KICK);
}

/* ---- exits --------------------------------------------------------------------------------------------- */

static void crash(struct vcpu *vcpu, const char *what)
{
	char text[256], code[3 * 15 + 1] = "";
	struct kvm_regs regs = {0};
	const struct kvm_run *run = vcpu->run;
	if (run->exit_reason == KVM_EXIT_INTERNAL_ERROR &&
	    run->emulation_failure.suberror == KVM_INTERNAL_ERROR_EMULATION &&
	    run->emulation_failure.ndata >= 3 &&
	    run->emulation_failure.flags & KVM_INTERNAL_ERROR_EMULATION_FLAG_INSTRUCTION_BYTES) {
		unsigned n = run->emulation_failure.insn_size;
		for (unsigned i = 0; i < n && i < 15; i++)
			snprintf(code + 3 * i, 4, " %02x", run->emulation_failure.insn_bytes[i]);
	}
	(void)ioctl(vcpu->fd, KVM_GET_REGS, &regs); /* zeroes when not readable: the crash is what matters */
	snprintf(text, sizeof(text), "%s on vCPU %u at RIP 0x%llx%s%s", what, vcpu->index,
		 (unsigned long long)regs.rip, code[0] ? ", instruction bytes" : "", code);
	machine_end(vcpu->machine, MACHINE_END_CRASH, text);
}

static void internal_error(struct vcpu *vcpu)
{
	char what[80];
	if (vcpu->run->internal.suberror == KVM_INTERNAL_ERROR_EMULATION) {
		if (!vcpu->machine->emulation)
			crash(vcpu, "an instruction that KVM cannot emulate (it may be that --emulate can)");
		else if (!emulate_instruction(vcpu))
			crash(vcpu, "an instruction that neither KVM nor drover can emulate");
		return;
	}
	snprintf(what, sizeof(what), "KVM internal error %u", vcpu->run->internal.suberror);
	crash(vcpu, what);
}

static void failed_exit(struct vcpu *vcpu)
{
	char what[96];
	const struct kvm_run *run = vcpu->run;
	switch (run->exit_reason) {
	case KVM_EXIT_SHUTDOWN:
		if (vcpu->machine->firmware.image)
			machine_restart(vcpu->machine, MACHINE_END_CRASH, "triple fault");
		else
			crash(vcpu, "triple fault");
		break;
	case KVM_EXIT_INTERNAL_ERROR:
		internal_error(vcpu);
		break;
	case KVM_EXIT_FAIL_ENTRY:
		snprintf(what, sizeof(what), "the CPU refused to enter the guest (hardware reason 0x%llx)",
			 (unsigned long long)run->fail_entry.hardware_entry_failure_reason);
		crash(vcpu, what);
		break;
	case KVM_EXIT_SYSTEM_EVENT:
		snprintf(what, sizeof(what), "KVM system event %u", run->system_event.type);
		crash(vcpu, what);
		break;
	default:
		snprintf(what, sizeof(what), "unknown KVM exit %u", run->exit_reason);
		crash(vcpu, what);
		break;
	}
}

static void handle_exit(struct vcpu *vcpu)
{
	struct kvm_run *run = vcpu->run;
	if (emulate_syscall_exit(vcpu))
		return;
	switch (run->exit_reason) {
	case KVM_EXIT_IO:
		ioport_access(vcpu->machine, run->io.direction == KVM_EXIT_IO_OUT, run->io.port, run->io.size,
			      run->io.count, (uint8_t *)run + run->io.data_offset);
		break;
	case KVM_EXIT_MMIO:
		/* Where nothing is, reads float high and writes are lost. */
		if (!pci_memory_access(&vcpu->machine->pci, run->mmio.phys_addr, run->mmio.data,
				       run->mmio.len, run->mmio.is_write) &&
		    !run->mmio.is_write)
			memset(run->mmio.data, 0xff, sizeof(run->mmio.data));
		break;
	case KVM_EXIT_DIRTY_RING_FULL:
		dirty_ring_full(vcpu);
		break;
	case KVM_EXIT_INTR:
	case KVM_EXIT_IRQ_WINDOW_OPEN:
		break;
	default:
		failed_exit(vcpu);
		break;
	}
}

/* Run until KVM_RUN was interrupted, or until the guest ended.  After an exit KVM_RUN must be entered once more in
 * any case, since only that completes the instruction; immediate_exit is not cleared here, so that a kick that came
 * meanwhile makes this entry return at once, the instruction completed. */
static void run_guest(struct vcpu *vcpu)
{
	struct machine *machine = vcpu->machine;
	while (!machine_has_ended(machine)) {
		if (ioctl(vcpu->fd, KVM_RUN, 0) == 0) {
			handle_exit(vcpu);
		} else if (errno == EINTR) {
			return;
		} else if (errno != EAGAIN) { /* EAGAIN: it was waiting for INIT or SIPI, and one came */
			char what[128];
			snprintf(what, sizeof(what), "KVM_RUN failed (%s)", strerrorname_np(errno));
			vcpu->run->exit_reason = KVM_EXIT_UNKNOWN;
			crash(vcpu, what);
		}
	}
}

/* ---- the thread ---------------------------------------------------------------------------------------- */

static void wait_until(struct machine *machine, uint64_t until_ns)
{
	thread_cond_wait_until(&machine->go, &machine->lock, until_ns);
}

/* With machine->lock held, which it gives up meanwhile. */
static void reset_machine(struct machine *machine)
{
	struct err err = {0};
	machine->reset = RESET_GOES;
	pthread_mutex_unlock(&machine->lock);
	if (machine_reset_now(machine, &err))
		machine_end(machine, MACHINE_END_CRASH, err.text);
	pthread_mutex_lock(&machine->lock);
	machine->reset = RESET_NONE;
	pthread_cond_signal(&machine->idle);
	pthread_cond_broadcast(&machine->go);
}

/* Out of the guest until the machine runs and the throttle allows; false: the thread must return. */
static bool wait_turn(struct vcpu *vcpu)
{
	struct machine *machine = vcpu->machine;
	pthread_mutex_lock(&machine->lock);
	vcpu->in_guest = false;
	vcpu->laps++;
	pthread_cond_signal(&machine->idle);
	while (!machine->quit) {
		if (machine->reset == RESET_WANTED && !machine_any_in_guest(machine)) {
			reset_machine(machine);
			continue;
		}
		if (!machine->running || machine->ended || machine->reset != RESET_NONE) {
			throttle_forget(&vcpu->throttle);
			pthread_cond_wait(&machine->go, &machine->lock);
			continue;
		}
		uint64_t now = machine->throttle ? clock_mono_ns() : 0;
		uint64_t until = throttle_rest(&vcpu->throttle, machine->throttle, now);
		if (until) {
			wait_until(machine, until);
			continue;
		}
		vcpu->in_guest = true;
		__atomic_store_n(&vcpu->run->immediate_exit, 0, __ATOMIC_SEQ_CST);
		throttle_begin(&vcpu->throttle, machine->throttle, now);
		break;
	}
	bool go_on = !machine->quit;
	pthread_mutex_unlock(&machine->lock);
	return go_on;
}

static void *thread_main(void *arg)
{
	struct vcpu *vcpu = arg;
	struct machine *machine = vcpu->machine;
	char name[16];
	snprintf(name, sizeof(name), "vcpu%u", vcpu->index);
	pthread_setname_np(pthread_self(), name);
	own_run = vcpu->run;
	int failed = throttle_open(&vcpu->throttle, VCPU_KICK) ? errno : 0;
	pthread_mutex_lock(&machine->lock);
	vcpu->setup_errno = failed;
	vcpu->ready = true;
	pthread_cond_signal(&machine->idle);
	pthread_mutex_unlock(&machine->lock);
	while (!failed && wait_turn(vcpu))
		run_guest(vcpu);
	throttle_close(&vcpu->throttle);
	own_run = NULL;
	return NULL;
}

/* All signals but the kick are blocked in the thread, so that the main thread gets them. */
static int create_thread(struct vcpu *vcpu)
{
	sigset_t all_but_kick, before;
	pthread_attr_t attr;
	sigfillset(&all_but_kick);
	sigdelset(&all_but_kick, VCPU_KICK);
	pthread_attr_init(&attr);
	pthread_attr_setstacksize(&attr, STACK_BYTES);
	pthread_sigmask(SIG_SETMASK, &all_but_kick, &before);
	int failed = pthread_create(&vcpu->thread, &attr, thread_main, vcpu);
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	pthread_attr_destroy(&attr);
	return failed;
}

int vcpu_start(struct vcpu *vcpu, struct err *err)
{
	struct machine *machine = vcpu->machine;
	/* Without SA_RESTART, since KVM_RUN is to return. */
	struct sigaction action = {.sa_handler = on_kick};
	sigemptyset(&action.sa_mask);
	if (sigaction(VCPU_KICK, &action, NULL))
		return err_sys(err, "vCPU %u: cannot set its signal up", vcpu->index);
	int failed = create_thread(vcpu);
	if (!failed) {
		vcpu->has_thread = true;
		pthread_mutex_lock(&machine->lock);
		while (!vcpu->ready)
			pthread_cond_wait(&machine->idle, &machine->lock);
		failed = vcpu->setup_errno;
		pthread_mutex_unlock(&machine->lock);
	}
	if (failed) {
		errno = failed;
		return err_sys(err, "vCPU %u: cannot start its thread", vcpu->index);
	}
	return 0;
}

int vcpu_create(struct vcpu *vcpu, struct machine *machine, unsigned index, struct err *err)
{
	*vcpu = (struct vcpu){.machine = machine, .index = index, .fd = -1};
	vcpu->fd = ioctl(machine->kvm.vm, KVM_CREATE_VCPU, (unsigned long)index);
	if (vcpu->fd < 0)
		return err_sys(err, "vCPU %u: KVM cannot make it", index);
	void *run =
	    mmap(NULL, (size_t)machine->kvm.run_bytes, PROT_READ | PROT_WRITE, MAP_SHARED, vcpu->fd, 0);
	if (run == MAP_FAILED)
		return err_sys(err, "vCPU %u: cannot map its run area", index);
	vcpu->run = run;
	if (machine->emulation)
		emulate_prepare(vcpu);
	return 0;
}

void vcpu_destroy(struct vcpu *vcpu)
{
	if (vcpu->has_thread)
		pthread_join(vcpu->thread, NULL);
	dirty_ring_unmap(vcpu);
	if (vcpu->run)
		munmap(vcpu->run, (size_t)vcpu->machine->kvm.run_bytes);
	if (vcpu->fd >= 0)
		close(vcpu->fd);
	vcpu->run = NULL;
	vcpu->fd = -1;
	vcpu->has_thread = false;
}
