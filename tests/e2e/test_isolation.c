/* What a running VM's process is, seen from the host: started by root, by an ordinary user, and where the host forbids
 * namespaces.  What it may do is asked in tests/unit/test_jail.c. */
#include "common/io.h"
#include "tests/lib/cli.h"
#include "tests/lib/need.h"
#include "tests/lib/temp.h"
#include "tests/lib/test.h"

#include <dirent.h>
#include <errno.h>
#include <grp.h>
#include <jansson.h>
#include <limits.h>
#include <poll.h>
#include <sched.h>
#include <seccomp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/pidfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

enum { ORDINARY = 54321, FIRST_ID = 0x70000000, LAST_ID = 0x77ffffff, KVM_MAJOR = 10, KVM_MINOR = 232 };
enum { END_MS = 20000, LOG_MAX = 65536 };

static struct cli cli;
static char folder[TEMP_MAX], before[TEMP_MAX];
static bool (*who)(void); /* called in each command's process; NULL: as this process */

/* ---- who starts it ------------------------------------------------------------------------------------- */

/* A user who is in no group and may open /dev/kvm, in a view of the file system of his own.  Who is ordinary stays it. */
static bool ordinary(void)
{
	if (geteuid() != 0)
		return true;
	return !unshare(CLONE_NEWNS) && !mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) &&
	       !mount("none", "dev", "tmpfs", 0, "size=4k,mode=755") &&
	       !mknod("dev/kvm", S_IFCHR | 0666, makedev(KVM_MAJOR, KVM_MINOR)) && !chmod("dev/kvm", 0666) &&
	       !mount("dev/kvm", "/dev/kvm", NULL, MS_BIND, NULL) && !setgroups(0, NULL) &&
	       !setresgid(ORDINARY, ORDINARY, ORDINARY) && !setresuid(ORDINARY, ORDINARY, ORDINARY);
}

/* As in many a container. */
static bool without_namespaces(void)
{
	scmp_filter_ctx filter = seccomp_init(SCMP_ACT_ALLOW);
	bool done = filter && !seccomp_rule_add(filter, SCMP_ACT_ERRNO(EPERM), SCMP_SYS(unshare), 0) &&
		    !seccomp_rule_add(filter, SCMP_ACT_ERRNO(ENOSYS), SCMP_SYS(clone3), 0) &&
		    !seccomp_load(filter);
	seccomp_release(filter);
	return done;
}

static bool ordinary_without_namespaces(void)
{
	return ordinary() && without_namespaces();
}

static bool can_run(void)
{
	return ordinary() && access(cli_program(), X_OK) == 0 && access(folder, W_OK) == 0;
}

/* The folder becomes the user's; the one around it, which tests/run makes for this program alone, lets him through.  A
 * working copy in a folder of root's cannot be used by others. */
static uid_t need_ordinary(void)
{
	uid_t uid = geteuid() ? geteuid() : ORDINARY;
	struct stat around;
	int status;
	pid_t pid;
	assert_int_equal(stat("..", &around), 0);
	if (!(around.st_mode & S_IXOTH))
		assert_int_equal(chmod("..", (around.st_mode & 07777) | S_IXOTH), 0);
	assert_int_equal(chown(folder, uid, (gid_t)-1), 0);
	pid = fork();
	if (pid == 0)
		_exit(can_run() ? 0 : 1);
	assert_int_equal(waitpid(pid, &status, 0), pid);
	if (status)
		need_skip("an ordinary user cannot run %s here", cli_program());
	return uid;
}

/* ---- the VM -------------------------------------------------------------------------------------------- */

static int setup(void **state)
{
	(void)state;
	who = NULL;
	if (!need_kvm())
		return -1;
	temp_make(folder);
	assert_non_null(getcwd(before, sizeof(before)));
	assert_int_equal(chdir(folder), 0);
	assert_int_equal(mkdir("dev", 0755), 0);
	cli_open(folder);
	setenv("ACCESS_KEY", "secret", 1);
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	cli_run_in(&cli, who, "kill g --force");
	cli_run_in(&cli, who, "kill h --force");
	assert_int_equal(chdir(before), 0);
	temp_remove(folder);
	return 0;
}

