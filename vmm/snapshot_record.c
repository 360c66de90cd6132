/* snapshot_record.c: see snapshot_record.h. */
#include "vmm/snapshot_record.h"
#include "common/jobj.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { FORMAT = 1, PATH_MAX_LEN = 4095, CLONES_MAX = 10000 };

static void *grow(void *list, size_t count, size_t size)
{
	list = reallocarray(list, count + 1, size);
	if (!list)
		abort(); /* small, as in common/buf.h */
	return list;
}

static char *copy(const char *text)
{
	char *made = strdup(text);
	if (!made)
		abort();
	return made;
}

/* ---- disks -------------------------------------------------------------------------------------------------------- */

json_t *snapshot_disks_to_json(char *const *disks, size_t count)
{
	json_t *list = json_array();
	for (size_t i = 0; i < count; i++)
		json_array_append_new(list, json_string(disks[i]));
	return list;
}

int snapshot_disks_from_json(const json_t *list, char ***disks, size_t *count, struct err *err)
{
	const json_t *item;
	size_t i;
	*disks = NULL;
	*count = 0;
	if (!json_is_array(list) || json_array_size(list) > CONFIG_MAX_DEVICES)
		return err_set(err, ERR_INPUT, "\"disks\" is not a list of at most %d paths",
			       CONFIG_MAX_DEVICES);
	json_array_foreach(list, i, item)
	{
		const char *path = json_string_value(item);
		if (!path || path[0] != '/' || strlen(path) > PATH_MAX_LEN) {
			snapshot_disks_free(*disks, *count);
			*disks = NULL;
			*count = 0;
			return err_set(err, ERR_INPUT,
				       "\"disks\" has something else in it than absolute paths");
		}
		*disks = grow(*disks, *count, sizeof(**disks));
		(*disks)[(*count)++] = copy(path);
	}
	return 0;
}

void snapshot_disks_free(char **disks, size_t count)
{
	for (size_t i = 0; i < count; i++)
		free(disks[i]);
	free(disks);
}

void snapshot_record_add_disk(struct snapshot_record *record, const char *path)
{
	record->disks = grow(record->disks, record->ndisks, sizeof(*record->disks));
	record->disks[record->ndisks++] = copy(path);
}

void snapshot_record_add_clone(struct snapshot_record *record, const char *vm, const char *disk)
{
	record->clones = grow(record->clones, record->nclones, sizeof(*record->clones));
	struct snapshot_clone *clone = &record->clones[record->nclones++];
	snprintf(clone->vm, sizeof(clone->vm), "%s", vm);
	clone->disk = copy(disk);
}

void snapshot_record_free(struct snapshot_record *record)
{
	for (size_t i = 0; i < record->nclones; i++)
		free(record->clones[i].disk);
	free(record->clones);
	snapshot_disks_free(record->disks, record->ndisks);
	config_free(&record->config);
	json_decref(record->cpu);
	*record = (struct snapshot_record){0};
}

/* ---- the whole ------------------------------------------------------------------------------------------------------ */

static json_t *point_to_json(const struct snapshot_point *point)
{
	return json_pack("{s:s, s:s, s:s, s:I, s:I}", "job", point->job, "from", point->from, "consistency",
			 point->quiet ? "application" : "crash", "arrived_ns", (json_int_t)point->arrived_ns,
			 "verified_ns", (json_int_t)point->verified_ns);
}

char *snapshot_record_encode(const struct snapshot_record *record)
{
	json_t *clones = json_array();
	for (size_t i = 0; i < record->nclones; i++)
		json_array_append_new(clones, json_pack("{s:s, s:s}", "vm", record->clones[i].vm, "disk",
							record->clones[i].disk));
	json_t *json =
	    json_pack("{s:i, s:I, s:I, s:I, s:s, s:s, s:s, s:o, s:o, s:o}", "format", FORMAT, "term",
		      (json_int_t)record->id.term, "epoch", (json_int_t)record->id.number, "time_ns",
		      (json_int_t)record->time_ns, "kind", record->ram ? "ram" : "disks", "note",
		      record->note, "made_by", record->made_by, "config", config_to_json(&record->config),
		      "disks", snapshot_disks_to_json(record->disks, record->ndisks), "clones", clones);
	if (record->ram)
		json_object_update_new(json,
				       json_pack("{s:b, s:O, s:I, s:o}", "paused", record->paused, "cpu",
						 record->cpu, "state_bytes", (json_int_t)record->state_bytes,
						 "state_checksum", jobj_make_hex64(record->state_checksum)));
	if (record->point.is)
		json_object_set_new(json, "point", point_to_json(&record->point));
	char *text = json_dumps(json, JSON_INDENT(1));
	json_decref(json);
	if (!text)
		abort();
	return text;
}

