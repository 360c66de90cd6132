/* jail_filter.c: the system calls of a VM process that runs; what each is for is in docs/isolation.md.
 *
 * What is not listed fails with EPERM, as a kernel without it would let it fail: C libraries and OpenSSL probe, and change.
 * What only an attacker calls ends the process. */
#include "vmm/jail_impl.h"
#include <errno.h>
#include <fcntl.h>
#include <linux/if_tun.h>
#include <linux/io_uring.h>
#include <linux/kvm.h>
#include <linux/userfaultfd.h>
#include <sched.h>
#include <seccomp.h>
#include <stddef.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <unistd.h>

/* Their runtimes need more; what that is, is in docs/isolation.md. */
#if defined(__SANITIZE_ADDRESS__)
#define SANITIZED 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(undefined_behavior_sanitizer)
#define SANITIZED 1
#endif
#endif

static const int allowed[] = {
    /* descriptors that are open: RAM, volumes, ledger, logs, taps, eventfds, sockets */
    SCMP_SYS(read),
    SCMP_SYS(write),
    SCMP_SYS(readv),
    SCMP_SYS(writev),
    SCMP_SYS(pread64),
    SCMP_SYS(pwrite64),
    SCMP_SYS(preadv),
    SCMP_SYS(pwritev),
    SCMP_SYS(lseek),
    SCMP_SYS(fstat),
    SCMP_SYS(fsync),
    SCMP_SYS(fdatasync),
    SCMP_SYS(ftruncate),
    SCMP_SYS(fallocate),
    SCMP_SYS(close),
    SCMP_SYS(dup),
    SCMP_SYS(poll),
    SCMP_SYS(ppoll),
    SCMP_SYS(epoll_create1),
    SCMP_SYS(epoll_ctl),
    SCMP_SYS(epoll_wait),
    SCMP_SYS(epoll_pwait),
    SCMP_SYS(io_uring_enter), /* rings that were made before, and can only transfer and wait (aio.c) */
    /* descriptors that lead nowhere */
    SCMP_SYS(memfd_create),
    SCMP_SYS(eventfd2),
    SCMP_SYS(timerfd_create),
    SCMP_SYS(timerfd_settime),
    SCMP_SYS(userfaultfd),
    /* clients */
    SCMP_SYS(accept4),
    SCMP_SYS(recvmsg),
    SCMP_SYS(recvfrom),
    SCMP_SYS(sendmsg),
    SCMP_SYS(shutdown),
    SCMP_SYS(getsockopt),
    /* memory; mmap and mprotect are below */
    SCMP_SYS(brk),
    SCMP_SYS(munmap),
    SCMP_SYS(mremap),
    SCMP_SYS(madvise),
    SCMP_SYS(sysinfo), /* qsort asks how much there is */
    /* threads; clone is below */
    SCMP_SYS(futex),
    SCMP_SYS(set_robust_list),
    SCMP_SYS(rseq),
    SCMP_SYS(sched_yield),
    SCMP_SYS(sched_getaffinity),
    SCMP_SYS(getcpu),
    SCMP_SYS(gettid),
    SCMP_SYS(getpid),
    SCMP_SYS(geteuid),
    SCMP_SYS(exit),
    SCMP_SYS(exit_group),
    /* signals and time; tgkill is below */
    SCMP_SYS(rt_sigaction),
    SCMP_SYS(rt_sigprocmask),
    SCMP_SYS(rt_sigreturn),
    SCMP_SYS(restart_syscall),
    SCMP_SYS(timer_create),
    SCMP_SYS(timer_settime),
    SCMP_SYS(timer_delete),
    SCMP_SYS(clock_gettime),
    SCMP_SYS(clock_nanosleep),
    SCMP_SYS(gettimeofday),
    SCMP_SYS(time),
    SCMP_SYS(getrandom),
#ifdef SANITIZED
    SCMP_SYS(sigaltstack),
    SCMP_SYS(getrlimit),
    SCMP_SYS(prlimit64),
    SCMP_SYS(getuid),
#endif
};

