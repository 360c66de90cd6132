/* What a VM may use of its host, by real control groups: its process is in them and they say what was asked for, they hold, they
 * are gone when it is, also when it was killed; and where they cannot be had that is said, or the start refused. */
#include "common/io.h"
#include "common/paths.h"
#include "tests/lib/cli.h"
#include "tests/lib/need.h"
#include "tests/lib/sshd.h"
#include "tests/lib/temp.h"
#include "tests/lib/test.h"
#include "vmm/cgroup.h"

#include <errno.h>
#include <jansson.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

static struct cli cli;
static char folder[TEMP_MAX], kernel[4200];

/* usable: groups of all three controllers can be made by this process. */
static bool usable(void)
{
	static const char *const names[] = {"memory", "cpu", "io"};
	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
		struct cgroup_place place;
		cgroup_find(names[i], &place);
		if (!place.version || access(place.base, W_OK))
			return false;
	}
	return true;
}

static int setup(void **state)
{
	(void)state;
	if (!need_kvm())
		return -1;
	need_root("make control groups wherever it is");
	unsetenv("DROVER_CGROUP");
	temp_make(folder);
	cli_open(folder);
	snprintf(kernel, sizeof(kernel), "%s", cli_program());
	strcpy(strrchr(kernel, '/'), "/guest/testguest.elf");
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	cli_run_words(&cli, "kill g --force");
	temp_remove(folder);
	return 0;
}

static void must(const char *format, ...) __attribute__((format(printf, 1, 2)));
static void must(const char *format, ...)
{
	char words[9000];
	va_list args;
	va_start(args, format);
	vsnprintf(words, sizeof(words), format, args);
	va_end(args);
	cli_run_words(&cli, words);
	if (cli.status)
		fail_msg("'%s' ended with %d: %s", words, cli.status, cli.err);
}

static json_t *answer(const char *words)
{
	must("%s", words);
	json_t *json = json_loads(cli.out, 0, NULL);
	assert_non_null(json);
	return json;
}

static void run(const char *limits, const char *parameters)
{
	char disk[TEMP_MAX + 16];
	snprintf(disk, sizeof(disk), "%s/v.dvol", folder);
	if (access(disk, F_OK))
		must("image create %s 1M", disk);
	must("run --name g --memory 64M --detach --kernel %s --disk %s %s --append %s", kernel, disk, limits,
	     parameters);
}

/* One that writes to no disk can move. */
static void run_without_disk(const char *limits)
{
	must("run --name g --memory 64M --detach --kernel %s %s --append verify=0", kernel, limits);
}

/* limit_is: what status says of one. */
static void limit_is(const char *name, const char *text)
{
	json_t *status = answer("status g --json");
	const char *said = json_string_value(json_object_get(json_object_get(status, "limits"), name));
	if (!said || strncmp(said, text, strlen(text)))
		fail_msg("status says of %s: %s", name, said ? said : "nothing");
	json_decref(status);
}

/* group_of: the folder of the VM's group; false: there is none. */
static bool group_of(const char *controller, int *version, char path[CGROUP_PATH + 32])
{
	struct cgroup_place place;
	cgroup_find(controller, &place);
	*version = place.version;
	assert_true(place.version > 0);
	snprintf(path, CGROUP_PATH + 32, "%s/g", place.base);
	return !access(path, F_OK);
}

static void file_is(const char *group, const char *file, const char *text)
{
	char path[CGROUP_PATH + 100], line[512] = "";
	snprintf(path, sizeof(path), "%s/%s", group, file);
	FILE *in = fopen(path, "re");
	assert_non_null(in);
	while (fgets(line, sizeof(line), in))
		if (!strncmp(line, text, strlen(text)) && line[strlen(text)] == '\n')
			break;
		else
			line[0] = '\0';
	fclose(in);
	if (!line[0])
		fail_msg("%s has no line %s", path, text);
}

static void no_groups(void)
{
	static const char *const names[] = {"memory", "cpu", "io"};
	char path[CGROUP_PATH + 32], list[PATHS_MAX];
	int version;
	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
		if (group_of(names[i], &version, path))
			fail_msg("%s is still there", path);
	assert_int_equal(paths_vm_groups("g", list, NULL), 0);
	assert_int_equal(access(list, F_OK), -1);
}

static void wait_gone(pid_t pid)
{
	struct pollfd process = {.fd = (int)syscall(SYS_pidfd_open, pid, 0), .events = POLLIN};
	assert_true(process.fd >= 0 || errno == ESRCH);
	assert_true(process.fd < 0 || poll(&process, 1, 10000) == 1);
	io_close(&process.fd);
}

