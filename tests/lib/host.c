#include "tests/lib/host.h"
#include "tests/lib/processes.h"

#include "common/io.h"
#include "vmm/control.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

enum { WAIT_NS_SECONDS = 20, COMMAND_SECONDS = 60, ARGS = 32 };

const char *host_build(void)
{
	static char path[PATH_MAX]; /* what realpath may fill */
	const char *given = getenv("DROVER_BUILD");

	if (!*path && !realpath(given ? given : "build", path))
		fail_msg("no build folder at %s", given ? given : "build");
	return path;
}

static void folder_of(const struct host *host, const char *what, char path[HOST_PATH])
{
	assert_true(snprintf(path, HOST_PATH, "%s/%s", host->root, what) < HOST_PATH);
}

void host_open(struct host *host, const char *folder, const char *name)
{
	char path[HOST_PATH];

	memset(host, 0, sizeof(*host));
	snprintf(host->name, sizeof(host->name), "%s", name);
	assert_true(snprintf(host->root, sizeof(host->root), "%s/%s", folder, name) < HOST_PATH);
	folder_of(host, "state", path);
	assert_int_equal(io_mkdirs(path, 0700), 0);
	folder_of(host, "run", path);
	assert_int_equal(io_mkdirs(path, 0700), 0);
}

/* A test that failed may have left VMs: each is ended by the number that its own host gives. */
void host_end_vms(const struct host *host)
{
	static char output[HOST_OUTPUT];
	json_t *list, *vm;
	size_t i;

	host_drover(host, output, "list", "--json", NULL);
	list = json_loads(output, 0, NULL);
	json_array_foreach(json_object_get(list, "vms"), i, vm)
	{
		pid_t pid = (pid_t)json_integer_value(json_object_get(vm, "pid"));

		if (pid <= 1)
			continue;
		print_message("host %s still had VM %s\n", host->name,
			      json_string_value(json_object_get(vm, "name")));
		kill(pid, SIGKILL);
	}
	json_decref(list);
}

void host_close(struct host *host)
{
	const char *const argv[] = {"rm", "-rf", host->root, NULL};
	pid_t pid;

	host_end_vms(host);
	pid = fork();
	if (pid == 0) {
		execvp("rm", (char *const *)argv);
		_exit(127);
	}
	waitpid(pid, NULL, 0);
}

static void host_trace(const struct host *host, char path[HOST_PATH])
{
	folder_of(host, "fault-trace", path);
}

bool host_fault_fired(const struct host *host, const char *point)
{
	char path[HOST_PATH], line[64];
	bool fired = false;
	FILE *file;

	host_trace(host, path);
	file = fopen(path, "re");
	while (file && fgets(line, sizeof(line), file)) {
		line[strcspn(line, "\n")] = 0;
		fired |= !strcmp(line, point);
	}
	if (file)
		fclose(file);
	unlink(path);
	return fired;
}

/* ---- commands -------------------------------------------------------------------------------------------------- */

/* The library's own view of a host, for what is asked without a command. */
static void enter(const struct host *host)
{
	char path[HOST_PATH];

	folder_of(host, "state", path);
	setenv("DROVER_STATE", path, 1);
	folder_of(host, "run", path);
	setenv("DROVER_RUN", path, 1);
}

void command_start(struct command *command, const struct host *host, const char *fault,
		   const char *const argv[])
{
	char program[HOST_PATH + 16];
	int pipes[2];

	memset(command, 0, sizeof(*command));
	snprintf(program, sizeof(program), "%s/drover", host_build());
	assert_int_equal(pipe2(pipes, O_CLOEXEC), 0);
	command->pid = fork();
	assert_true(command->pid >= 0);
	if (command->pid == 0) {
		char trace[HOST_PATH];
		int null = open("/dev/null", O_RDONLY);

		enter(host);
		if (fault)
			setenv("DROVER_FAULT", fault, 1);
		host_trace(host, trace);
		setenv("DROVER_FAULT_TRACE", trace, 1);
		dup2(null, 0);
		dup2(pipes[1], 1);
		dup2(pipes[1], 2);
		execv(program, (char *const *)argv);
		_exit(127);
	}
	close(pipes[1]);
	command->out = pipes[0];
}

