#include "convert/child.h"

#include "common/io.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/pidfd.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

enum { LISTENER_FD = 3, FREE_FD = 10, CPU_SECONDS = 30, MEMORY_BYTES = 1 << 30, CANNOT_EXEC = 127 };

/* What the new process needs, made before the fork: after it nothing may allocate. */
struct plan {
	const char *const *argv;
	char **env;
	char listen_pid[40];
	struct child_options options;
	int out, log;
	int failure; /* at least FREE_FD: errno of a failed exec goes there */
	pid_t parent;
};

static void put_pid(char *to, pid_t pid)
{
	char digits[24];
	size_t n = 0;

	for (; pid > 0; pid /= 10)
		digits[n++] = (char)('0' + pid % 10);
	while (n > 0)
		*to++ = digits[--n];
	*to = '\0';
}

static bool same_name(const char *variable, const char *other)
{
	return other && !strncmp(variable, other, strcspn(other, "=") + 1);
}

static void make_env(struct plan *plan)
{
	size_t count = 0, n = 0;

	while (environ[count])
		count++;
	plan->env = calloc(count + 4, sizeof(*plan->env));
	if (!plan->env)
		abort();
	for (size_t i = 0; i < count; i++)
		if (strncmp(environ[i], "LISTEN_", 7) && !same_name(environ[i], plan->options.env))
			plan->env[n++] = environ[i];
	if (plan->options.env)
		plan->env[n++] = (char *)(uintptr_t)plan->options.env;
	snprintf(plan->listen_pid, sizeof(plan->listen_pid), "LISTEN_PID=");
	if (plan->options.listener > 0) {
		plan->env[n++] = (char *)"LISTEN_FDS=1";
		plan->env[n++] = plan->listen_pid;
	}
}

static void bound(void)
{
	setrlimit(RLIMIT_CPU, &(struct rlimit){.rlim_cur = CPU_SECONDS, .rlim_max = CPU_SECONDS});
	setrlimit(RLIMIT_AS, &(struct rlimit){.rlim_cur = MEMORY_BYTES, .rlim_max = MEMORY_BYTES});
}

/* In the new process. */
__attribute__((noreturn)) static void become(struct plan *plan)
{
	sigset_t none;
	int error;

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (getppid() != plan->parent)
		_exit(CANNOT_EXEC);
	setpgid(0, 0);
	signal(SIGPIPE, SIG_DFL);
	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
	dup2(plan->out, STDOUT_FILENO);
	dup2(plan->log, STDERR_FILENO);
	close_range(LISTENER_FD, ~0U, CLOSE_RANGE_CLOEXEC);
	if (plan->options.listener > 0 && plan->options.listener != LISTENER_FD)
		dup2(plan->options.listener, LISTENER_FD);
	else if (plan->options.listener == LISTENER_FD)
		fcntl(LISTENER_FD, F_SETFD, 0);
	put_pid(plan->listen_pid + strlen(plan->listen_pid), getpid());
	if (plan->options.bounded)
		bound();
	execvpe(plan->argv[0], (char *const *)(uintptr_t)plan->argv, plan->env);
	error = errno;
	(void)io_write_full(plan->failure, &error, sizeof(error));
	_exit(CANNOT_EXEC);
}

/* exec_error(fd): what the new process says of its exec; 0 when it was done. */
static int exec_error(int fd)
{
	int error = 0;

	return io_read_full(fd, &error, sizeof(error)) == sizeof(error) ? error : 0;
}

static int launch(struct child *child, struct plan *plan, struct err *err)
{
	int pair[2], error;

	if (pipe2(pair, O_CLOEXEC))
		return err_sys(err, "cannot start %s", child->name);
	plan->failure = fcntl(pair[1], F_DUPFD_CLOEXEC, FREE_FD);
	plan->parent = getpid();
	child->pid = plan->failure < 0 ? -1 : fork();
	if (child->pid == 0)
		become(plan);
	error = errno;
	io_close(&pair[1]);
	io_close(&plan->failure);
	if (child->pid > 0) {
		child->pidfd = pidfd_open(child->pid, 0);
		error = child->pidfd < 0 ? errno : exec_error(pair[0]);
	}
	io_close(&pair[0]);
	if (child->pid > 0 && error == 0)
		return 0;
	if (error == ENOENT)
		return err_set(err, ERR_SYSTEM, "%s is not installed: install the Debian package qemu-utils",
			       child->name);
	errno = error;
	return err_sys(err, "cannot start %s", child->name);
}

int child_start(struct child *child, const char *const argv[], const struct child_options *options,
		struct err *err)
{
	struct plan plan = {.argv = argv};
	int result = -1;

	if (options)
		plan.options = *options;
	*child = (struct child){.name = argv[0], .pidfd = -1};
	child->out = memfd_create("stdout", MFD_CLOEXEC);
	child->log = memfd_create("stderr", MFD_CLOEXEC);
	plan.out = child->out;
	plan.log = child->log;
	make_env(&plan);
	if (child->out < 0 || child->log < 0)
		err_sys(err, "cannot start %s", child->name);
	else
		result = launch(child, &plan, err);
	free(plan.env);
	if (result)
		child_end(child);
	return result;
}

/* said(child, err): the first line that it wrote on stderr, else how it ended. */
static int said(const struct child *child, struct err *err)
{
	char text[400];
	ssize_t len = pread(child->log, text, sizeof(text) - 1, 0);
	size_t name_len = strlen(child->name);

	text[len > 0 ? len : 0] = '\0';
	text[strcspn(text, "\n")] = '\0';
	if (!strncmp(text, child->name, name_len) && text[name_len] == ':')
		return err_set(err, ERR_INPUT, "%s", text);
	if (*text)
		return err_set(err, ERR_INPUT, "%s: %s", child->name, text);
	if (WIFSIGNALED(child->status))
		return err_set(err, ERR_INPUT, "%s was ended by signal %d", child->name,
			       WTERMSIG(child->status));
	return err_set(err, ERR_INPUT, "%s ended with status %d", child->name, WEXITSTATUS(child->status));
}

int child_wait(struct child *child, const struct watch *watch, struct err *err)
{
	struct pollfd end = {.fd = child->pidfd, .events = POLLIN};

	while (poll(&end, 1, WATCH_MS) <= 0)
		if (watch_go_on(watch, err))
			return -1;
	while (waitpid(child->pid, &child->status, 0) < 0 && errno == EINTR)
		;
	child->pid = 0;
	return child->status == 0 ? 0 : said(child, err);
}

void child_kill(const struct child *child)
{
	if (child->pid > 0 && child->pidfd >= 0)
		pidfd_send_signal(child->pidfd, SIGKILL, NULL, 0);
}

void child_end(struct child *child)
{
	if (!child->name)
		return;
	if (child->pid > 0) {
		kill(child->pid,
		     SIGKILL); /* it is our child and not waited for: nobody else can have this id */
		while (waitpid(child->pid, NULL, 0) < 0 && errno == EINTR)
			;
	}
	io_close(&child->pidfd);
	io_close(&child->out);
	io_close(&child->log);
	*child = (struct child){0};
}

int child_failed(struct child *child, struct err *err)
{
	char first;

	if (pread(child->log, &first, 1, 0) == 1)
		said(child, err);
	child_end(child);
	return -1;
}
