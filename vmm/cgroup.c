/* cgroup.c: making, entering and removing control groups; see cgroup.h. */
#include "vmm/cgroup.h"
#include "common/io.h"
#include "common/paths.h"
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

enum { CONTROLLERS = 3, LIST_MAX = 64 << 10, TRIES = 16 };
static const char *const controllers[CONTROLLERS] = {"memory", "cpu", "io"};

/* ---- the list of groups ------------------------------------------------------------------------------------------- */

static bool still_there(int fd, const char *path)
{
	struct stat mine, there;
	return !fstat(fd, &mine) && !stat(path, &there) && mine.st_ino == there.st_ino &&
	       mine.st_dev == there.st_dev;
}

/* open_list: locked; -1 with errno.  Somebody may have removed the file between its opening and its locking. */
static int open_list(const char *path, int flags, int lock)
{
	for (;;) {
		int fd = open(path, O_RDWR | O_CLOEXEC | O_NOFOLLOW | O_APPEND | flags, 0600);
		if (fd < 0)
			return -1;
		int failed;
		do
			failed = flock(fd, lock);
		while (failed && errno == EINTR);
		if (!failed && still_there(fd, path))
			return fd;
		io_close(&fd);
		if (failed)
			return -1;
	}
}

static void add_to_list(int list, const char *dir)
{
	(void)!write(list, dir, strlen(dir));
	(void)!write(list, "\n", 1);
}

/* sweep: remove the groups of the list that hold no process any more; the others stay in it.  Returns how many stay. */
static unsigned sweep(int list)
{
	char *text = calloc(1, LIST_MAX), *rest;
	unsigned kept = 0;
	if (!text)
		abort();
	ssize_t len = pread(list, text, LIST_MAX - 1, 0);
	(void)!ftruncate(list, 0);
	for (char *dir = len > 0 ? strtok_r(text, "\n", &rest) : NULL; dir;
	     dir = strtok_r(NULL, "\n", &rest)) {
		if (!rmdir(dir) || errno == ENOENT)
			continue;
		add_to_list(list, dir);
		kept++;
	}
	free(text);
	return kept;
}

static void close_list(int *list, const char *name)
{
	char path[PATHS_MAX];
	if (*list >= 0 && !sweep(*list) && !paths_vm_groups(name, path, NULL))
		unlink(path);
	io_close(list);
}

void cgroup_remove(const char *name)
{
	char path[PATHS_MAX];
	if (paths_vm_groups(name, path, NULL))
		return;
	int list = open_list(path, 0, LOCK_EX | LOCK_NB);
	close_list(&list, name);
}

/* ---- what comes of each limit ------------------------------------------------------------------------------------- */

