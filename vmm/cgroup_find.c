/* cgroup_find.c: where this process may make control groups. */
#include "vmm/cgroup.h"
#include <linux/magic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/vfs.h>
#include <sys/xattr.h>
#include <unistd.h>

/* A hierarchy as it is mounted, and this process's group in it. */
struct hierarchy {
	int version; /* 0: there is none */
	char root[CGROUP_PATH], mount[CGROUP_PATH], own[CGROUP_PATH];
};

/* has_item(list, item, separators): of a list in which nothing is quoted. */
static bool has_item(const char *list, const char *item, const char *separators)
{
	size_t size = strlen(item);
	while (*list) {
		size_t len = strcspn(list, separators);
		if (len == size && !strncmp(list, item, len))
			return true;
		list += len + (list[len] != '\0');
	}
	return false;
}

bool cgroup_has_word(const char *folder, const char *file, const char *word)
{
	char path[CGROUP_PATH + 32], words[512] = "";
	snprintf(path, sizeof(path), "%s/%s", folder, file);
	FILE *in = fopen(path, "re");
	bool has = in && fgets(words, sizeof(words), in) && has_item(words, word, " \n");
	if (in)
		fclose(in);
	return has;
}

/* find_mount: of version 1 with that controller (then it is the one that governs), else of version 2. */
static void find_mount(const char *controller, struct hierarchy *hierarchy)
{
	FILE *in = fopen("/proc/self/mountinfo", "re");
	char *line = NULL;
	size_t room = 0;
	while (in && getline(&line, &room, in) > 0) {
		char root[CGROUP_PATH], mount[CGROUP_PATH], type[32], options[512];
		const char *rest = strstr(line, " - ");
		if (!rest || sscanf(line, "%*s %*s %*s %4095s %4095s", root, mount) != 2 ||
		    sscanf(rest + 3, "%31s %*s %511s", type, options) != 2)
			continue;
		int version = !strcmp(type, "cgroup2")                                          ? 2
			      : !strcmp(type, "cgroup") && has_item(options, controller, ",\n") ? 1
												: 0;
		if (!version || hierarchy->version == 1)
			continue;
		hierarchy->version = version;
		strcpy(hierarchy->root, root);
		strcpy(hierarchy->mount, mount);
	}
	free(line);
	if (in)
		fclose(in);
}

/* find_own: this process's group, as a folder; false where it cannot be seen. */
static bool find_own(const char *controller, struct hierarchy *hierarchy)
{
	FILE *in = fopen("/proc/self/cgroup", "re");
	char *line = NULL, path[CGROUP_PATH] = "";
	size_t room = 0;
	while (in && getline(&line, &room, in) > 0) {
		char *names = strchr(line, ':'), *at = names ? strchr(names + 1, ':') : NULL;
		if (!at)
			continue;
		*at++ = '\0';
		at[strcspn(at, "\n")] = '\0';
		if (hierarchy->version == 2 ? !strcmp(line, "0:") : has_item(names + 1, controller, ","))
			snprintf(path, sizeof(path), "%s", at);
	}
	free(line);
	if (in)
		fclose(in);
	const char *below = path;
	size_t root = strlen(hierarchy->root);
	if (strcmp(hierarchy->root, "/") && !strncmp(path, hierarchy->root, root) &&
	    (path[root] == '/' || !path[root]))
		below = path + root;
	if (path[0] != '/' || strstr(path, "/.."))
		return false;
	return snprintf(hierarchy->own, sizeof(hierarchy->own), "%s%s", hierarchy->mount,
			strcmp(below, "/") ? below : "") < (int)sizeof(hierarchy->own);
}

/* systemd marks what it has given away, on the group or on one above it. */
static bool delegated(const struct hierarchy *hierarchy)
{
	static const char *const marks[] = {"trusted.delegate", "user.delegate"};
	char path[CGROUP_PATH], value;
	strcpy(path, hierarchy->own);
	while (strlen(path) > strlen(hierarchy->mount)) {
		for (size_t i = 0; i < sizeof(marks) / sizeof(marks[0]); i++)
			if (getxattr(path, marks[i], &value, 1) == 1 && value == '1')
				return true;
		*strrchr(path, '/') = '\0';
	}
	return false;
}

static bool systemd_runs(void)
{
	return !access("/run/systemd/system/", F_OK);
}

static bool find_base(const char *controller, struct hierarchy *hierarchy, struct cgroup_place *place)
{
	const char *named = getenv("DROVER_CGROUP");
	if (named && *named) {
		if (named[0] != '/' || strstr(named, "/..") ||
		    snprintf(place->base, sizeof(place->base), "%s%s", hierarchy->mount, named) >=
			(int)sizeof(place->base)) {
			snprintf(place->why, sizeof(place->why),
				 "DROVER_CGROUP=%.80s is no path within the control groups, as in /drover",
				 named);
			return false;
		}
		return true;
	}
	place->own = true;
	if (!find_own(controller, hierarchy)) {
		snprintf(place->why, sizeof(place->why),
			 "the control group of this process cannot be seen below %.100s", hierarchy->mount);
		return false;
	}
	strcpy(place->base, hierarchy->own);
	if (!systemd_runs() || (hierarchy->version == 2 && delegated(hierarchy)))
		return true;
	snprintf(place->why, sizeof(place->why),
		 "the control group of this process is systemd's; start the VM by 'systemctl start "
		 "drover-vm@NAME', or through 'systemd-run --scope -p Delegate=yes'");
	return false;
}

/* Something else may be mounted over it. */
static bool is_cgroup(const char *path)
{
	struct statfs fs;
	return !statfs(path, &fs) && (fs.f_type == CGROUP_SUPER_MAGIC || fs.f_type == CGROUP2_SUPER_MAGIC);
}

void cgroup_find(const char *controller, struct cgroup_place *place)
{
	struct hierarchy hierarchy = {.version = 0};
	const char *name = controller;
	find_mount(strcmp(controller, "io") ? controller : "blkio", &hierarchy);
	if (hierarchy.version == 1 && !strcmp(controller, "io"))
		name = "blkio";
	*place = (struct cgroup_place){.version = 0};
	if (!hierarchy.version) {
		snprintf(place->why, sizeof(place->why), "this host has no control groups mounted");
		return;
	}
	if (!is_cgroup(hierarchy.mount)) {
		snprintf(place->why, sizeof(place->why), "there are no control groups at %.100s",
			 hierarchy.mount);
		return;
	}
	if (!find_base(name, &hierarchy, place))
		return;
	/* A group that is still to be made has what the one above it hands down, which is seen once it is there. */
	if (hierarchy.version == 2 && place->own &&
	    !cgroup_has_word(place->base, "cgroup.controllers", controller)) {
		snprintf(place->why, sizeof(place->why), "the control group %.120s has no %s controller",
			 place->base, controller);
		return;
	}
	place->version = hierarchy.version;
}