static pid_t vm_pid(void)
{
	json_t *status = answer("status g --json");
	pid_t pid = (pid_t)json_integer_value(json_object_get(status, "pid"));
	json_decref(status);
	assert_true(pid > 1);
	return pid;
}

static void test_applied(void **state)
{
	char group[CGROUP_PATH + 32], text[64];
	int version;
	(void)state;
	if (!usable())
		need_skip("this process may make no control groups");
	run("--limit memory-max=auto --limit cpu=0.5 --limit read-bytes=10M --limit write-iops=77 --limit "
	    "required=true",
	    "verify=0");
	assert_string_equal(cli.err, "");
	pid_t pid = vm_pid();
	static const char *const names[] = {"memory", "cpu", "io"};
	for (size_t i = 0; i < 3; i++) {
		assert_true(group_of(names[i], &version, group));
		snprintf(text, sizeof(text), "applied (cgroup v%d)", version);
		limit_is(names[i], text);
		snprintf(text, sizeof(text), "%d", (int)pid);
		file_is(group, "cgroup.procs", text);
	}
	group_of("memory", &version, group);
	/* 64 MiB, 1/128 of that, 128 MiB, and 64 MiB for the disk. */
	file_is(group, version == 2 ? "memory.max" : "memory.limit_in_bytes", "268959744");
	group_of("cpu", &version, group);
	file_is(group, version == 2 ? "cpu.max" : "cpu.cfs_quota_us",
		version == 2 ? "50000 100000" : "50000");
	struct vm_config config = {.cpus = 1};
	struct cgroup_device devices[CGROUP_DEVICES];
	char disk[TEMP_MAX + 16], why[256];
	snprintf(disk, sizeof(disk), "%s/v.dvol", folder);
	config_add_device(&config, DEVICE_DISK)->disk.path = strdup(disk);
	assert_int_equal(cgroup_devices(&config, devices, why), 1);
	config_free(&config);
	group_of("io", &version, group);
	snprintf(text, sizeof(text),
		 version == 2 ? "%u:%u rbps=10485760 wbps=max riops=max wiops=77" : "%u:%u 10485760",
		 devices[0].major, devices[0].minor);
	file_is(group, version == 2 ? "io.max" : "blkio.throttle.read_bps_device", text);
	must("kill g");
	no_groups();
}

/* throttled: how often the kernel has stopped the group. */
static unsigned long throttled(const char *group)
{
	char path[CGROUP_PATH + 64], line[256];
	unsigned long times = 0;
	snprintf(path, sizeof(path), "%s/cpu.stat", group);
	FILE *in = fopen(path, "re");
	assert_non_null(in);
	while (fgets(line, sizeof(line), in))
		(void)sscanf(line, "nr_throttled %lu", &times);
	fclose(in);
	return times;
}

static void test_cpu_holds(void **state)
{
	char group[CGROUP_PATH + 32];
	int version;
	(void)state;
	if (!usable())
		need_skip("this process may make no control groups");
	run("--limit cpu=0.1", "verify=max");
	assert_true(group_of("cpu", &version, group));
	/* The guest never rests; a tenth of a period is soon used up.  The test ends by its time limit otherwise. */
	while (!throttled(group))
		usleep(10000);
	must("kill g");
	no_groups();
}

static void test_killed(void **state)
{
	(void)state;
	if (!usable())
		need_skip("this process may make no control groups");
	run("--limit memory-max=1G --limit cpu=1", "verify=0");
	pid_t pid = vm_pid();
	assert_int_equal(kill(pid, SIGKILL), 0);
	wait_gone(pid);
	must("status g");
	assert_non_null(strstr(cli.out, "down"));
	no_groups();
	/* It starts again under its name. */
	run("--limit memory-max=1G", "verify=0");
	limit_is("memory", "applied");
	must("kill g");
	no_groups();
}

/* For the command that is run: no hierarchy to be seen. */
static bool without_hierarchies(void)
{
	return !unshare(CLONE_NEWNS) && !mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) &&
	       !mount("none", "/sys/fs/cgroup", "tmpfs", 0, NULL);
}

static void test_nowhere(void **state)
{
	char words[5000];
	(void)state;
	snprintf(words, sizeof(words), "run --name g --memory 64M --detach --kernel %s --limit cpu=1",
		 kernel);
	cli_run_in(&cli, without_hierarchies, words);
	assert_int_equal(cli.status, 0);
	if (!strstr(cli.err, "drover: VM 'g' runs without its cpu limit: not applied: "))
		fail_msg("stderr: %s", cli.err);
	limit_is("cpu", "not applied: ");
	must("kill g");
	strcat(words, " --limit required=true");
	cli_run_in(&cli, without_hierarchies, words);
	cli_expect(&cli, 1, "VM 'g' is not started: its cpu limit, which is required, was not applied: ");
	must("status g");
	assert_non_null(strstr(cli.out, "stopped"));
	no_groups();
}

