/* test_campaign.c: what can befall a move of a VM with a disk, at each of its named steps (common/fault.h), on both sides.  The process that comes to the
 * step kills itself, drops its link or takes the step for refused; or it stops there, something is done to it, to the link or to its host,
 * and it goes on.  After each case holds what tests/lib/aftermath.h says.
 *
 * $DROVER_CAMPAIGN says how many cases are tried ("all": each once; "serve.hello=stall": that one); which they are depends on the seed. */
#include "common/fault.h"
#include "common/io.h"
#include "tests/lib/aftermath.h"
#include "tests/lib/need.h"
#include "tests/lib/pair.h"
#include "tests/lib/random.h"
#include "tests/lib/test.h"

#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

enum {
	CASES = 1,         /* unless said otherwise */
	STOPPED_MS = 6000, /* longer than the source waits for a mover that says nothing */
	STALLED_MS = 1500,
	DISK_MIB = 192,
};

static struct relay *relay;
static char disk[TEMP_MAX + 32], filler[TEMP_MAX + 32];

/* ---- what is done to a process that has stopped ----------------------------------------------------------------------- */

static void pass_time(unsigned ms)
{
	usleep(ms * 1000);
}

static void let_time_pass(pid_t pid)
{
	(void)pid;
	pass_time(STOPPED_MS);
}

/* The link is as if it were lost, for a while, which begins here. */
static void stall(pid_t pid)
{
	relay_stall(relay, true);
	kill(pid, SIGCONT);
	pass_time(STALLED_MS);
	relay_stall(relay, false);
}

static void corrupt(pid_t pid)
{
	(void)pid;
	relay_corrupt(relay);
}

/* Not a byte is left where the receiver keeps disks and records. */
static void fill_disk(pid_t pid)
{
	int fd = open(filler, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
	struct statvfs fs;

	(void)pid;
	assert_true(fd >= 0);
	assert_int_equal(fstatvfs(fd, &fs), 0);
	for (off_t at = 0, left = (off_t)(fs.f_bavail * fs.f_bsize);
	     left > 0 && !fallocate(fd, 0, at, left);) {
		at += left;
		fstatvfs(fd, &fs);
		left = (off_t)(fs.f_bavail * fs.f_bsize);
	}
	close(fd);
}

/* It gets no more memory than it has, but for its stack. */
static void exhaust_memory(pid_t pid)
{
	const struct rlimit nothing = {0, 0};

	assert_int_equal(prlimit(pid, RLIMIT_DATA, &nothing, NULL), 0);
}

static const struct action {
	const char *name;
	const char *fault;            /* the word of $DROVER_FAULT */
	void (*meanwhile)(pid_t pid); /* NULL: nothing stops */
} actions[] = {
    {"kill", "kill", NULL},      {"cut", "cut", NULL},
    {"refuse", "error", NULL},   {"stop", "stop", let_time_pass},
    {"stall", "stop", stall},    {"corrupt", "stop", corrupt},
    {"full", "stop", fill_disk}, {"memory", "stop", exhaust_memory},
};
enum { ACTIONS = sizeof(actions) / sizeof(actions[0]) };

/* A VM process cannot be stopped by itself, and has no link. */
static bool makes_sense(enum fault_point_id id, const struct action *action)
{
	enum aftermath_process in = aftermath_process(id);

	if (in == AT_OTHER)
		return false;
	if (in == AT_SOURCE || in == AT_DEST)
		return !strcmp(action->name, "kill");
	/* A guest that runs on a host whose disk is full fails by that, not by the move. */
	if (action->meanwhile == fill_disk)
		return id < FAULT_MOVER_STATE_SENT || (id >= FAULT_SERVE_HELLO && id < FAULT_SERVE_STATE) ||
		       id == FAULT_DISKS_SEEDED;
	return true;
}

/* The source's process has the guest; and what is owed to a guest that runs is lost with serve or with either VM process. */
static bool may_be_down(enum fault_point_id id, const struct action *action)
{
	enum aftermath_process in = aftermath_process(id);
	bool ends = !strcmp(action->name, "kill") || !strcmp(action->name, "refuse") ||
		    action->meanwhile == exhaust_memory;

	return in == AT_SOURCE || (aftermath_in_postcopy(id) && in != AT_MOVER && ends);
}

/* ---- finding it -------------------------------------------------------------------------------------------------------- */

static bool file_has(pid_t pid, const char *name, const char *text, size_t len)
{
	char path[64], bytes[65536];
	ssize_t got = -1;
	int fd;

	snprintf(path, sizeof(path), "/proc/%d/%s", pid, name);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd >= 0)
		got = io_read_full(fd, bytes, sizeof(bytes));
	io_close(&fd);
	return got > 0 && memmem(bytes, (size_t)got, text, len);
}

/* A process of that host's which has stopped; 0: none. */
static pid_t stopped_on(const struct host *host)
{
	char state[HOST_PATH + 32];
	DIR *all = opendir("/proc");
	struct dirent *entry;
	pid_t found = 0;

	assert_non_null(all);
	snprintf(state, sizeof(state), "DROVER_STATE=%s/state", host->root);
	while (!found && (entry = readdir(all))) {
		pid_t pid = isdigit((unsigned char)entry->d_name[0]) ? atoi(entry->d_name) : 0;

		if (pid && file_has(pid, "status", "State:\tT", 8) &&
		    file_has(pid, "environ", state, strlen(state) + 1))
			found = pid;
	}
	closedir(all);
	return found;
}