/* Requests of ioctl. */
static const unsigned long requests[] = {
    /* KVM, of a machine that is made */
    KVM_RUN,
    KVM_IRQ_LINE,
    KVM_RESET_DIRTY_RINGS,
    KVM_GET_DIRTY_LOG,
    KVM_CLEAR_DIRTY_LOG,
    KVM_SET_USER_MEMORY_REGION,
    KVM_IRQFD,
    KVM_IOEVENTFD,
    KVM_SET_GSI_ROUTING,
    KVM_CHECK_EXTENSION,
    KVM_KVMCLOCK_CTRL,
    KVM_GET_CLOCK,
    KVM_SET_CLOCK,
    KVM_GET_IRQCHIP,
    KVM_SET_IRQCHIP,
    KVM_GET_PIT2,
    KVM_SET_PIT2,
    KVM_GET_TSC_KHZ,
    KVM_SET_TSC_KHZ,
    KVM_GET_SUPPORTED_CPUID,
    KVM_SET_CPUID2,
    KVM_GET_REGS,
    KVM_SET_REGS,
    KVM_GET_SREGS2,
    KVM_SET_SREGS2,
    KVM_GET_XSAVE,
    KVM_GET_XSAVE2,
    KVM_SET_XSAVE,
    KVM_GET_XCRS,
    KVM_SET_XCRS,
    KVM_GET_DEBUGREGS,
    KVM_SET_DEBUGREGS,
    KVM_GET_MSRS,
    KVM_SET_MSRS,
    KVM_GET_LAPIC,
    KVM_SET_LAPIC,
    KVM_GET_MP_STATE,
    KVM_SET_MP_STATE,
    KVM_GET_VCPU_EVENTS,
    KVM_SET_VCPU_EVENTS,
    KVM_GET_DEVICE_ATTR,
    KVM_SET_DEVICE_ATTR,
    KVM_HAS_DEVICE_ATTR,
    /* taps */
    TUNSETOFFLOAD,
    /* pages of RAM that are filled when the guest touches them, or kept when it writes to them */
    USERFAULTFD_IOC_NEW,
    UFFDIO_API,
    UFFDIO_REGISTER,
    UFFDIO_UNREGISTER,
    UFFDIO_WAKE,
    UFFDIO_COPY,
    UFFDIO_ZEROPAGE,
    UFFDIO_WRITEPROTECT,
    UFFDIO_CONTINUE,
};

static const int commands[] = {F_GETFD,     F_SETFD,     F_GETFL,     F_SETFL,
			       F_OFD_GETLK, F_OFD_SETLK, F_ADD_SEALS, F_GET_SEALS};

/* For a file system that is empty. */
static const int nothing_there[] = {
    SCMP_SYS(open),   SCMP_SYS(openat),    SCMP_SYS(stat),       SCMP_SYS(lstat),    SCMP_SYS(statx),
    SCMP_SYS(access), SCMP_SYS(faccessat), SCMP_SYS(faccessat2), SCMP_SYS(readlink), SCMP_SYS(readlinkat),
};

static const int deadly[] = {
    SCMP_SYS(execve),
    SCMP_SYS(execveat),
    SCMP_SYS(fork),
    SCMP_SYS(vfork),
    SCMP_SYS(kill),
    SCMP_SYS(tkill),
    SCMP_SYS(rt_sigqueueinfo),
    SCMP_SYS(rt_tgsigqueueinfo),
    SCMP_SYS(pidfd_open),
    SCMP_SYS(pidfd_getfd),
    SCMP_SYS(pidfd_send_signal),
    SCMP_SYS(ptrace),
    SCMP_SYS(process_vm_readv),
    SCMP_SYS(process_vm_writev),
    SCMP_SYS(kcmp),
    SCMP_SYS(socket),
    SCMP_SYS(connect),
    SCMP_SYS(bind),
    SCMP_SYS(listen),
    SCMP_SYS(setuid),
    SCMP_SYS(setresuid),
    SCMP_SYS(setresgid),
    SCMP_SYS(capset),
    SCMP_SYS(unshare),
    SCMP_SYS(setns),
    SCMP_SYS(mount),
    SCMP_SYS(umount2),
    SCMP_SYS(chroot),
    SCMP_SYS(pivot_root),
    SCMP_SYS(open_tree),
    SCMP_SYS(move_mount),
    SCMP_SYS(fsopen),
    SCMP_SYS(openat2),
    SCMP_SYS(open_by_handle_at),
    SCMP_SYS(io_uring_setup),
    SCMP_SYS(io_submit),
    SCMP_SYS(bpf),
    SCMP_SYS(perf_event_open),
    SCMP_SYS(keyctl),
    SCMP_SYS(add_key),
    SCMP_SYS(request_key),
    SCMP_SYS(init_module),
    SCMP_SYS(finit_module),
    SCMP_SYS(kexec_load),
    SCMP_SYS(reboot),
};

/* Allowed if an argument is what it is for.  What a thread of the C library's is made with: threads of this process,
 * nothing that could be another one. */
enum {
	THREAD = CLONE_VM | CLONE_FS | CLONE_FILES | CLONE_SIGHAND | CLONE_THREAD | CLONE_SYSVSEM |
		 CLONE_SETTLS | CLONE_PARENT_SETTID | CLONE_CHILD_CLEARTID
};