/* For the command that is run: systemd runs this host, and has given nothing away. */
static bool under_systemd(void)
{
	return !unshare(CLONE_NEWNS) && !mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) &&
	       !mount("none", "/run", "tmpfs", 0, NULL) && !mkdir("/run/systemd", 0755) &&
	       !mkdir("/run/systemd/system", 0755);
}

static void test_not_delegated(void **state)
{
	char words[5000];
	(void)state;
	if (!usable())
		need_skip("this process may make no control groups");
	snprintf(words, sizeof(words),
		 "run --name g --memory 64M --detach --kernel %s --limit cpu=1 --limit required=true",
		 kernel);
	cli_run_in(&cli, under_systemd, words);
	cli_expect(&cli, 1,
		   "the control group of this process is systemd's; start the VM by 'systemctl start");
	no_groups();
}

/* A VM takes its limits to where it moves; both hosts of the test make their groups in one place. */
static void test_moves(void **state)
{
	char there[TEMP_MAX + 8], serve[2 * TEMP_MAX], url[128], path[CGROUP_PATH + 32],
	    environment[3 * TEMP_MAX];
	struct sshd sshd;
	int version;
	(void)state;
	if (!usable())
		need_skip("this process may make no control groups");
	run_without_disk("--limit cpu=0.75");
	snprintf(there, sizeof(there), "%s/b", folder);
	assert_int_equal(mkdir(there, 0700), 0);
	snprintf(environment, sizeof(environment), "SetEnv DROVER_STATE=%s/state DROVER_RUN=%s/run\n", there,
		 there);
	assert_int_equal(sshd_start(there, environment, &sshd), 0);
	snprintf(url, sizeof(url), "ssh://%s@127.0.0.1:%u", sshd.user, sshd.port);
	snprintf(serve, sizeof(serve), "%s serve", cli_program());
	cli_run(&cli, "migrate", "g", url, "--identity", sshd.identity, "--known-hosts", sshd.known_hosts,
		"--remote-command", serve, "--downtime", "2s", NULL);
	sshd_stop(&sshd);
	if (cli.status)
		fail_msg("%s", cli.err);
	cli_open(there);
	limit_is("cpu", "applied");
	group_of("cpu", &version, path);
	strcat(path, "~1"); /* the name was taken */
	file_is(path, version == 2 ? "cpu.max" : "cpu.cfs_quota_us", version == 2 ? "75000 100000" : "75000");
	must("kill g");
	assert_int_equal(access(path, F_OK), -1);
	cli_open(folder);
	must("status g");
	no_groups();
}

static void test_named_group(void **state)
{
	char words[5000];
	(void)state;
	snprintf(words, sizeof(words), "run --name g --memory 64M --detach --kernel %s --limit memory-max=1G",
		 kernel);
	setenv("DROVER_CGROUP", "relative", 1);
	cli_run_words(&cli, words);
	assert_int_equal(cli.status, 0);
	assert_non_null(strstr(cli.err, "DROVER_CGROUP=relative is no path within the control groups"));
	must("kill g");
	setenv("DROVER_CGROUP", "/drover-test", 1);
	struct cgroup_place place;
	cgroup_find("memory", &place);
	if (place.version != 1)
		need_skip("a group below the root is systemd's where version 2 is used");
	cli_run_words(&cli, words);
	assert_int_equal(cli.status, 0);
	assert_string_equal(cli.err, "");
	limit_is("memory", "applied");
	must("kill g");
	no_groups();
	/* What the administrator named stays until he removes it. */
	assert_int_equal(rmdir(place.base), 0);
	unsetenv("DROVER_CGROUP");
}

static void test_usage(void **state)
{
	(void)state;
	cli_run_words(&cli, "run --name g --memory 64M --kernel k --limit cpu");
	cli_expect(&cli, 2, "--limit: 'cpu' is not WHAT=VALUE");
	cli_run_words(&cli, "run --name g --memory 64M --kernel k --limit swap=1G");
	cli_expect(&cli, 2, "--limit swap: \"swap\" is none of memory-max");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test_setup_teardown(test_applied, setup, teardown),
	    cmocka_unit_test_setup_teardown(test_cpu_holds, setup, teardown),
	    cmocka_unit_test_setup_teardown(test_killed, setup, teardown),
	    cmocka_unit_test_setup_teardown(test_nowhere, setup, teardown),
	    cmocka_unit_test_setup_teardown(test_not_delegated, setup, teardown),
	    cmocka_unit_test_setup_teardown(test_moves, setup, teardown),
	    cmocka_unit_test_setup_teardown(test_named_group, setup, teardown),
	    cmocka_unit_test_setup_teardown(test_usage, setup, teardown),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