static pid_t await_stopped(const struct host *host, const struct command *command)
{
	pid_t pid;

	while (!(pid = stopped_on(host)) && command_lives(command))
		usleep(2000);
	return pid;
}

/* ---- a case ------------------------------------------------------------------------------------------------------------ */

static void one_case(enum fault_point_id id, const struct action *action)
{
	static struct command command;
	static const char *const plain[] = {NULL}, *const postcopy[] = {"--postcopy", NULL};
	bool behind = aftermath_in_postcopy(id); /* its memory comes behind it */
	enum aftermath_process in = aftermath_process(id);
	bool remote = in == AT_SERVE || in == AT_DEST, on_a, on_b;
	const struct host *host = remote ? &world.b : &world.a;
	char fault[96], what[96];
	const struct aftermath after = {.vm = "g",
					.disk = disk,
					.what = what,
					.said = command.output,
					.may_be_down = may_be_down(id, action),
					.again = true};
	int status;

	snprintf(fault, sizeof(fault), "%s=%s", fault_name(id), action->fault);
	snprintf(what, sizeof(what), "%s=%s", fault_name(id), action->name);
	print_message("  %-28s ", what); /* whatever fails, it is known in which */
	host_must(&world.a, "image", "create", disk, "16M", NULL);
	diskhost_start(&world.a, "g", in == AT_SOURCE ? fault : NULL, disk,
		       behind ? "fill=16M dirty=200" : "");
	command_start(&command, &world.a, in == AT_MOVER ? fault : NULL,
		      host_migrate_argv_with(&world.sshd, &world.b, "g", remote ? fault : NULL,
					     relay_port(relay), behind ? postcopy : plain));
	if (action->meanwhile) {
		pid_t pid = await_stopped(host, &command);

		if (pid) {
			action->meanwhile(pid);
			kill(pid, SIGCONT);
		}
	}
	status = command_wait(&command);
	(void)unlink(filler);
	aftermath_settle(&after, &on_a, &on_b);
	print_message("migrate exits %3d, A %s, B %s\n", status, on_a ? "runs" : "-", on_b ? "runs" : "-");
	if (!host_fault_fired(host, fault_name(id)))
		fail_msg("%s: nothing passed that point: %s", what, command.output);
	if (status == 0 && !on_b)
		fail_msg("%s: migrate says that it moved a guest that is not there: %s", what,
			 command.output);
	aftermath_check(&after, on_a, on_b);
	aftermath_tidy(&after);
}

/* Where one is named, it is the only one. */
static bool is_wanted(const char *wanted, enum fault_point_id id, const struct action *action)
{
	char name[96];

	snprintf(name, sizeof(name), "%s=%s", fault_name(id), action->name);
	return !wanted || !strchr(wanted, '=') || !strcmp(wanted, name);
}

static void campaign(void **state)
{
	struct {
		enum fault_point_id id;
		const struct action *action;
	} cases[FAULT_COUNT * ACTIONS];
	const char *wanted = getenv("DROVER_CAMPAIGN");
	uint64_t random, count = 0, most;

	(void)state;
	need_kvm();
	need_root("mount a file system that can be filled");
	random = random_begin();
	for (int i = 0; i < FAULT_COUNT; i++)
		for (int k = 0; k < ACTIONS; k++) {
			if (!makes_sense((enum fault_point_id)i, &actions[k]) ||
			    !is_wanted(wanted, (enum fault_point_id)i, &actions[k]))
				continue;
			cases[count].id = (enum fault_point_id)i;
			cases[count++].action = &actions[k];
		}
	most = !wanted ? CASES : isdigit((unsigned char)*wanted) ? strtoull(wanted, NULL, 10) : count;
	most = most < count ? most : count;
	assert_true(most > 0);
	print_message("%llu of %llu cases\n", (unsigned long long)most, (unsigned long long)count);
	for (uint64_t n = 0; n < most; n++) {
		uint64_t pick = n + random_below(&random, count - n);

		one_case(cases[pick].id, cases[pick].action);
		cases[pick] = cases[n];
	}
}

/* A host's files are in memory: syncing costs nothing, and what is full is not this machine's disk. */
static void give_disk(const struct host *host)
{
	char path[HOST_PATH + 16], options[32];

	snprintf(options, sizeof(options), "size=%dm,mode=0700", DISK_MIB);
	if (geteuid() == 0)
		assert_int_equal(mount("host", host->root, "tmpfs", 0, options), 0);
	snprintf(path, sizeof(path), "%s/state", host->root);
	assert_int_equal(io_mkdirs(path, 0700), 0);
	snprintf(path, sizeof(path), "%s/run", host->root);
	assert_int_equal(io_mkdirs(path, 0700), 0);
}

static int open_world(void **state)
{
	if (pair_open(state))
		return -1;
	give_disk(&world.a);
	give_disk(&world.b);
	snprintf(disk, sizeof(disk), "%s/disk.dvol", world.a.root);
	snprintf(filler, sizeof(filler), "%s/filler", world.b.root);
	relay = sshd_relay(&world.sshd);
	return relay ? 0 : -1;
}

/* One that a failed case left stopped ends, too. */
static void let_go(const struct host *host)
{
	pid_t pid;

	while ((pid = stopped_on(host)) && !kill(pid, SIGKILL))
		usleep(2000);
	host_end_vms(host);
	(void)umount2(host->root, MNT_DETACH);
}

static int close_world(void **state)
{
	relay_stop(relay);
	let_go(&world.a);
	let_go(&world.b);
	return pair_close(state);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(campaign),
	};

	return cmocka_run_group_tests_name("campaign", tests, open_world, close_world);
}
