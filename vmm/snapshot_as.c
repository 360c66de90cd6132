/* snapshot_as.c: a new VM of a snapshot: its disks are clones of the epoch, in the new VM's folder. */
#include "common/io.h"
#include "vmm/definition_store.h"
#include "vmm/definition_text.h"
#include "vmm/own_disks.h"
#include "vmm/snapshot_disks.h"
#include "vmm/snapshot_restore.h"
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static bool in_snapshot(const struct snapshot_record *record, const struct device_config *device)
{
	for (size_t i = 0; i < record->ndisks; i++)
		if (device->kind == DEVICE_DISK && !strcmp(record->disks[i], device->disk.path))
			return true;
	return false;
}

static int make_clone(const char *base, struct dvol_id id, const char *path, struct err *err)
{
	const struct dvol_open_options options = {.epoch = id};
	struct dvol_create_options create = {
	    .backing_kind = DVOL_BACKING_DVOL, .backing_path = base, .backing_epoch = id};
	struct dvol *vol = dvol_open(base, &options, err);
	if (!vol)
		return -1;
	create.size_bytes = dvol_size(vol);
	dvol_close(vol, NULL);
	return dvol_create(path, &create, err);
}

void snapshot_restore_undo(const struct vm_config *config)
{
	char path[PATHS_MAX];
	(void)definition_remove(config->name, NULL);
	for (unsigned i = 0; i < config->ndevices; i++)
		if (!own_disks_path(config->name, config->devices[i].slot, path, NULL))
			(void)unlink(path);
	if (!paths_vm_file(config->name, "disks", path, NULL))
		(void)rmdir(path);
	if (!paths_vm_dir(config->name, path, NULL))
		(void)rmdir(path);
}

/* note_clones: before there is one, so that the snapshot is held from its first moment on. */
static int note_clones(const struct snapshot_store *store, struct snapshot_record *record,
		       const struct vm_config *config, struct err *err)
{
	char path[PATHS_MAX];
	for (unsigned i = 0; i < config->ndevices; i++) {
		if (!in_snapshot(record, &config->devices[i]))
			continue;
		if (own_disks_path(config->name, config->devices[i].slot, path, err))
			return -1;
		snapshot_record_add_clone(record, config->name, path);
	}
	return snapshot_store_save(store, record, err);
}

static int make_clones(const struct snapshot_record *record, struct vm_config *config, struct err *err)
{
	char path[PATHS_MAX];
	if (paths_vm_file(config->name, "disks", path, err))
		return -1;
	if (io_mkdirs(path, 0700))
		return err_sys(err, "cannot make the folder %s", path);
	for (unsigned i = 0; i < config->ndevices; i++) {
		struct device_config *device = &config->devices[i];
		if (!in_snapshot(record, device))
			continue;
		if (own_disks_path(config->name, device->slot, path, err) ||
		    make_clone(device->disk.path, record->id, path, err))
			return -1;
		free(device->disk.path);
		device->disk.path = strdup(path);
		if (!device->disk.path)
			abort(); /* as in common/buf.h */
	}
	return 0;
}

static int save_definition(const struct vm_config *config, struct err *err)
{
	struct buf text = {0};
	definition_text(config, &text);
	const struct definition definition = {.yaml = (char *)text.data, .config = *config};
	int status = definition_save(&definition, err);
	buf_free(&text);
	return status;
}

int snapshot_restore_as(const struct snapshot_store *store, struct snapshot_record *record,
			struct vm_config *config, struct err *err)
{
	config_new_uuid(config->uuid);
	if (record->ndisks > 0 && note_clones(store, record, config, err))
		return -1;
	if ((record->ndisks == 0 || !make_clones(record, config, err)) && !save_definition(config, err))
		return 0;
	snapshot_restore_undo(config);
	return -1;
}