bool command_lives(const struct command *command)
{
	siginfo_t ended = {.si_pid = 0};

	waitid(P_PID, (id_t)command->pid, &ended, WEXITED | WNOHANG | WNOWAIT);
	return ended.si_pid == 0;
}

json_t *command_report(const struct command *command)
{
	const char *begin = strstr(command->output, "{\"name\"");
	json_t *report = begin ? json_loads(begin, 0, NULL) : NULL;

	if (!report)
		fail_msg("no report, but: %s", command->output);
	return report;
}

json_int_t command_number(const struct command *command, const char *key)
{
	json_t *report = command_report(command);
	json_int_t number = json_integer_value(json_object_get(report, key));

	json_decref(report);
	return number;
}

int command_wait(struct command *command)
{
	uint64_t until = clock_mono_ns() + COMMAND_SECONDS * 1000000000ull;
	struct pollfd readable = {.fd = command->out, .events = POLLIN};
	bool late = false;
	int status;

	/* The pipe ends with the command: what it leaves behind (a VM process) does not hold it. */
	for (;;) {
		size_t room = sizeof(command->output) - 1 - command->len;
		char spill[4096];
		ssize_t got;

		if (clock_mono_ns() > until) {
			processes_show();
			kill(command->pid, SIGKILL);
			late = true;
		}
		if (poll(&readable, 1, 1000) <= 0)
			continue;
		got = read(command->out, room ? command->output + command->len : spill,
			   room ? room : sizeof(spill));
		if (got <= 0)
			break;
		if (room)
			command->len += (size_t)got;
	}
	close(command->out);
	waitpid(command->pid, &status, 0);
	if (late)
		fail_msg("a command did not end within %d s; it said: %s", COMMAND_SECONDS, command->output);
	return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

void command_must_succeed(struct command *command)
{
	enum { SHOWN = 900 };
	size_t len;

	if (!command_wait(command))
		return;
	len = strlen(command->output);
	fail_msg("%s", command->output + (len > SHOWN ? len - SHOWN : 0));
}

static int run_list(const struct host *host, char *output, va_list args)
{
	const char *argv[ARGS] = {"drover"};
	struct command *command = calloc(1, sizeof(*command));
	int n = 1, status;

	assert_non_null(command);
	while (n < ARGS - 1 && (argv[n] = va_arg(args, const char *)))
		n++;
	command_start(command, host, NULL, argv);
	status = command_wait(command);
	if (output)
		memcpy(output, command->output, sizeof(command->output));
	else if (status)
		print_message("drover %s on %s: status %d: %s\n", argv[1], host->name, status,
			      command->output);
	free(command);
	return status;
}

int host_drover(const struct host *host, char *output, ...)
{
	va_list args;
	int status;

	va_start(args, output);
	status = run_list(host, output, args);
	va_end(args);
	return status;
}

void host_must(const struct host *host, ...)
{
	va_list args;
	int status;

	va_start(args, host);
	status = run_list(host, NULL, args);
	va_end(args);
	assert_int_equal(status, 0);
}

/* ---- state ------------------------------------------------------------------------------------------------------ */

void host_state(const struct host *host, const char *vm, char state[16])
{
	struct control control;
	struct err err;
	json_t *reply;

	strcpy(state, "none");
	enter(host);
	if (control_connect(&control, vm, &err))
		return;
	strcpy(state, "silent");
	if (!control_call(&control, json_pack("{s:s}", "cmd", "status"), 5000, &reply, NULL, NULL, &err)) {
		snprintf(state, 16, "%s", json_string_value(json_object_get(reply, "state")));
		json_decref(reply);
	}
	control_close(&control);
}

void host_type(const struct host *host, const char *vm, const char *line)
{
	int fds[CONTROL_MAX_FDS];
	struct control control;
	size_t nfds = 0;
	struct err err;

	enter(host);
	if (control_connect(&control, vm, &err) ||
	    control_call(&control, json_pack("{s:s}", "cmd", "console"), 5000, NULL, fds, &nfds, &err))
		fail_msg("%s", err.text);
	assert_int_equal(nfds, 1);
	assert_int_equal(dprintf(fds[0], "%s\n", line), strlen(line) + 1);
	close(fds[0]);
	control_close(&control);
}

static bool one_of(const char *word, const char *list)
{
	size_t len = strlen(word);

	for (const char *at = list; (at = strstr(at, word)); at += len)
		if ((at == list || at[-1] == ' ') && (at[len] == ' ' || !at[len]))
			return true;
	return false;
}

/* A condition that another process will make true: looked at again every few milliseconds until it holds. */
static void pause_ms(int ms)
{
	poll(NULL, 0, ms);
}

void host_wait_state(const struct host *host, const char *vm, const char *list)
{
	uint64_t until = clock_mono_ns() + WAIT_NS_SECONDS * 1000000000ull;
	char state[16];

	for (;;) {
		host_state(host, vm, state);
		if (one_of(state, list))
			return;
		if (clock_mono_ns() > until) {
			processes_show();
			fail_msg("VM %s on host %s is %s, not one of: %s", vm, host->name, state, list);
		}
		pause_ms(5);
	}
}

struct ledger_record host_ledger(const struct host *host, const char *vm)
{
	struct ledger_record record;
	struct err err;
	bool locked;

	enter(host);
	if (ledger_peek(vm, &record, &locked, &err))
		fail_msg("%s", err.text);
	return record;
}

/* ---- the guest -------------------------------------------------------------------------------------------------- */

void host_run_guest(const struct host *host, const char *vm, const char *memory, const char *fault,
		    const char *parameters)
{
	char kernel[HOST_PATH + 32];
	struct command command;
	const char *argv[] = {"drover", "run",      "--name", vm,         "--memory", memory,     "--cpus",
			      "1",      "--kernel", kernel,   "--append", parameters, "--detach", NULL};
	int status;

	snprintf(kernel, sizeof(kernel), "%s/guest/testguest.elf", host_build());
	command_start(&command, host, fault, argv);
	status = command_wait(&command);
	if (status)
		fail_msg("drover run: status %d: %s", status, command.output);
	host_wait_report(host, vm, 0);
}

static size_t parse_reports(const char *log, struct guest_report *reports, size_t cap)
{
	size_t n = 0;

	if (strstr(log, "drover-guest: ERROR"))
		fail_msg("memory error in the guest: %.200s", strstr(log, "drover-guest: ERROR"));
	for (const char *at = log; n < cap && (at = strstr(at, "drover-guest: seq=")); at++) {
		struct guest_report *r = &reports[n];
		unsigned long long f[7];

		if (!strchr(at, '\n'))
			break;
		if (sscanf(at,
			   "drover-guest: seq=%llu t_ms=%llu written=%llu verified=%llu gap_us=%llu "
			   "max_gap_us=%llu errors=%llu",
			   &f[0], &f[1], &f[2], &f[3], &f[4], &f[5], &f[6]) != 7)
			fail_msg("a report that cannot be read: %.120s", at);
		*r = (struct guest_report){f[0], f[1], f[2], f[3], f[4], f[5], f[6]};
		n++;
	}
	return n;
}

size_t host_reports(const struct host *host, const char *vm, struct guest_report *reports, size_t cap)
{
	char path[HOST_PATH + 64];
	void *log;
	size_t len, n;

	snprintf(path, sizeof(path), "%s/state/vms/%s/console.log", host->root, vm);
	if (io_read_file(path, 64 << 20, &log, &len))
		return 0;
	n = parse_reports(log, reports, cap);
	free(log);
	return n;
}

struct guest_report host_wait_report(const struct host *host, const char *vm, uint64_t seq)
{
	enum { CAP = 4096 };
	uint64_t until = clock_mono_ns() + WAIT_NS_SECONDS * 1000000000ull;
	struct guest_report *reports = calloc(CAP, sizeof(*reports)), last;

	assert_non_null(reports);
	for (;;) {
		size_t n = host_reports(host, vm, reports, CAP);

		if (n > 0 && reports[n - 1].seq >= seq)
			last = reports[n - 1];
		if (n > 0 && reports[n - 1].seq >= seq)
			break;
		if (clock_mono_ns() > until)
			fail_msg("guest %s on host %s gave no report %llu", vm, host->name,
				 (unsigned long long)seq);
		pause_ms(5);
	}
	free(reports);
	if (last.errors)
		fail_msg("guest %s reports %llu errors", vm, (unsigned long long)last.errors);
	return last;
}

/* ---- the way to a host ------------------------------------------------------------------------------------------ */

static struct {
	char url[128];
	char command[4 * HOST_PATH];
} way;

static void fill_way(const struct sshd *sshd, const struct host *to, const char *remote_fault, uint16_t port)
{
	snprintf(way.url, sizeof(way.url), "ssh://%s@127.0.0.1:%u", sshd->user,
		 (unsigned)(port ? port : sshd->port));
	snprintf(way.command, sizeof(way.command),
		 "env DROVER_STATE=%s/state DROVER_RUN=%s/run DROVER_FAULT=%s "
		 "DROVER_FAULT_TRACE=%s/fault-trace %s/drover serve",
		 to->root, to->root, remote_fault ? remote_fault : "", to->root, host_build());
}

const char *const *host_migrate_argv(const struct sshd *sshd, const struct host *to, const char *vm,
				     const char *remote_fault)
{
	static const char *const nothing[] = {NULL};

	return host_migrate_argv_with(sshd, to, vm, remote_fault, 0, nothing);
}

/* Where the option stands in argv, whose end is n; n: nowhere. */
static size_t place_of(const char *const argv[], size_t n, const char *option)
{
	for (size_t i = 0; i < n; i++)
		if (!strcmp(argv[i], option))
			return i;
	return n;
}

const char *const *host_migrate_argv_with(const struct sshd *sshd, const struct host *to, const char *vm,
					  const char *remote_fault, uint16_t port, const char *const more[])
{
	enum { ROOM = 40 };
	static const char *argv[ROOM];
	const char *const fresh[] = {"drover",
				     "migrate",
				     vm,
				     way.url,
				     "--json",
				     "--identity",
				     sshd->identity,
				     "--known-hosts",
				     sshd->known_hosts,
				     "--remote-command",
				     way.command,
				     "--downtime",
				     "2s",
				     "--reconnect",
				     "3s"};
	size_t n = sizeof(fresh) / sizeof(fresh[0]);

	/* The generous budget: what these tests are about must not depend on the machine's load.  A receiver whose sender
	 * was killed waits for it so long. */
	fill_way(sshd, to, remote_fault, port);
	memcpy(argv, fresh, sizeof(fresh));
	for (size_t i = 0; more[i]; i += more[i + 1] ? 2 : 1) {
		size_t place = place_of(argv, n, more[i]);

		argv[place] = more[i];
		if (more[i + 1])
			argv[place + 1] = more[i + 1];
		if (place == n)
			n += more[i + 1] ? 2 : 1;
		assert_true(n < ROOM - 2);
	}
	argv[n] = NULL;
	return argv;
}

const char *const *host_resolve_argv(const struct sshd *sshd, const struct host *to, const char *vm)
{
	static const char *argv[16];
	const char *const fresh[] = {"drover",
				     "resolve",
				     vm,
				     way.url,
				     "--identity",
				     sshd->identity,
				     "--known-hosts",
				     sshd->known_hosts,
				     "--remote-command",
				     way.command,
				     NULL};

	fill_way(sshd, to, NULL, 0);
	memcpy(argv, fresh, sizeof(fresh));
	return argv;
}