static int take_ram(const json_t *json, struct snapshot_record *record, struct err *err)
{
	json_t *cpu;
	if (jobj_bool(json, "paused", true, &record->paused, err) ||
	    jobj_object(json, "cpu", true, &cpu, err) ||
	    jobj_u64(json, "state_bytes", true, 1, SNAPSHOT_STATE_MAX, &record->state_bytes, err) ||
	    jobj_hex64(json, "state_checksum", true, &record->state_checksum, err))
		return -1;
	record->cpu = json_incref(cpu);
	return 0;
}

static int take_clones(const json_t *json, struct snapshot_record *record, struct err *err)
{
	json_t *list, *item;
	size_t i;
	if (jobj_array(json, "clones", true, &list, err))
		return -1;
	if (json_array_size(list) > CLONES_MAX)
		return err_set(err, ERR_INPUT, "\"clones\" has more than %d entries", CLONES_MAX);
	json_array_foreach(list, i, item)
	{
		const char *vm, *disk;
		if (jobj_string(item, "vm", true, CONFIG_NAME_MAX, &vm, err) ||
		    jobj_string(item, "disk", true, PATH_MAX_LEN, &disk, err))
			return -1;
		snapshot_record_add_clone(record, vm, disk);
	}
	return 0;
}

static int take_point(const json_t *json, struct snapshot_point *point, struct err *err)
{
	json_t *object = NULL;
	const char *consistency;
	if (jobj_object(json, "point", false, &object, err))
		return -1;
	if (!object)
		return 0;
	if (jobj_copy(object, "job", point->job, sizeof(point->job), err) ||
	    jobj_copy(object, "from", point->from, sizeof(point->from), err) ||
	    jobj_string(object, "consistency", true, 16, &consistency, err) ||
	    jobj_u64(object, "arrived_ns", true, 0, INT64_MAX, &point->arrived_ns, err) ||
	    jobj_u64(object, "verified_ns", true, 0, INT64_MAX, &point->verified_ns, err))
		return -1;
	point->is = true;
	point->quiet = !strcmp(consistency, "application");
	return 0;
}

static int take(const json_t *json, struct snapshot_record *record, struct err *err)
{
	uint64_t format;
	const char *kind;
	json_t *config;
	if (jobj_u64(json, "format", true, 1, INT32_MAX, &format, err))
		return -1;
	if (format != FORMAT)
		return err_set(err, ERR_INPUT,
			       "its format is %llu, and this version of drover knows %d: use a newer one",
			       (unsigned long long)format, FORMAT);
	if (jobj_u64(json, "term", true, 1, INT64_MAX, &record->id.term, err) ||
	    jobj_u64(json, "epoch", true, 1, INT64_MAX, &record->id.number, err) ||
	    jobj_u64(json, "time_ns", true, 0, INT64_MAX, &record->time_ns, err) ||
	    jobj_string(json, "kind", true, 16, &kind, err) ||
	    jobj_copy(json, "note", record->note, sizeof(record->note), err) ||
	    jobj_copy(json, "made_by", record->made_by, sizeof(record->made_by), err) ||
	    jobj_object(json, "config", true, &config, err) ||
	    config_from_json(config, &record->config, err) ||
	    snapshot_disks_from_json(json_object_get(json, "disks"), &record->disks, &record->ndisks, err) ||
	    take_clones(json, record, err) || take_point(json, &record->point, err))
		return -1;
	record->ram = !strcmp(kind, "ram");
	if (!record->ram && strcmp(kind, "disks"))
		return err_set(err, ERR_INPUT, "\"kind\" is \"%s\", not \"ram\" or \"disks\"", kind);
	return record->ram ? take_ram(json, record, err) : 0;
}

int snapshot_record_decode(const char *text, size_t len, struct snapshot_record *record, struct err *err)
{
	*record = (struct snapshot_record){0};
	json_t *json = jobj_parse(text, len, err);
	int failed = !json || take(json, record, err);
	json_decref(json);
	if (failed)
		snapshot_record_free(record);
	return failed ? -1 : 0;
}