static void must(const char *words)
{
	cli_run_in(&cli, who, words);
	if (cli.status)
		fail_msg("'%s' ended with %d: %s", words, cli.status, cli.err);
}

static json_t *must_json(const char *words)
{
	json_t *json;
	must(words);
	json = json_loads(cli.out, 0, NULL);
	assert_non_null(json);
	return json;
}

/* A machine with one of each kind of thing that a VM process opens, but a tap. */
static void start(const char *name)
{
	char text[2 * TEMP_MAX], words[256];
	FILE *file = fopen("vm.yaml", "we");
	assert_non_null(file);
	fprintf(file, "memory: 32M\ndisks:\n  - path: %s/%s.dvol\nconsole-ports: [port]\n", folder, name);
	assert_int_equal(fclose(file), 0);
	assert_int_equal(chmod("vm.yaml", 0644), 0);
	snprintf(words, sizeof(words), "image create %s.dvol 1M", name);
	must(words);
	snprintf(text, sizeof(text), "create %s -f vm.yaml", name);
	must(text);
	snprintf(words, sizeof(words), "start %s", name);
	must(words);
}

static pid_t pid_of(const char *name)
{
	char words[64];
	json_t *status;
	pid_t pid;
	snprintf(words, sizeof(words), "status %s --json", name);
	status = must_json(words);
	pid = (pid_t)json_integer_value(json_object_get(status, "pid"));
	json_decref(status);
	assert_true(pid > 1);
	return pid;
}

/* field(pid, name): the first number that /proc/PID/status has behind it, of the given base. */
static unsigned long long field(pid_t pid, const char *name, int base)
{
	char path[64], key[32], *at;
	unsigned long long value;
	void *text;
	size_t len;
	snprintf(path, sizeof(path), "/proc/%d/status", (int)pid);
	snprintf(key, sizeof(key), "\n%s:", name);
	assert_int_equal(io_read_file(path, LOG_MAX, &text, &len), 0);
	at = strstr(text, key);
	assert_non_null(at);
	value = strtoull(at + strlen(key), NULL, base);
	free(text);
	return value;
}

/* ---- what it must be ----------------------------------------------------------------------------------- */

static void has_no_rights(pid_t pid)
{
	assert_int_equal(field(pid, "Seccomp", 10), 2);
	assert_int_equal(field(pid, "NoNewPrivs", 10), 1);
	assert_int_equal(field(pid, "CapEff", 16), 0);
	assert_int_equal(field(pid, "CapPrm", 16), 0);
	assert_int_equal(field(pid, "CapInh", 16), 0);
	assert_int_equal(field(pid, "CapAmb", 16), 0);
}

static void has_namespaces(pid_t pid)
{
	static const char *const names[] = {"mnt", "pid", "net", "ipc", "uts"};
	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
		char path[64], own[64], other[64];
		ssize_t mine, its;
		snprintf(path, sizeof(path), "/proc/self/ns/%s", names[i]);
		mine = readlink(path, own, sizeof(own));
		snprintf(path, sizeof(path), "/proc/%d/ns/%s", (int)pid, names[i]);
		its = readlink(path, other, sizeof(other));
		assert_true(mine > 0 && its > 0);
		if (mine == its && !memcmp(own, other, (size_t)its))
			fail_msg("the VM process has this host's namespace '%s'", names[i]);
	}
}

static void has_no_files(pid_t pid)
{
	char path[64];
	struct dirent *entry;
	DIR *root;
	snprintf(path, sizeof(path), "/proc/%d/root", (int)pid);
	root = opendir(path);
	assert_non_null(root);
	while ((entry = readdir(root)))
		if (strcmp(entry->d_name, ".") && strcmp(entry->d_name, ".."))
			fail_msg("the VM process's root holds %s", entry->d_name);
	closedir(root);
}

/* in, name and file are written one behind the other. */
static bool same_file(const struct stat *open, const char *in, const char *name, const char *file)
{
	char path[TEMP_MAX];
	struct stat st;
	snprintf(path, sizeof(path), "%s%s%s", in, name, file);
	return !stat(path, &st) && st.st_dev == open->st_dev && st.st_ino == open->st_ino;
}