static void report(struct cgroup *group, unsigned controller, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

static void report(struct cgroup *group, unsigned controller, const char *format, ...)
{
	char text[400];
	va_list args;
	va_start(args, format);
	vsnprintf(text, sizeof(text), format, args);
	va_end(args);
	json_object_set_new(group->report, controllers[controller], json_string(text));
}

static bool wanted(const struct vm_limits *limits, unsigned controller)
{
	return controller == 0   ? limits->memory_bytes != 0
	       : controller == 1 ? limits->cpu_percent != 0
				 : limits_any_io(limits);
}

/* conclude: 0, or, where limits are required and one was not had, what became of it. */
static int conclude(const struct cgroup *group, struct err *err)
{
	const char *name;
	json_t *what;
	json_object_foreach(group->report, name, what)
	{
		if (group->required && strncmp(json_string_value(what), "applied", 7))
			return err_set(err, ERR_SYSTEM, "its %s limit, which is required, was %s", name,
				       json_string_value(what));
	}
	return 0;
}

/* ---- making them -------------------------------------------------------------------------------------------------- */

static int put(const char *dir, const char *file, const char *text)
{
	char path[CGROUP_PATH + 64];
	snprintf(path, sizeof(path), "%s/%s", dir, file);
	int fd = open(path, O_WRONLY | O_CLOEXEC);
	int failed = fd < 0 || write(fd, text, strlen(text)) < 0;
	io_close(&fd);
	return failed ? -1 : 0;
}

/* Groups of version 2 hand controllers down only while they hold no process, so this one steps aside. */
static int step_aside(struct cgroup *group, const char *base)
{
	char dir[CGROUP_PATH];
	if (snprintf(dir, sizeof(dir), "%s/drover-starter", base) >= (int)sizeof(dir))
		return -1;
	if (mkdir(dir, 0755) && errno != EEXIST)
		return -1;
	add_to_list(group->list, dir);
	return put(dir, "cgroup.procs", "0");
}

static bool hand_down(struct cgroup *group, const struct cgroup_place *place, unsigned controller)
{
	char word[16];
	if (cgroup_has_word(place->base, "cgroup.subtree_control", controllers[controller]))
		return true;
	snprintf(word, sizeof(word), "+%s", controllers[controller]);
	if (put(place->base, "cgroup.subtree_control", word) &&
	    (errno != EBUSY || !place->own || step_aside(group, place->base) ||
	     put(place->base, "cgroup.subtree_control", word))) {
		report(group, controller,
		       "not applied: the control group %.150s does not hand its %s controller down: %s%s",
		       place->base, controllers[controller], strerror(errno),
		       errno == EBUSY ? " with other processes in it" : "");
		return false;
	}
	return true;
}

/* A group of the VM's name; one of an earlier process that is still ending may be there. */
static bool make_group(struct cgroup *group, const char *base, const char *name, char dir[CGROUP_PATH])
{
	if (io_mkdirs(base, 0755))
		return false;
	for (unsigned i = 0; i < TRIES; i++) {
		char suffix[8] = "";
		if (i)
			snprintf(suffix, sizeof(suffix), "~%u", i);
		if (snprintf(dir, CGROUP_PATH, "%s/%s%s", base, name, suffix) >= CGROUP_PATH) {
			errno = ENAMETOOLONG;
			return false;
		}
		if (!mkdir(dir, 0755)) {
			add_to_list(group->list, dir);
			return true;
		}
		if (errno != EEXIST)
			return false;
	}
	return false;
}

/* group_at: the VM's group there, made for the first controller that wants one; -1 where it cannot be had. */
static int group_at(struct cgroup *group, const struct cgroup_place *place, const char *name,
		    unsigned controller)
{
	size_t base = strlen(place->base);
	char path[CGROUP_PATH + 16];
	unsigned n = group->count;
	for (unsigned i = 0; i < group->count; i++)
		if (!strncmp(group->dir[i], place->base, base) && !strchr(group->dir[i] + base + 1, '/'))
			return (int)i;
	if (make_group(group, place->base, name, group->dir[n])) {
		snprintf(path, sizeof(path), "%s/cgroup.procs", group->dir[n]);
		group->procs[n] = open(path, O_WRONLY | O_CLOEXEC);
		if (group->procs[n] >= 0) {
			group->count++;
			return (int)n;
		}
	}
	report(group, controller, "not applied: cannot make a control group in %.150s: %s", place->base,
	       strerror(errno));
	return -1;
}

static bool write_values(struct cgroup *group, const char *dir, const struct cgroup_place *place,
			 unsigned controller, const struct vm_limits *limits,
			 const struct cgroup_device *device)
{
	struct cgroup_value values[CGROUP_VALUES];
	unsigned count = cgroup_values(controllers[controller], place->version, limits, device, values);
	for (unsigned i = 0; i < count; i++) {
		if (!put(dir, values[i].file, values[i].text))
			continue;
		report(group, controller, "not applied: cannot write '%s' to %.200s/%s: %s", values[i].text,
		       dir, values[i].file, strerror(errno));
		return false;
	}
	return true;
}

static void apply(struct cgroup *group, const struct vm_config *config, const struct cgroup_place *place,
		  unsigned controller)
{
	struct cgroup_device devices[CGROUP_DEVICES] = {{0, 0}};
	unsigned ndevices = 1;
	char why[256] = "";
	if (!strcmp(controllers[controller], "io"))
		ndevices = cgroup_devices(config, devices, why);
	if (!place->version || !ndevices) {
		report(group, controller, "not applied: %s", place->version ? why : place->why);
		return;
	}
	/* A named group may not be there yet. */
	if (place->version == 2 && io_mkdirs(place->base, 0755)) {
		report(group, controller, "not applied: cannot make the control group %.150s: %s",
		       place->base, strerror(errno));
		return;
	}
	if (place->version == 2 && !hand_down(group, place, controller))
		return;
	int n = group_at(group, place, config->name, controller);
	if (n < 0)
		return;
	for (unsigned i = 0; i < ndevices; i++)
		if (!write_values(group, group->dir[n], place, controller, &config->limits, &devices[i]))
			return;
	group->controllers[n] |= 1u << controller;
	report(group, controller, "applied (cgroup v%d)", place->version);
}

int cgroup_make(const struct vm_config *config, struct cgroup *group, struct err *err)
{
	struct cgroup_place places[CONTROLLERS];
	char path[PATHS_MAX], folder[PATHS_MAX];
	*group = (struct cgroup){.list = -1, .required = config->limits.required};
	strcpy(group->name, config->name);
	if (!limits_any(&config->limits))
		return 0;
	if (paths_vm_groups(config->name, path, err))
		return -1;
	strcpy(folder, path);
	*strrchr(folder, '/') = '\0';
	if (io_mkdirs(folder, 0700))
		return err_sys(err, "cannot make the folder %s", folder);
	group->list = open_list(path, O_CREAT, LOCK_EX);
	if (group->list < 0)
		return err_sys(err, "cannot open %s", path);
	(void)sweep(group->list);
	group->report = json_object();
	/* All are looked for before the first is made, which may take this process to another group. */
	for (unsigned i = 0; i < CONTROLLERS; i++)
		if (wanted(&config->limits, i))
			cgroup_find(controllers[i], &places[i]);
	for (unsigned i = 0; i < CONTROLLERS; i++)
		if (wanted(&config->limits, i))
			apply(group, config, &places[i], i);
	return conclude(group, err);
}

int cgroup_enter(struct cgroup *group, pid_t pid, struct err *err)
{
	char text[16];
	snprintf(text, sizeof(text), "%d", (int)pid);
	for (unsigned n = 0; n < group->count; n++) {
		if (!group->controllers[n] || write(group->procs[n], text, strlen(text)) >= 0)
			continue;
		const char *why = strerror(errno);
		for (unsigned i = 0; i < CONTROLLERS; i++)
			if (group->controllers[n] & 1u << i)
				report(group, i,
				       "not applied: the VM process cannot go to the control group %.150s: "
				       "%s",
				       group->dir[n], why);
	}
	return conclude(group, err);
}

void cgroup_close(struct cgroup *group)
{
	for (unsigned n = 0; n < group->count; n++)
		io_close(&group->procs[n]);
	group->count = 0;
	close_list(&group->list, group->name);
	json_decref(group->report);
	group->report = NULL;
}