static const struct limit {
	int call;
	struct scmp_arg_cmp compare;
} limits[] = {
    {SCMP_SYS(mmap), {2, SCMP_CMP_MASKED_EQ, PROT_EXEC, 0}},
    {SCMP_SYS(mprotect), {2, SCMP_CMP_MASKED_EQ, PROT_EXEC, 0}},
    {SCMP_SYS(clone), {0, SCMP_CMP_EQ, THREAD, 0}},
    {SCMP_SYS(io_uring_register), {1, SCMP_CMP_EQ, IORING_REGISTER_ENABLE_RINGS, 0}},
    {SCMP_SYS(prctl), {0, SCMP_CMP_EQ, PR_SET_NAME, 0}},
    /* fstat of some C libraries */
    {SCMP_SYS(newfstatat), {3, SCMP_CMP_EQ, AT_EMPTY_PATH, 0}},
    /* send: to whom the socket is connected */
    {SCMP_SYS(sendto), {4, SCMP_CMP_EQ, 0, 0}},
};

#define COUNT(list) (sizeof(list) / sizeof((list)[0]))

/* done(code): the library's way of failing, as errno and -1. */
static int done(int code)
{
	errno = -code;
	return code ? -1 : 0;
}

static int add_each(scmp_filter_ctx filter, uint32_t action, const int *calls, size_t count)
{
	int code = 0;
	for (size_t i = 0; i < count && !code; i++)
		code = seccomp_rule_add_exact(filter, action, calls[i], 0);
	return done(code);
}

static int allow_if(scmp_filter_ctx filter, int call, struct scmp_arg_cmp compare)
{
	return done(seccomp_rule_add_exact_array(filter, SCMP_ACT_ALLOW, call, 1, &compare));
}

static int add_limited(scmp_filter_ctx filter)
{
	const struct scmp_arg_cmp pair[] = {{0, SCMP_CMP_EQ, AF_UNIX, 0},
					    {1, SCMP_CMP_EQ, SOCK_STREAM | SOCK_CLOEXEC, 0}};
	int failed = 0;
	for (size_t i = 0; i < COUNT(requests) && !failed; i++)
		failed =
		    allow_if(filter, SCMP_SYS(ioctl), (struct scmp_arg_cmp){1, SCMP_CMP_EQ, requests[i], 0});
	for (size_t i = 0; i < COUNT(commands) && !failed; i++)
		failed = allow_if(filter, SCMP_SYS(fcntl),
				  (struct scmp_arg_cmp){1, SCMP_CMP_EQ, (scmp_datum_t)commands[i], 0});
	for (size_t i = 0; i < COUNT(limits) && !failed; i++)
		failed = allow_if(filter, limits[i].call, limits[i].compare);
	if (failed)
		return -1;
	return allow_if(filter, SCMP_SYS(tgkill),
			(struct scmp_arg_cmp){0, SCMP_CMP_EQ, (scmp_datum_t)getpid(), 0}) ||
	       done(seccomp_rule_add_exact_array(filter, SCMP_ACT_ALLOW, SCMP_SYS(socketpair), COUNT(pair),
						 pair));
}

static int fill(scmp_filter_ctx filter)
{
	const struct scmp_arg_cmp by_name = {3, SCMP_CMP_NE, AT_EMPTY_PATH, 0};
	return done(seccomp_attr_set(filter, SCMP_FLTATR_ACT_BADARCH, SCMP_ACT_KILL_PROCESS)) ||
	       done(seccomp_attr_set(filter, SCMP_FLTATR_CTL_TSYNC, 1)) ||
	       add_each(filter, SCMP_ACT_ALLOW, allowed, COUNT(allowed)) || add_limited(filter) ||
	       add_each(filter, SCMP_ACT_ERRNO(ENOENT), nothing_there, COUNT(nothing_there)) ||
	       done(seccomp_rule_add_exact_array(filter, SCMP_ACT_ERRNO(ENOENT), SCMP_SYS(newfstatat), 1,
						 &by_name)) ||
	       /* Its flags cannot be looked at; the C library then calls clone. */
	       done(seccomp_rule_add_exact(filter, SCMP_ACT_ERRNO(ENOSYS), SCMP_SYS(clone3), 0)) ||
	       add_each(filter, SCMP_ACT_KILL_PROCESS, deadly, COUNT(deadly));
}

#ifdef SANITIZED
/* The search for leaks stops all threads as a debugger does and reads /proc: not in here. */
static int filtered;
int __lsan_is_turned_off(void);
int __lsan_is_turned_off(void)
{
	return filtered;
}
#endif

int jail_filter(struct err *err)
{
	scmp_filter_ctx filter = seccomp_init(SCMP_ACT_ERRNO(EPERM));
	int failed = filter ? fill(filter) || done(seccomp_load(filter)) : -1;
	if (failed)
		err_sys(err, "cannot filter the VM process's system calls");
	seccomp_release(filter);
#ifdef SANITIZED
	filtered = !failed;
#endif
	return failed ? -1 : 0;
}
