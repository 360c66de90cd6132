/* The service of a VM, without systemd: the unit file's own commands, run as systemd runs them, with a notification socket of the
 * test's own; and the unit as systemd's checker sees it. */
#include "common/io.h"
#include "tests/lib/cli.h"
#include "tests/lib/need.h"
#include "tests/lib/shell.h"
#include "tests/lib/temp.h"
#include "tests/lib/test.h"

#include <jansson.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <unistd.h>

static struct cli cli;
static char folder[TEMP_MAX];

static int setup(void **state)
{
	(void)state;
	temp_make(folder);
	cli_open(folder);
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	unsetenv("NOTIFY_SOCKET");
	cli_run_words(&cli, "kill g --force");
	temp_remove(folder);
	return 0;
}

/* The manager's side: what it is told, up to the barrier, at whose end it lets go of the descriptor that came with it. */
struct manager {
	int fd;
	pthread_t thread;
	char told[512];
	bool barrier;
};

static void *listen_to_it(void *arg)
{
	struct manager *manager = arg;
	for (;;) {
		char text[512];
		int fds[IO_MAX_FDS];
		size_t nfds = IO_MAX_FDS;
		ssize_t len = io_receive(manager->fd, text, sizeof(text) - 1, fds, &nfds);
		if (len <= 0)
			return NULL;
		text[len] = '\0';
		manager->barrier = !strcmp(text, "BARRIER=1");
		bool end = !strcmp(text, "END");
		if (!manager->barrier && !end)
			strcpy(manager->told, text);
		for (size_t i = 0; i < nfds; i++)
			close(fds[i]);
		if (manager->barrier || end)
			return NULL;
	}
}

static void manager_open(struct manager *manager)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	snprintf(address.sun_path, sizeof(address.sun_path), "%.90s/notify", folder);
	*manager = (struct manager){.fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0)};
	assert_int_equal(bind(manager->fd, (struct sockaddr *)&address, sizeof(address)), 0);
	setenv("NOTIFY_SOCKET", address.sun_path, 1);
	assert_int_equal(pthread_create(&manager->thread, NULL, listen_to_it, manager), 0);
}

/* manager_close: when the command has ended; one that said nothing leaves the thread waiting. */
static void manager_close(struct manager *manager)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	strcpy(address.sun_path, getenv("NOTIFY_SOCKET"));
	(void)sendto(fd, "END", 3, 0, (struct sockaddr *)&address, sizeof(address));
	close(fd);
	pthread_join(manager->thread, NULL);
	close(manager->fd);
	unlink(address.sun_path);
	unsetenv("NOTIFY_SOCKET");
}

static const char *source(void)
{
	const char *root = getenv("DROVER_SRC");
	return root ? root : ".";
}

/* unit_command(key, words): what the unit says, for the VM g, without the program. */
static void unit_command(const char *key, char words[256])
{
	static const char program[] = "/usr/local/bin/drover ";
	char path[4096], *at, *vm;
	void *unit;
	size_t len;
	snprintf(path, sizeof(path), "%s/tools/systemd/drover-vm@.service", source());
	assert_int_equal(io_read_file(path, 1 << 16, &unit, &len), 0);
	at = strstr(unit, key);
	assert_non_null(at);
	at = strstr(at, program);
	assert_non_null(at);
	at[strcspn(at, "\n")] = '\0';
	vm = strstr(at, "%i");
	assert_non_null(vm);
	snprintf(words, 256, "%.*sg%s", (int)(vm - at - (ptrdiff_t)strlen(program)), at + strlen(program),
		 vm + 2);
	free(unit);
}

static void define(void)
{
	char path[TEMP_MAX + 16], text[5000], kernel[4200];
	snprintf(kernel, sizeof(kernel), "%s", cli_program());
	strcpy(strrchr(kernel, '/'), "/guest/testguest.elf");
	snprintf(text, sizeof(text), "memory: 32M\nkernel: %s\n", kernel);
	snprintf(path, sizeof(path), "%s/g.yaml", folder);
	assert_int_equal(io_replace_file(path, text, strlen(text)), 0);
	cli_run(&cli, "create", "g", "-f", path, NULL);
	assert_int_equal(cli.status, 0);
}

