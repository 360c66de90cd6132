/* test_jail.c: what a process can do after jail_enter, and what not.  Each question is asked by a thread, as a device's thread
 * would ask it, of a process of its own that entered the jail as a VM process does: number 1 of a pid namespace, started by
 * root, or by an ordinary user in a user namespace. */
#include "common/io.h"
#include "tests/lib/need.h"
#include "tests/lib/netns.h"
#include "tests/lib/test.h"
#include "vmm/jail.h"
#include "vmm/tap.h"
#include "vmm/userns.h"

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <linux/if_tun.h>
#include <linux/kvm.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

enum { ORDINARY = 54321, JAIL_FAILED = 120, NO_THREAD, NO_NAMESPACES, DEADLY = 128 + SIGSYS };

/* ---- questions: 0, or errno ---------------------------------------------------------------------------- */

static int folder_fd, file_fd; /* opened before the jail */
static pid_t outside;

static int result(long value)
{
	return value < 0 ? errno : 0;
}

static int open_file(void)
{
	return result(open("/etc/passwd", O_RDONLY));
}

static int open_from_folder(void)
{
	return result(openat(folder_fd, "passwd", O_RDONLY));
}

static int make_file(void)
{
	return result(open("/file", O_WRONLY | O_CREAT, 0600));
}

static int look_at_file(void)
{
	struct stat st;
	return result(stat("/etc/passwd", &st));
}

static int remove_file(void)
{
	return result(unlink("/etc/passwd"));
}

static int open_with_how(void)
{
	uint64_t how[3] = {O_RDONLY};
	return result(syscall(SYS_openat2, folder_fd, "passwd", how, sizeof(how)));
}

static int start_program(void)
{
	char *const words[] = {(char *)"true", NULL};
	return result(execv("/bin/true", words));
}

static int old_fork(void)
{
	return result(syscall(SYS_fork));
}

static int fork_as_the_library(void)
{
	return result(fork());
}

static int thread_in_namespace(void)
{
	return result(syscall(SYS_clone, CLONE_NEWUSER | SIGCHLD, NULL, NULL, NULL, NULL));
}

static int new_clone(void)
{
	uint64_t args[8] = {0, 0, 0, 0, SIGCHLD};
	return result(syscall(SYS_clone3, args, sizeof(args)));
}

static int network_socket(void)
{
	return result(socket(AF_INET, SOCK_STREAM, 0));
}

static int connect_out(void)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX, .sun_path = "/run/socket"};
	return result(connect(file_fd, (struct sockaddr *)&address, sizeof(address)));
}

/* Datagram sockets could send to other addresses. */
static int datagram_pair(void)
{
	int pair[2];
	return result(socketpair(AF_UNIX, SOCK_DGRAM, 0, pair));
}

static int send_to_address(void)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX, .sun_path = "/run/socket"};
	return result(sendto(file_fd, "x", 1, 0, (struct sockaddr *)&address, sizeof(address)));
}

static int executable_memory(void)
{
	void *at = mmap(NULL, 4096, PROT_READ | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	return result(at == MAP_FAILED ? -1 : 0);
}

static int make_executable(void)
{
	void *at = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	return result(mprotect(at, 4096, PROT_READ | PROT_EXEC));
}

static int kill_outside(void)
{
	return result(kill(outside, 0));
}

static int signal_thread_outside(void)
{
	return result(syscall(SYS_tgkill, outside, outside, 0));
}

static int trace_outside(void)
{
	return result(syscall(SYS_ptrace, 16 /* PTRACE_ATTACH */, outside, NULL, NULL));
}

static int trace_sibling(void)
{
	return result(syscall(SYS_ptrace, 16, getpid(), NULL, NULL));
}

static int read_outside(void)
{
	char byte;
	struct iovec iov = {&byte, 1};
	return result(syscall(SYS_process_vm_readv, outside, &iov, 1, &iov, 1, 0));
}

static int become_root(void)
{
	return result(syscall(SYS_setresuid, 0, 0, 0));
}

static int other_namespace(void)
{
	return result(unshare(CLONE_NEWUSER));
}

static int mount_something(void)
{
	return result(mount("none", "/", "tmpfs", 0, NULL));
}

static int ring(void)
{
	char params[256] = {0};
	return result(syscall(SYS_io_uring_setup, 1, params));
}

static int another_machine(void)
{
	return result(ioctl(file_fd, KVM_CREATE_VM, 0));
}

static int type_at_terminal(void)
{
	return result(ioctl(file_fd, TIOCSTI, "x"));
}

static int read_what_is_open(void)
{
	char byte;
	return result(pread(file_fd, &byte, 1, 0));
}

static int look_at_what_is_open(void)
{
	struct stat st;
	return result(fstat(file_fd, &st));
}

static int make_what_leads_nowhere(void)
{
	int pair[2];
	if (memfd_create("x", MFD_CLOEXEC) < 0 || eventfd(0, EFD_CLOEXEC) < 0)
		return errno;
	return result(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair));
}

