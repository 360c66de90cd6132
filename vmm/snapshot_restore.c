/* snapshot_restore.c: see snapshot_restore.h. */
#include "vmm/snapshot_restore.h"
#include "common/fault.h"
#include "common/io.h"
#include "common/jobj.h"
#include "vmm/snapshot_delete.h"
#include "vmm/snapshot_disks.h"
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { MARK_MAX = 4096 };

/* ---- the mark: which snapshot the disks are becoming ------------------------------------------------------------------ */

static int mark_path(const char *vm, char path[PATHS_MAX], struct err *err)
{
	return paths_vm_file(vm, "snapshots/restoring", path, err);
}

static int set_mark(const char *vm, struct dvol_id id, struct err *err)
{
	char path[PATHS_MAX];
	if (mark_path(vm, path, err))
		return -1;
	json_t *json = json_pack("{s:I, s:I}", "term", (json_int_t)id.term, "epoch", (json_int_t)id.number);
	char *text = json_dumps(json, 0);
	json_decref(json);
	int failed = !text || io_replace_file(path, text, strlen(text));
	free(text);
	return failed ? err_sys(err, "cannot write %s", path) : 0;
}

/* get_mark: number 0: there is none. */
static int get_mark(const char *vm, struct dvol_id *id, struct err *err)
{
	char path[PATHS_MAX];
	void *text;
	size_t len;
	*id = (struct dvol_id){0};
	if (mark_path(vm, path, err))
		return -1;
	if (io_read_file(path, MARK_MAX, &text, &len))
		return errno == ENOENT || errno == ENOTDIR ? 0 : err_sys(err, "%s", path);
	json_t *json = jobj_parse(text, len, err);
	int failed = !json || jobj_u64(json, "term", true, 1, INT64_MAX, &id->term, err) ||
		     jobj_u64(json, "epoch", true, 1, INT64_MAX, &id->number, err);
	json_decref(json);
	free(text);
	return failed ? err_context(err, "%s", path) : 0;
}

static int clear_mark(const char *vm, struct err *err)
{
	char path[PATHS_MAX];
	if (mark_path(vm, path, err))
		return -1;
	return unlink(path) && errno != ENOENT ? err_sys(err, "cannot remove %s", path) : 0;
}

bool snapshot_restore_pending(const struct snapshot_store *store, struct dvol_id id)
{
	struct dvol_id marked;
	return get_mark(store->vm, &marked, NULL) || !snapshot_id_compare(marked, id);
}

/* ---- disks ------------------------------------------------------------------------------------------------------------ */

static void volumes_of(const struct snapshot_record *record, struct snapshot_volumes *volumes)
{
	*volumes = (struct snapshot_volumes){.count = record->ndisks};
	for (size_t i = 0; i < record->ndisks; i++)
		volumes->path[i] = record->disks[i];
}

/* check_all: nothing is changed unless every disk has the epoch. */
static int check_all(const struct snapshot_record *record, const struct snapshot_volumes *volumes,
		     struct err *err)
{
	for (size_t i = 0; i < volumes->count; i++) {
		bool has;
		if (snapshot_disk_has(volumes->vol[i], record->id, &has, err))
			return -1;
		if (!has)
			return err_set(
			    err, ERR_STATE,
			    "%.300s has no epoch %llu.%llu any more: this snapshot cannot be restored",
			    volumes->path[i], (unsigned long long)record->id.term,
			    (unsigned long long)record->id.number);
	}
	return 0;
}

/* changed: whether a head holds anything that its newest epoch does not. */
static int changed(const struct snapshot_volumes *volumes, bool *any, struct err *err)
{
	*any = false;
	for (size_t i = 0; i < volumes->count; i++) {
		struct dvol_epoch *epochs;
		struct dvol_extent *list;
		size_t nepochs, count;
		if (dvol_epochs(volumes->vol[i], &epochs, &nepochs, err))
			return -1;
		/* check_all has seen that there is one. */
		int failed = dvol_changed(volumes->vol[i], epochs[nepochs - 1].id, (struct dvol_id){0}, &list,
					  &count, err);
		free(epochs);
		if (failed)
			return -1;
		*any = *any || count > 0;
		free(list);
	}
	return 0;
}

/* revert: from the mark on it is decided; every later step can be done again. */
static int revert(const char *vm, struct dvol_id id, const struct snapshot_volumes *volumes, struct err *err)
{
	if (set_mark(vm, id, err))
		return -1;
	fault_point(FAULT_RESTORE_MARKED);
	for (size_t i = 0; i < volumes->count; i++) {
		if (dvol_revert(volumes->vol[i], id, err) || dvol_flush(volumes->vol[i], err))
			return -1;
		fault_point(FAULT_RESTORE_HALF);
	}
	fault_point(FAULT_RESTORE_DONE);
	return clear_mark(vm, err);
}

static int with_volumes(const struct snapshot_store *store, const struct snapshot_record *record, bool keep,
			const struct snapshot_volumes *volumes, struct snapshot_take *take, struct err *err)
{
	bool any = false;
	if (check_all(record, volumes, err) || (keep && changed(volumes, &any, err)))
		return -1;
	if (any && snapshot_take_stopped(store, &record->config, volumes, "before restore", take, err))
		return -1;
	return revert(store->vm, record->id, volumes, err);
}

int snapshot_restore_disks(const struct snapshot_store *store, const struct snapshot_record *record,
			   bool keep, struct snapshot_take *take, struct err *err)
{
	struct snapshot_volumes volumes;
	struct dvol_id marked;
	take->id = (struct dvol_id){0};
	volumes_of(record, &volumes);
	if (volumes.count == 0)
		return 0;
	/* What is half one snapshot and half another is worth no snapshot of its own. */
	if (get_mark(store->vm, &marked, err) || snapshot_volumes_open(&volumes, err))
		return -1;
	int status = with_volumes(store, record, keep && marked.number == 0, &volumes, take, err);
	status = snapshot_volumes_close(&volumes, status, err);
	if (status)
		(void)snapshot_clean(store, NULL);
	return status;
}

static int finish(const char *vm, struct dvol_id id, struct err *err)
{
	struct snapshot_store store;
	struct snapshot_record record;
	struct snapshot_take take = {.made_by = ""};
	if (snapshot_store_open(&store, vm, err))
		return -1;
	int status = snapshot_store_load(&store, id, &record, err);
	if (!status) {
		status = snapshot_restore_disks(&store, &record, false, &take, err);
		snapshot_record_free(&record);
	}
	snapshot_store_close(&store);
	return status ? err_context(err, "a restore of VM '%s' was cut short and cannot be finished", vm) : 0;
}

int snapshot_restore_finish(const char *vm, struct err *err)
{
	struct dvol_id id;
	if (get_mark(vm, &id, err))
		return -1;
	return id.number ? finish(vm, id, err) : 0;
}
