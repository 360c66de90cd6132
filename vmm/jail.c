/* jail.c: see jail.h.  The order of the steps is that of docs/isolation.md. */
#include "vmm/jail.h"
#include "common/io.h"
#include "common/log.h"
#include "vmm/jail_impl.h"
#include "vmm/userns.h"
#include <errno.h>
#include <grp.h>
#include <linux/capability.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

static const char *const names[JAIL_PARTS] = {
    [JAIL_USER] = "user", [JAIL_MOUNT] = "mount", [JAIL_PID] = "pid",
    [JAIL_NET] = "net",   [JAIL_IPC] = "ipc",     [JAIL_UTS] = "uts",
};

json_t *jail_json(const struct jail *jail)
{
	json_t *has = json_array(), *lacks = json_array();
	for (int i = 0; i < JAIL_PARTS; i++)
		json_array_append_new(jail->has[i] ? has : lacks, json_string(names[i]));
	return json_pack("{s:o, s:o}", "has", has, "lacks", lacks);
}

/* Fewer walls rather than no VM: hosts that forbid namespaces are many, and the filter holds there as well. */
static void denied(enum jail_part part)
{
	log_warning(
	    "isolation: this host denies the VM process its own part '%s' (%s); see docs/isolation.md",
	    names[part], strerrorname_np(errno));
}

/* ---- namespaces ---------------------------------------------------------------------------------------- */

static void own_user_namespace(struct jail *jail)
{
	uid_t uid = geteuid();
	gid_t gid = getegid();
	jail->has[JAIL_USER] = !unshare(CLONE_NEWUSER) && !userns_map_self(uid, gid);
	if (!jail->has[JAIL_USER])
		denied(JAIL_USER);
}

static void own_namespace(struct jail *jail, enum jail_part part, int flag)
{
	jail->has[part] = !unshare(flag);
	if (!jail->has[part])
		denied(part);
}

/* The root becomes an empty file system that nobody can write, and what was there is out of reach. */
static int empty_root(void)
{
	/* Mounted on a folder that is there everywhere; it is gone with the rest. */
	static const char at[] = "/proc";
	return mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) ||
	       mount("none", at, "tmpfs", MS_RDONLY | MS_NOSUID | MS_NODEV | MS_NOEXEC,
		     "size=4k,nr_inodes=1,mode=555") ||
	       chdir(at) || syscall(SYS_pivot_root, ".", ".") || umount2(".", MNT_DETACH) || chdir("/");
}

static void enter_namespaces(struct jail *jail)
{
	if (geteuid() != 0)
		own_user_namespace(jail);
	jail->has[JAIL_PID] = getpid() == 1;
	if (!jail->has[JAIL_PID]) {
		errno = EPERM;
		denied(JAIL_PID);
	}
	own_namespace(jail, JAIL_NET, CLONE_NEWNET);
	own_namespace(jail, JAIL_IPC, CLONE_NEWIPC);
	own_namespace(jail, JAIL_UTS, CLONE_NEWUTS);
	own_namespace(jail, JAIL_MOUNT, CLONE_NEWNS);
	if (jail->has[JAIL_MOUNT] && empty_root()) {
		denied(JAIL_MOUNT);
		jail->has[JAIL_MOUNT] = false;
	}
}

/* ---- who it is ----------------------------------------------------------------------------------------- */

/* The lock's descriptor stays open until the process ends. */
static int take_id(uid_t *id)
{
	struct err err;
	int fd = jail_id_take(id, &err);
	if (fd < 0)
		log_warning("isolation: no user of its own for the VM process: %s", err.text);
	return fd;
}

static void become(struct jail *jail, uid_t id)
{
	jail->has[JAIL_USER] = !setgroups(0, NULL) && !setresgid(id, id, id) && !setresuid(id, id, id);
	if (!jail->has[JAIL_USER])
		denied(JAIL_USER);
}

static int drop_capabilities(struct err *err)
{
	struct __user_cap_header_struct header = {.version = _LINUX_CAPABILITY_VERSION_3};
	struct __user_cap_data_struct none[_LINUX_CAPABILITY_U32S_3] = {{0}};
	if (prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0) || syscall(SYS_capset, &header, none) ||
	    prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0))
		return err_sys(err, "cannot drop the VM process's privileges");
	return 0;
}

/* What no program that it could ever start would get back.  Denied where it has no such right to give up. */
static void drop_bounding_set(void)
{
	for (unsigned long cap = 0; prctl(PR_CAPBSET_DROP, cap, 0, 0, 0) == 0; cap++)
		;
}

/* The starter's: it may hold keys and passwords. */
static void forget_environment(void)
{
	for (char **variable = environ; variable && *variable; variable++)
		explicit_bzero(*variable, strlen(*variable));
	clearenv();
}

/* Namespaces are a thread's: another one would stay outside. */
static int check_alone(struct err *err)
{
	struct stat tasks;
	if (stat("/proc/self/task", &tasks))
		return err_sys(err, "cannot look at /proc/self/task");
	if (tasks.st_nlink > 3)
		return err_set(err, ERR_STATE, "%lu threads were made before the VM process was isolated",
			       (unsigned long)tasks.st_nlink - 3);
	return 0;
}

int jail_enter(struct jail *jail, struct err *err)
{
	bool root = geteuid() == 0;
	uid_t id = 0;
	if (check_alone(err))
		return -1;
	int id_lock = root ? take_id(&id) : -1;
	*jail = (struct jail){.entered = true};
	enter_namespaces(jail);
	forget_environment();
	drop_bounding_set();
	if (id_lock >= 0)
		become(jail, id);
	return drop_capabilities(err) || jail_filter(err) ? -1 : 0;
}
