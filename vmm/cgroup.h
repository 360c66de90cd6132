/* cgroup.h: the control groups of a VM process: one a hierarchy, made by whoever starts the process, which so needs no rights.
 *
 * Where: below $DROVER_CGROUP, where it is set (a path within the hierarchies, as in /drover), else below the group of the
 * calling process.  Where systemd runs the host, that group must have been delegated to the caller (Delegate=yes), since
 * all others are systemd's.  Controllers of version 2, or of version 1 where they are mounted so.
 *
 * Which groups there are is in a file, <run>/vms/NAME.groups, so that somebody else can remove them when the process is gone,
 * however it ended.  The file is locked while groups are made and entered. */
#ifndef VMM_CGROUP_H
#define VMM_CGROUP_H

#include "common/err.h"
#include "vmm/config.h"
#include <jansson.h>
#include <stdbool.h>
#include <sys/types.h>

enum { CGROUP_MAX = 3, CGROUP_PATH = 4096 }; /* groups of a VM: a controller each at most */

struct cgroup {
	int list;              /* the file of groups, locked; -1: nothing is to be limited */
	int procs[CGROUP_MAX]; /* cgroup.procs of each group that was made */
	char dir[CGROUP_MAX][CGROUP_PATH];
	unsigned controllers[CGROUP_MAX]; /* bit n: controller n is limited there */
	unsigned count;
	bool required;
	char name[CONFIG_NAME_MAX + 1]; /* of the VM */
	json_t *
	    report; /* {"memory": "applied (cgroup v2)" or "not applied: …", "cpu", "io"}; those that were asked for */
};

/* cgroup_make(config, group, err): the groups of a VM that is about to be started, with its limits.  A limit that cannot be
 * had is in the report; where limits are required -1 with ERR_SYSTEM.  Nothing is made for a VM without limits.
 * cgroup_enter(group, pid, err): the process goes there; returns and reports likewise.
 * cgroup_close: after either, also after a failure; groups that hold no process by then are removed. */
int cgroup_make(const struct vm_config *config, struct cgroup *group, struct err *err);
int cgroup_enter(struct cgroup *group, pid_t pid, struct err *err);
void cgroup_close(struct cgroup *group);
/* cgroup_remove(name): the groups of a VM whose process has ended.  Those that still hold a process stay, to be removed by the
 * next call; harmless when there are none, or when somebody is starting the VM. */
void cgroup_remove(const char *name);

/* For cgroup.c: cgroup_find.c. */

/* Where a controller's groups of ours are. */
struct cgroup_place {
	int version;            /* 1, 2; 0: nowhere, `why` says why */
	char base[CGROUP_PATH]; /* folder below which a group can be made */
	bool own;               /* it is the calling process's group */
	char why[256];
};
/* cgroup_find(controller, place): "memory", "cpu" or "io".  cgroup_has_word(file, word): the file of words has it. */
void cgroup_find(const char *controller, struct cgroup_place *place);
bool cgroup_has_word(const char *folder, const char *file, const char *word);

/* For cgroup.c: cgroup_values.c: what is written into which file. */
struct cgroup_value {
	char file[40];
	char text[120];
};
enum { CGROUP_VALUES = 4, CGROUP_DEVICES = 32 };
struct cgroup_device {
	unsigned major, minor;
};
/* cgroup_values(controller, version, limits, device, values): the values of one controller; those of "io" for one device.
 * Returns how many. */
unsigned cgroup_values(const char *controller, int version, const struct vm_limits *limits,
		       const struct cgroup_device *device, struct cgroup_value values[CGROUP_VALUES]);
/* cgroup_devices(config, devices, why): the host's whole disks under the VM's.  How many; 0 with the reason. */
unsigned cgroup_devices(const struct vm_config *config, struct cgroup_device devices[CGROUP_DEVICES],
			char why[256]);

#endif