/* By what they are: names are those of a view of the file system that may be gone. */
static bool expected(const struct stat *open, const char *link, const char *name)
{
	static const char *const kinds[] = {"anon_inode:", "/memfd:", "socket:["};
	static const char *const own[] = {"/lock", "/handover", "/console.log", "/vm.log"};
	const dev_t null = makedev(1, 3), kvm = makedev(KVM_MAJOR, KVM_MINOR);
	for (size_t i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++)
		if (!strncmp(link, kinds[i], strlen(kinds[i])))
			return true;
	/* Another way to what the system call gives, whose dynamic number a name in /dev tells. */
	if (S_ISCHR(open->st_mode))
		return open->st_rdev == null || open->st_rdev == kvm || !strcmp(link, "/dev/userfaultfd");
	for (size_t i = 0; i < sizeof(own) / sizeof(own[0]); i++)
		if (same_file(open, "state/vms/", name, own[i]))
			return true;
	return same_file(open, "", name, ".dvol") || same_file(open, "/run/drover/", "ids", "");
}

/* No folder either, from which one could go on. */
static void has_open_what_it_needs(pid_t pid, const char *name)
{
	char path[64], link[PATH_MAX];
	struct dirent *entry;
	struct stat open;
	DIR *list;
	snprintf(path, sizeof(path), "/proc/%d/fd", (int)pid);
	list = opendir(path);
	assert_non_null(list);
	while ((entry = readdir(list))) {
		ssize_t len = readlinkat(dirfd(list), entry->d_name, link, sizeof(link) - 1);
		if (entry->d_name[0] == '.')
			continue;
		assert_true(len > 0);
		link[len] = '\0';
		assert_int_equal(fstatat(dirfd(list), entry->d_name, &open, 0), 0);
		if (!expected(&open, link, name))
			fail_msg("the VM process has %s open", link);
	}
	closedir(list);
}

/* setup has put something there. */
static void has_no_environment(pid_t pid)
{
	char path[64];
	void *text;
	size_t len;
	snprintf(path, sizeof(path), "/proc/%d/environ", (int)pid);
	assert_int_equal(io_read_file(path, LOG_MAX, &text, &len), 0);
	for (size_t i = 0; i < len; i++)
		if (((char *)text)[i])
			fail_msg("the VM process keeps of its environment: %s", (char *)text + i);
	free(text);
}

/* A client of a port and of the control socket, at the paths that the VM process cannot see any more. */
static void can_be_reached(void)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX, .sun_path = "run/vms/g.ports/port"};
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	assert_true(fd >= 0);
	assert_int_equal(connect(fd, (struct sockaddr *)&address, sizeof(address)), 0);
	close(fd);
	must("pause g");
	must("resume g");
	must("balloon g 16M");
	must("reset g");
	must("dirty-rate g --interval 10ms");
}

static void lacks(const char *parts)
{
	char text[256];
	json_t *status = must_json("status g --json");
	char *found =
	    json_dumps(json_object_get(json_object_get(status, "isolation"), "lacks"), JSON_COMPACT);
	assert_non_null(found);
	assert_string_equal(found, parts);
	free(found);
	json_decref(status);
	must("status g");
	snprintf(text, sizeof(text), "isolation  %s", strcmp(parts, "[]") ? "lacks: " : "full\n");
	assert_non_null(strstr(cli.out, text));
}

static void leaves_nothing(void)
{
	must("kill g");
	assert_int_equal(access("run/vms/g.sock", F_OK), -1);
	assert_int_equal(access("run/vms/g.ports", F_OK), -1);
}

/* ---- the tests ----------------------------------------------------------------------------------------- */

static void started_by_root(void **state)
{
	unsigned long long first, second;
	(void)state;
	need_root("start a VM as root does");
	start("g");
	start("h");
	has_no_rights(pid_of("g"));
	has_namespaces(pid_of("g"));
	has_no_files(pid_of("g"));
	has_open_what_it_needs(pid_of("g"), "g");
	has_no_environment(pid_of("g"));
	lacks("[]");
	first = field(pid_of("g"), "Uid", 10);
	second = field(pid_of("h"), "Uid", 10);
	assert_in_range(first, FIRST_ID, LAST_ID);
	assert_in_range(second, FIRST_ID, LAST_ID);
	assert_int_not_equal(first, second);
	assert_int_equal(field(pid_of("g"), "Gid", 10), first);
	can_be_reached();
	leaves_nothing();
}

