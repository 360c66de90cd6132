/* disk_record.c: see disk_record.h. */
#include "vmm/disk_record.h"
#include "common/io.h"
#include "common/jobj.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { FILE_MAX = 256 << 10 };
static const char file_name[] = "disks.json";

static json_t *record_of(const struct vm_config *config)
{
	json_t *disks = json_array();
	for (unsigned i = 0; i < config->ndevices; i++) {
		const struct device_config *device = &config->devices[i];
		if (device->kind == DEVICE_DISK)
			json_array_append_new(disks, json_pack("{s:i, s:s, s:b}", "slot", (int)device->slot,
							       "path", device->disk.path, "read_only",
							       !config_moves_disk(device)));
	}
	return json_pack("{s:s, s:o}", "uuid", config->uuid, "disks", disks);
}

int disk_record_save(const struct vm_config *config, struct err *err)
{
	char path[PATHS_MAX];
	void *old = NULL;
	size_t len;
	json_t *record = record_of(config);
	char *text = json_dumps(record, JSON_INDENT(1));
	int status = 0;
	if (json_array_size(json_object_get(record, "disks")) == 0)
		goto out;
	if (!text)
		status = err_set(err, ERR_INPUT, "the path of a disk of VM '%s' is not UTF-8", config->name);
	else if (paths_vm_file(config->name, file_name, path, err))
		status = -1;
	else if ((io_read_file(path, FILE_MAX, &old, &len) || len != strlen(text) ||
		  memcmp(old, text, len)) &&
		 io_replace_file(path, text, strlen(text)))
		status = err_sys(err, "cannot write %s", path);
out:
	free(old);
	free(text);
	json_decref(record);
	return status;
}

/* The record of this very VM, a new reference; NULL: there is none. */
static json_t *load(const char *name, const char *uuid)
{
	char file[PATHS_MAX];
	const char *of;
	void *text;
	size_t len;
	if (paths_vm_file(name, file_name, file, NULL) || io_read_file(file, FILE_MAX, &text, &len))
		return NULL;
	json_t *record = jobj_parse(text, len, NULL);
	free(text);
	if (record && !jobj_string(record, "uuid", true, CONFIG_UUID_LEN, &of, NULL) && !strcmp(of, uuid))
		return record;
	json_decref(record);
	return NULL;
}

/* find: the path of a disk of that kind, in that slot, or, with `is`, of that very path; NULL: there is none. */
static const char *find(const json_t *record, bool read_only, unsigned slot, const char *is)
{
	const char *at;
	json_t *disks, *disk;
	size_t i;
	if (!record || jobj_array(record, "disks", true, &disks, NULL))
		return NULL;
	json_array_foreach(disks, i, disk)
	{
		uint64_t number;
		bool only = false;
		if (!jobj_bool(disk, "read_only", false, &only, NULL) && only == read_only &&
		    !jobj_u64(disk, "slot", true, 0, CONFIG_LAST_SLOT, &number, NULL) &&
		    (is || number == slot) && !jobj_string(disk, "path", true, PATHS_MAX - 1, &at, NULL) &&
		    at[0] == '/' && (!is || !strcmp(is, at)))
			return at;
	}
	return NULL;
}

bool disk_record_find(const char *name, const char *uuid, unsigned slot, char path[PATHS_MAX])
{
	json_t *record = load(name, uuid);
	const char *found = find(record, false, slot, NULL);
	if (found)
		strcpy(path, found);
	json_decref(record);
	return found != NULL;
}

bool disk_record_reads(const char *name, const char *uuid, const char *path)
{
	json_t *record = load(name, uuid);
	bool found = find(record, true, 0, path) != NULL;
	json_decref(record);
	return found;
}