/* run_unit: one of the unit's commands; the pid of the main process that it named, 0 for none. */
static pid_t run_unit(const char *key)
{
	struct manager manager;
	char words[256];
	int pid = 0;
	unit_command(key, words);
	manager_open(&manager);
	cli_run_words(&cli, words);
	manager_close(&manager);
	if (!manager.told[0])
		return 0;
	/* The barrier comes behind it, so that the process that said it still was there. */
	assert_true(manager.barrier);
	assert_int_equal(sscanf(manager.told, "READY=1\nMAINPID=%d", &pid), 1);
	return pid;
}

static void wait_gone(pid_t pid)
{
	struct pollfd process = {.fd = (int)syscall(SYS_pidfd_open, pid, 0), .events = POLLIN};
	assert_true(process.fd < 0 || poll(&process, 1, 10000) == 1);
	io_close(&process.fd);
}

static void test_commands(void **state)
{
	char path[64], name[32] = "";
	(void)state;
	need_kvm();
	define();
	pid_t pid = run_unit("ExecStart=");
	assert_int_equal(cli.status, 0);
	assert_true(pid > 1);
	snprintf(path, sizeof(path), "/proc/%d/comm", (int)pid);
	FILE *comm = fopen(path, "re");
	assert_non_null(comm);
	assert_non_null(fgets(name, sizeof(name), comm));
	fclose(comm);
	assert_string_equal(name, "drover-vm\n");
	/* What the manager does with a process that ExecStop has left: it ends as by a stop. */
	assert_int_equal(kill(pid, SIGTERM), 0);
	wait_gone(pid);
	cli_run_words(&cli, "status g");
	assert_non_null(strstr(cli.out, "stopped"));
	/* One that was killed is started again. */
	pid = run_unit("ExecStart=");
	assert_int_equal(kill(pid, SIGKILL), 0);
	wait_gone(pid);
	assert_true(run_unit("ExecStart=") > 1);
	cli_run_words(&cli, "kill g");
	/* ExecStop of a VM that is over: the unit ignores that it fails. */
	assert_int_equal(run_unit("ExecStop="), 0);
	assert_int_equal(cli.status, 1);
	cli_run_words(&cli, "remove g");
}

/* A VM that was given away: refused, nothing told, and a status at which the unit does not try again. */
static void test_refused(void **state)
{
	char path[TEMP_MAX + 40];
	(void)state;
	need_kvm();
	define();
	snprintf(path, sizeof(path), "%s/state/vms/g/handover", folder);
	assert_int_equal(io_replace_file(path, "damaged", 7), 0);
	assert_int_equal(run_unit("ExecStart="), 0);
	cli_expect(&cli, 1, "make sure that no other host does");
	cli_run_words(&cli, "forget --force g");
}

static void test_verified(void **state)
{
	static const struct {
		const char *file, *as;
	} units[] = {{"drover-vm@.service", "drover-vm@g.service"},
		     {"drover-daemon.service", "drover-daemon.service"}};
	char output[SHELL_OUTPUT];
	(void)state;
	if (shell_run(output, "command -v systemd-analyze"))
		need_skip("there is no systemd-analyze here");
	for (size_t i = 0; i < sizeof(units) / sizeof(units[0]); i++) {
		shell_must("sed 's,/usr/local/bin/drover,%s,' '%s/tools/systemd/%s' >'%s/%s'", cli_program(),
			   source(), units[i].file, folder, units[i].as);
		if (shell_run(output, "systemd-analyze verify --man=no '%s/%s' 2>&1", folder, units[i].as) ||
		    output[0])
			fail_msg("%s", output);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test_setup_teardown(test_commands, setup, teardown),
	    cmocka_unit_test_setup_teardown(test_refused, setup, teardown),
	    cmocka_unit_test_setup_teardown(test_verified, setup, teardown),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