static void started_by_an_ordinary_user(void **state)
{
	uid_t uid = need_ordinary();
	(void)state;
	who = ordinary;
	start("g");
	lacks("[]");
	has_no_rights(pid_of("g"));
	has_namespaces(pid_of("g"));
	has_no_files(pid_of("g"));
	has_open_what_it_needs(pid_of("g"), "g");
	assert_int_equal(field(pid_of("g"), "Uid", 10), uid);
	can_be_reached();
	/* Root may ask, too. */
	who = NULL;
	lacks("[]");
	who = ordinary;
	leaves_nothing();
}

static void the_log_says(const char *words)
{
	void *text;
	size_t len;
	assert_int_equal(io_read_file("state/vms/g/vm.log", LOG_MAX, &text, &len), 0);
	if (!strstr(text, words))
		fail_msg("vm.log does not say '%s': %s", words, (char *)text);
	free(text);
}

static void where_root_has_no_namespaces(void **state)
{
	(void)state;
	need_root("start a VM as root does");
	who = without_namespaces;
	start("g");
	has_no_rights(pid_of("g"));
	assert_in_range(field(pid_of("g"), "Uid", 10), FIRST_ID, LAST_ID);
	has_open_what_it_needs(pid_of("g"), "g");
	lacks("[\"mount\",\"pid\",\"net\",\"ipc\",\"uts\"]");
	the_log_says("denies the VM process its own part 'net' (EPERM)");
	can_be_reached();
	leaves_nothing();
}

static void where_users_have_no_namespaces(void **state)
{
	(void)state;
	need_ordinary();
	who = ordinary_without_namespaces;
	start("g");
	has_no_rights(pid_of("g"));
	has_open_what_it_needs(pid_of("g"), "g");
	lacks("[\"user\",\"mount\",\"pid\",\"net\",\"ipc\",\"uts\"]");
	the_log_says("denies the VM process its own part 'user' (EPERM)");
	can_be_reached();
	leaves_nothing();
}

/* The first process of a pid namespace is deaf to signals that it does not ask for. */
static void sigterm_ends_it_in_order(void **state)
{
	struct pollfd end = {.events = POLLIN};
	json_t *status;
	pid_t pid;
	(void)state;
	start("g");
	pid = pid_of("g");
	end.fd = pidfd_open(pid, 0);
	assert_true(end.fd >= 0);
	assert_int_equal(kill(pid, SIGTERM), 0);
	assert_int_equal(poll(&end, 1, END_MS), 1);
	close(end.fd);
	status = must_json("status g --json");
	assert_string_equal(json_string_value(json_object_get(status, "state")), "stopped");
	json_decref(status);
	must("image close g.dvol");
	/* Its sockets were left, and do not stand in the way. */
	must("start g");
	leaves_nothing();
}

/* Nothing stays of a VM that was not known and could not start, although its process cannot remove it. */
static void a_start_that_fails_leaves_nothing(void **state)
{
	(void)state;
	cli_run_in(&cli, who, "run --name g --memory 32M --detach --disk nowhere.dvol");
	assert_int_equal(cli.status, 1);
	assert_int_equal(access("state/vms/g", F_OK), -1);
	assert_int_equal(access("run/vms/g.sock", F_OK), -1);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test_setup_teardown(started_by_root, setup, teardown),
	    cmocka_unit_test_setup_teardown(started_by_an_ordinary_user, setup, teardown),
	    cmocka_unit_test_setup_teardown(where_root_has_no_namespaces, setup, teardown),
	    cmocka_unit_test_setup_teardown(where_users_have_no_namespaces, setup, teardown),
	    cmocka_unit_test_setup_teardown(sigterm_ends_it_in_order, setup, teardown),
	    cmocka_unit_test_setup_teardown(a_start_that_fails_leaves_nothing, setup, teardown),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
