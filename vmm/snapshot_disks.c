/* snapshot_disks.c: see snapshot_disks.h. */
#include "vmm/snapshot_disks.h"
#include <stdio.h>
#include <stdlib.h>

static bool same(struct dvol_id a, struct dvol_id b)
{
	return a.term == b.term && a.number == b.number;
}

int snapshot_disk_has(struct dvol *vol, struct dvol_id id, bool *has, struct err *err)
{
	struct dvol_epoch *list;
	size_t count;
	*has = false;
	if (dvol_epochs(vol, &list, &count, err))
		return -1;
	for (size_t i = 0; i < count; i++)
		*has = *has || same(list[i].id, id);
	free(list);
	return 0;
}

static void pin_name(const char *vm, char name[DVOL_NAME_MAX + 1])
{
	snprintf(name, DVOL_NAME_MAX + 1, SNAPSHOT_PIN "%s", vm);
}

int snapshot_disk_close(struct dvol *vol, struct dvol_id id, const char *vm, const struct dvol_cut *cut,
			struct err *err)
{
	char name[DVOL_NAME_MAX + 1];
	pin_name(vm, name);
	if (dvol_epoch_close_cut(vol, &id, cut, NULL, err))
		return -1;
	return dvol_pin(vol, id, name, err);
}

int snapshot_disk_delete(struct dvol *vol, struct dvol_id id, const char *vm, struct err *err)
{
	char name[DVOL_NAME_MAX + 1];
	bool has;
	pin_name(vm, name);
	if (snapshot_disk_has(vol, id, &has, err))
		return -1;
	if (!has)
		return 0;
	bool ours = !dvol_unpin(vol, id, name, NULL);
	if (!dvol_epoch_delete(vol, id, err))
		return 0;
	if (ours)
		(void)dvol_pin(vol, id, name, NULL);
	return -1;
}

void snapshot_volumes_of(const struct vm_config *config, struct snapshot_volumes *volumes)
{
	*volumes = (struct snapshot_volumes){.count = 0};
	for (unsigned i = 0; i < config->ndevices; i++) {
		if (config_moves_disk(&config->devices[i]))
			volumes->path[volumes->count++] = config->devices[i].disk.path;
	}
}

int snapshot_volumes_open(struct snapshot_volumes *volumes, struct err *err)
{
	const struct dvol_open_options options = {.writable = true};
	for (size_t i = 0; i < volumes->count; i++) {
		volumes->vol[i] = dvol_open(volumes->path[i], &options, err);
		if (!volumes->vol[i])
			return snapshot_volumes_close(volumes, -1, NULL);
	}
	return 0;
}

int snapshot_volumes_close(struct snapshot_volumes *volumes, int result, struct err *err)
{
	for (size_t i = 0; i < volumes->count; i++) {
		if (dvol_close(volumes->vol[i], result ? NULL : err))
			result = -1;
		volumes->vol[i] = NULL;
	}
	return result;
}