static int signal_self(void)
{
	return result(syscall(SYS_tgkill, getpid(), gettid(), 0));
}

static const struct question {
	const char *name;
	int (*ask)(void);
	int answer; /* errno, or DEADLY */
} questions[] = {
    {"open a file", open_file, ENOENT},
    {"open a file from an open folder", open_from_folder, ENOENT},
    {"make a file", make_file, ENOENT},
    {"stat a file", look_at_file, ENOENT},
    {"remove a file", remove_file, EPERM},
    {"openat2", open_with_how, DEADLY},
    {"execve", start_program, DEADLY},
    {"fork, the old call", old_fork, DEADLY},
    {"fork", fork_as_the_library, EPERM},
    {"clone into a namespace", thread_in_namespace, EPERM},
    {"clone3", new_clone, ENOSYS},
    {"socket", network_socket, DEADLY},
    {"connect", connect_out, DEADLY},
    {"a pair of datagram sockets", datagram_pair, EPERM},
    {"sendto an address", send_to_address, EPERM},
    {"mmap executable", executable_memory, EPERM},
    {"mprotect executable", make_executable, EPERM},
    {"kill a process outside", kill_outside, DEADLY},
    {"tgkill a process outside", signal_thread_outside, EPERM},
    {"ptrace a process outside", trace_outside, DEADLY},
    {"ptrace a thread of its own", trace_sibling, DEADLY},
    {"read a process outside", read_outside, DEADLY},
    {"become root", become_root, DEADLY},
    {"unshare", other_namespace, DEADLY},
    {"mount", mount_something, DEADLY},
    {"io_uring", ring, DEADLY},
    {"make a KVM machine", another_machine, EPERM},
    {"type at a terminal", type_at_terminal, EPERM},
    {"read what is open", read_what_is_open, 0},
    {"fstat what is open", look_at_what_is_open, 0},
    {"memfd, eventfd, socket pair", make_what_leads_nowhere, 0},
    {"tgkill itself", signal_self, 0},
};
enum { QUESTIONS = sizeof(questions) / sizeof(questions[0]) };

/* ---- the process that is asked ------------------------------------------------------------------------- */

static void *ask(void *arg)
{
	const struct question *question = arg;
	return (void *)(intptr_t)question->ask();
}

/* Number 1 of its pid namespace.  Ends with the answer. */
static _Noreturn void be_jailed(const struct question *question)
{
	struct jail jail;
	struct err err;
	pthread_t thread;
	void *answer;
	if (jail_enter(&jail, &err))
		_exit(JAIL_FAILED);
	for (int i = 0; i < JAIL_PARTS; i++)
		if (!jail.has[i])
			_exit(JAIL_FAILED);
	if (pthread_create(&thread, NULL, ask, (void *)(uintptr_t)question) || pthread_join(thread, &answer))
		_exit(NO_THREAD);
	_exit((int)(intptr_t)answer);
}

