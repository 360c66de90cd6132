/* own_disks.c: see own_disks.h. */
#include "vmm/own_disks.h"
#include "imagefmt/dvol.h"
#include "vmm/move_epochs.h"
#include "vmm/snapshot_disks.h"
#include <dirent.h>
#include <errno.h>
#include <limits.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define FOLDER "disks"
#define NAME   "slot-%u.dvol"

int own_disks_path(const char *vm, unsigned slot, char path[PATHS_MAX], struct err *err)
{
	char file[64];
	snprintf(file, sizeof(file), FOLDER "/" NAME, slot);
	return paths_vm_file(vm, file, path, err);
}

static bool is_disk(const char *file)
{
	unsigned slot;
	int end = 0;
	return sscanf(file, NAME "%n", &slot, &end) == 1 && end > 0 && !file[end];
}

/* for_each: do_one, which may remove it, with each one's path; until it fails. */
static int for_each(const char *vm, int (*do_one)(const char *path, struct err *err), size_t *count,
		    struct err *err)
{
	char folder[PATHS_MAX], path[PATHS_MAX + NAME_MAX + 2];
	int status = 0;
	*count = 0;
	if (paths_vm_file(vm, FOLDER, folder, err))
		return -1;
	DIR *dir = opendir(folder);
	if (!dir)
		return errno == ENOENT ? 0 : err_sys(err, "%s", folder);
	for (struct dirent *entry; !status && (entry = readdir(dir));) {
		if (!is_disk(entry->d_name))
			continue;
		snprintf(path, sizeof(path), "%s/%s", folder, entry->d_name);
		status = do_one(path, err);
		*count += !status;
	}
	closedir(dir);
	return status;
}

static bool begins(const char *name, const char *prefix)
{
	return !strncmp(name, prefix, strlen(prefix));
}

/* Pins are clones', but for drover's own. */
static int check_pins(struct dvol *vol, const char *path, struct err *err)
{
	struct dvol_pinned *list;
	size_t count;
	int status = 0;
	if (dvol_pins(vol, &list, &count, err))
		return -1;
	for (size_t i = 0; i < count && !status; i++)
		if (!begins(list[i].name, SNAPSHOT_PIN) && !begins(list[i].name, MOVE_EPOCHS_PIN))
			status = err_set(err, ERR_STATE,
					 "%.200s is needed: its epoch %llu.%llu is pinned by \"%.200s\"; "
					 "once nobody needs "
					 "it, 'drover image delete FILE %llu.%llu --forget-clones'",
					 path, (unsigned long long)list[i].id.term,
					 (unsigned long long)list[i].id.number, list[i].name,
					 (unsigned long long)list[i].id.term,
					 (unsigned long long)list[i].id.number);
	free(list);
	return status;
}

/* One that is damaged is nobody's base, and may go. */
static int check(const char *path, struct err *err)
{
	const struct dvol_open_options options = {.writable = true};
	struct err why = {0};
	struct dvol *vol = dvol_open(path, &options, &why);
	if (!vol)
		return why.kind == ERR_STATE ? err_set(err, ERR_STATE, "%s", why.text) : 0;
	int status = check_pins(vol, path, err);
	dvol_close(vol, NULL);
	return status;
}

static int drop(const char *path, struct err *err)
{
	return unlink(path) ? err_sys(err, "cannot remove %s", path) : 0;
}

int own_disks_check(const char *vm, struct err *err)
{
	size_t count;
	return for_each(vm, check, &count, err);
}

int own_disks_remove(const char *vm, size_t *count, struct err *err)
{
	char folder[PATHS_MAX];
	if (for_each(vm, drop, count, err) || paths_vm_file(vm, FOLDER, folder, err))
		return -1;
	(void)rmdir(folder); /* what is not drover's stays */
	return 0;
}
