#include "tests/bench/proc.h"
#include "common/io.h"
#include "tests/bench/procfs.h"
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/pidfd.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define MS_NS 1000000ull

static volatile sig_atomic_t interrupted;

static void on_signal(int number)
{
	(void)number;
	interrupted = 1;
}

int proc_open(struct err *err)
{
	struct sigaction action = {.sa_handler = on_signal};

	if (prctl(PR_SET_CHILD_SUBREAPER, 1) != 0)
		return err_sys(err, "prctl(PR_SET_CHILD_SUBREAPER)");
	sigaction(SIGINT, &action, NULL);
	sigaction(SIGTERM, &action, NULL);
	sigaction(SIGHUP, &action, NULL);
	signal(SIGPIPE, SIG_IGN);
	return 0;
}

bool proc_interrupted(void)
{
	return interrupted != 0;
}

void proc_pause(uint64_t ns)
{
	struct timespec time = {.tv_sec = ns / 1000000000, .tv_nsec = ns % 1000000000};

	nanosleep(&time, NULL);
}

int proc_check(uint64_t deadline_ns, const char *what, struct err *err)
{
	if (interrupted)
		return err_set(err, ERR_CANCELLED, "interrupted while waiting for %s", what);
	if (clock_mono_ns() > deadline_ns)
		return err_set(err, ERR_LINK, "time ran out while waiting for %s", what);
	return 0;
}

/* In the child: stdin from nowhere, the others appended to files.  Never returns. */
static void become(const struct proc_spawn *spawn)
{
	int in = open("/dev/null", O_RDONLY);
	int out = open(spawn->out ? spawn->out : "/dev/null", O_WRONLY | O_CREAT | O_APPEND, 0600);
	int errors = open(spawn->errors ? spawn->errors : "/dev/null", O_WRONLY | O_CREAT | O_APPEND, 0600);

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	/* A group of its own: the terminal's Ctrl-C reaches the benchmark alone, which then ends all in order. */
	setpgid(0, 0);
	signal(SIGPIPE, SIG_DFL);
	if (in < 0 || out < 0 || errors < 0 || dup2(in, 0) < 0 || dup2(out, 1) < 0 || dup2(errors, 2) < 0)
		_exit(127);
	for (const char *const *env = spawn->env; env && *env; env++)
		putenv((char *)*env);
	execvp(spawn->argv[0], (char *const *)spawn->argv);
	dprintf(2, "%s: %s\n", spawn->argv[0], strerror(errno));
	_exit(127);
}

pid_t proc_spawn(const struct proc_spawn *spawn, struct err *err)
{
	pid_t pid = fork();

	if (pid == 0)
		become(spawn);
	if (pid < 0)
		return err_sys(err, "fork for %s", spawn->argv[0]);
	return pid;
}

bool proc_await(pid_t pid, int ms)
{
	struct pollfd wait = {.fd = pidfd_open(pid, 0), .events = POLLIN};
	bool ended = wait.fd >= 0 && poll(&wait, 1, ms) == 1;

	io_close(&wait.fd);
	return ended;
}

int proc_wait(pid_t pid, uint64_t deadline_ns, int *status, struct err *err)
{
	char what[64];

	snprintf(what, sizeof(what), "the end of process %d", (int)pid);
	while (!proc_await(pid, 20))
		if (proc_check(deadline_ns, what, err) != 0)
			return -1;
	if (waitpid(pid, status, 0) != pid)
		return err_sys(err, "waitpid %d", (int)pid);
	return 0;
}

/* The last lines of a file that a program wrote its errors to, in one line. */
static void tail_of(const char *path, char text[256])
{
	ssize_t len = 0;
	int fd = path ? open(path, O_RDONLY | O_CLOEXEC) : -1;

	if (fd >= 0) {
		off_t end = lseek(fd, 0, SEEK_END);

		len = pread(fd, text, 255, end > 255 ? end - 255 : 0);
		close(fd);
	}
	text[len > 0 ? len : 0] = '\0';
	while (len > 0 && text[len - 1] == '\n')
		text[--len] = '\0';
	for (char *at = text; *at; at++)
		if (*at == '\n' || *at == '\r')
			*at = ' ';
}

int proc_finish(pid_t pid, const struct proc_spawn *spawn, uint64_t deadline_ns, struct err *err)
{
	char text[256];
	int status;

	if (proc_wait(pid, deadline_ns, &status, err) != 0)
		return err_context(err, "%s", spawn->argv[0]);
	if (WIFEXITED(status) && WEXITSTATUS(status) == 0)
		return 0;
	tail_of(spawn->errors, text);
	if (WIFSIGNALED(status))
		return err_set(err, ERR_SYSTEM, "%s was ended by signal %d: %s", spawn->argv[0],
			       WTERMSIG(status), text);
	return err_set(err, ERR_SYSTEM, "%s failed with status %d: %s", spawn->argv[0], WEXITSTATUS(status),
		       text);
}

int proc_run(const struct proc_spawn *spawn, uint64_t deadline_ns, struct err *err)
{
	pid_t pid = proc_spawn(spawn, err);

	return pid < 0 ? -1 : proc_finish(pid, spawn, deadline_ns, err);
}

pid_t proc_find(const char *program)
{
	struct procfs_stat found[PROCFS_MAX];
	size_t count = procfs_descendants(found, PROCFS_MAX);
	pid_t best = 0;
	uint64_t youngest = 0;

	for (size_t i = 0; i < count; i++) {
		char link[64], path[4096];
		ssize_t len;
		const char *name;

		snprintf(link, sizeof(link), "/proc/%d/exe", (int)found[i].pid);
		len = readlink(link, path, sizeof(path) - 1);
		if (len < 0)
			continue;
		path[len] = '\0';
		name = strrchr(path, '/');
		if (name && strcmp(name + 1, program) == 0 && found[i].start_ticks >= youngest) {
			youngest = found[i].start_ticks;
			best = found[i].pid;
		}
	}
	return best;
}

/* Signal (0: only reap) all descendants but keep.  Returns how many still live. */
static size_t end_pass(pid_t keep, int number)
{
	struct procfs_stat found[PROCFS_MAX];
	size_t count = procfs_descendants(found, PROCFS_MAX);
	size_t alive = 0;

	for (size_t i = 0; i < count; i++) {
		if (found[i].pid == keep)
			continue;
		if (found[i].state == 'Z') {
			/* Not ours yet while its parent lives: then it is that one's to reap. */
			if (found[i].parent == getpid())
				waitpid(found[i].pid, NULL, WNOHANG);
			continue;
		}
		alive++;
		if (number)
			kill(found[i].pid, number);
	}
	return alive;
}

void proc_end_all(pid_t keep)
{
	uint64_t hard_ns = clock_mono_ns() + 1000 * MS_NS;

	if (end_pass(keep, SIGTERM) == 0)
		return;
	end_pass(keep, SIGCONT);
	while (end_pass(keep, clock_mono_ns() > hard_ns ? SIGKILL : 0) > 0)
		proc_pause(2 * MS_NS);
	end_pass(keep, 0);
}