/* The exit status, or 128 + the signal. */
static int status_of(pid_t pid)
{
	int status;
	if (pid < 0 || waitpid(pid, &status, 0) != pid)
		return -1;
	return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

/* As spawn_vm starts a VM process, but by unshare: the process that does it stays outside. */
static _Noreturn void start_jailed(uid_t uid, const struct question *question)
{
	pid_t pid;
	if (uid != geteuid() && (setgroups(0, NULL) || setresgid(uid, uid, uid) || setresuid(uid, uid, uid)))
		_exit(NO_NAMESPACES);
	/* After the change of user /proc/self is root's until the next execve. */
	if (prctl(PR_SET_DUMPABLE, 1, 0, 0, 0) ||
	    unshare(uid ? CLONE_NEWUSER | CLONE_NEWPID : CLONE_NEWPID) || (uid && userns_map_self(uid, uid)))
		_exit(NO_NAMESPACES);
	pid = fork();
	if (pid == 0)
		be_jailed(question);
	_exit(status_of(pid));
}

static int answer_to(uid_t uid, const struct question *question)
{
	pid_t pid = fork();
	if (pid == 0)
		start_jailed(uid, question);
	return status_of(pid);
}

static void ask_all(uid_t uid)
{
	bool wrong = false;
	outside = getpid();
	for (size_t i = 0; i < QUESTIONS; i++) {
		int answer = answer_to(uid, &questions[i]);
		if (answer == NO_NAMESPACES)
			need_skip("this host lets nobody make namespaces");
		if (answer == questions[i].answer)
			continue;
		print_message("%s: %d instead of %d\n", questions[i].name, answer, questions[i].answer);
		wrong = true;
	}
	assert_false(wrong);
}

static void *wait_for_end(void *arg)
{
	char byte;
	return read(*(int *)arg, &byte, 1) < 0 ? arg : NULL;
}

/* It would stay outside. */
static void refused_beside_another_thread(void **state)
{
	struct jail jail;
	struct err err = {0};
	pthread_t thread;
	int pipes[2];
	(void)state;
	assert_int_equal(pipe2(pipes, O_CLOEXEC), 0);
	assert_int_equal(pthread_create(&thread, NULL, wait_for_end, &pipes[0]), 0);
	assert_int_equal(jail_enter(&jail, &err), -1);
	assert_int_equal(err.kind, ERR_STATE);
	io_close(&pipes[1]);
	assert_int_equal(pthread_join(thread, NULL), 0);
	io_close(&pipes[0]);
}

static void started_by_root(void **state)
{
	(void)state;
	need_root("start a VM as root does");
	ask_all(0);
}

static void started_by_an_ordinary_user(void **state)
{
	(void)state;
	ask_all(geteuid() ? geteuid() : ORDINARY);
}

/* ---- a tap that was opened before ---------------------------------------------------------------------- */

static struct tap tap;
static const uint8_t frame[60] = {0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 2, 0, 0, 0, 0, 1, 0x88, 0xb5, 42};

static int send_frame(void)
{
	uint8_t with_header[TAP_HEADER + sizeof(frame)] = {0};
	memcpy(with_header + TAP_HEADER, frame, sizeof(frame));
	if (tap_set_offloads(&tap, TUN_F_CSUM))
		return errno;
	return result(write(tap.fd, with_header, sizeof(with_header)));
}

static void a_tap_goes_on(void **state)
{
	static const struct question question = {"send a frame", send_frame, 0};
	uint8_t header[NETNS_HEADER], got[256];
	struct err err = {0};
	int fd;
	(void)state;
	need_root("make a network");
	netns_enter();
	netns_tap("jail0");
	if (tap_open(&tap, "jail0", &err))
		fail_msg("%s", err.text);
	fd = netns_socket("jail0");
	netns_running("jail0");
	assert_int_equal(answer_to(0, &question), 0);
	assert_int_equal(netns_receive(fd, header, got, sizeof(got)), sizeof(frame));
	assert_memory_equal(got, frame, sizeof(frame));
	close(fd);
	tap_close(&tap);
}

static int open_files(void **state)
{
	(void)state;
	folder_fd = open("/etc", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	file_fd = open("/etc/passwd", O_RDONLY | O_CLOEXEC);
	return folder_fd >= 0 && file_fd >= 0 ? 0 : -1;
}

static int close_files(void **state)
{
	(void)state;
	io_close(&folder_fd);
	io_close(&file_fd);
	return 0;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(refused_beside_another_thread),
	    cmocka_unit_test(started_by_root),
	    cmocka_unit_test(started_by_an_ordinary_user),
	    cmocka_unit_test(a_tap_goes_on),
	};
	return cmocka_run_group_tests(tests, open_files, close_files);
}
