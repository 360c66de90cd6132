/* snapshot_delete.c: see snapshot_delete.h.
 *
 * The record goes first: from then on there is no such snapshot.  Then the epochs, then the state, and last the note by
 * which this is taken up again when it was cut short. */
#include "vmm/snapshot_delete.h"
#include "common/fault.h"
#include "vmm/control.h"
#include "vmm/snapshot_disks.h"
#include "vmm/snapshot_restore.h"
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { DELETE_TIMEOUT_MS = 600000 };

static bool is_there(const char *path)
{
	struct stat st;
	return !stat(path, &st) || errno != ENOENT;
}

/* ---- epochs -------------------------------------------------------------------------------------------------------- */

static int by_process(const char *vm, struct dvol_id id, struct err *err)
{
	struct control control;
	if (control_connect(&control, vm, err))
		return -1;
	int status = control_call(&control,
				  json_pack("{s:s, s:I, s:I}", "cmd", "epoch-delete", "term",
					    (json_int_t)id.term, "epoch", (json_int_t)id.number),
				  DELETE_TIMEOUT_MS, NULL, NULL, NULL, err);
	control_close(&control);
	return status;
}

/* delete_disk: by this process, where the volume can be had, else by its writer, the VM process. */
static int delete_disk(const struct snapshot_store *store, const char *path, struct dvol_id id,
		       struct err *err)
{
	const struct dvol_open_options options = {.writable = true};
	struct err why = {0}, other = {0};
	if (!is_there(path))
		return 0; /* and its epochs with it */
	struct dvol *vol = dvol_open(path, &options, &why);
	if (vol) {
		int status = snapshot_disk_delete(vol, id, store->vm, err);
		return dvol_close(vol, status ? NULL : err) || status ? -1 : 0;
	}
	if (why.kind == ERR_STATE && !by_process(store->vm, id, &other))
		return 0;
	*err = why.kind == ERR_STATE && other.kind != ERR_STATE ? other : why;
	return -1;
}

/* delete_ram: the epoch, if it is there; and the head, which nothing else reads, becomes the newest one of the others, so that it
 * holds no space of its own.  Without any there is no volume. */
static int delete_ram(const struct snapshot_store *store, struct dvol_id id, struct err *err)
{
	const struct dvol_open_options options = {.writable = true};
	char path[PATHS_MAX];
	struct dvol_epoch *list = NULL;
	size_t count = 0;
	if (snapshot_store_ram(store, path, err))
		return -1;
	if (!is_there(path))
		return 0;
	struct dvol *vol = dvol_open(path, &options, err);
	if (!vol)
		return -1;
	int status = snapshot_disk_delete(vol, id, store->vm, err);
	if (!status)
		status = dvol_epochs(vol, &list, &count, err);
	if (!status && count > 0)
		status = dvol_rollback(vol, list[count - 1].id, err);
	free(list);
	if (dvol_close(vol, status ? NULL : err) || status)
		return -1;
	return count == 0 && unlink(path) && errno != ENOENT ? err_sys(err, "cannot remove %s", path) : 0;
}

static int remove_what_was_begun(const struct snapshot_store *store, struct dvol_id id, struct err *err)
{
	char path[PATHS_MAX], **disks;
	size_t count;
	if (snapshot_store_begun(store, id, &disks, &count, err))
		return -1;
	int status = delete_ram(store, id, err);
	fault_point(FAULT_SNAPSHOT_HALF_DELETED);
	for (size_t i = 0; i < count && !status; i++)
		status = delete_disk(store, disks[i], id, err);
	snapshot_disks_free(disks, count);
	if (status || snapshot_store_path(store, id, "state", path, err))
		return -1;
	if (unlink(path) && errno != ENOENT)
		return err_sys(err, "cannot remove %s", path);
	return snapshot_store_done(store, id, err);
}

int snapshot_clean(const struct snapshot_store *store, struct err *err)
{
	struct dvol_id *list;
	size_t count;
	char path[PATHS_MAX];
	int status = 0;
	if (snapshot_store_ids(store, "begun", &list, &count, err))
		return -1;
	for (size_t i = 0; i < count; i++) {
		struct err why = {0};
		int failed = snapshot_store_path(store, list[i], "json", path, &why);
		if (!failed)
			failed = is_there(path) ? snapshot_store_done(store, list[i], &why)
						: remove_what_was_begun(store, list[i], &why);
		if (failed && !status && err)
			*err = why;
		status = failed ? -1 : status;
	}
	free(list);
	return status;
}

/* ---- one snapshot ------------------------------------------------------------------------------------------------------ */

/* A clone that cannot be looked at counts as one that needs its base. */
static bool needs(const char *clone, struct dvol_id id)
{
	const struct dvol_open_options options = {.list = true};
	struct dvol_info info;
	if (!is_there(clone))
		return false;
	struct dvol *vol = dvol_open(clone, &options, NULL);
	if (!vol || dvol_info(vol, &info, NULL))
		return true;
	dvol_close(vol, NULL);
	return info.backing_kind == DVOL_BACKING_DVOL && !snapshot_id_compare(info.backing_epoch, id);
}

static int check_clones(const struct snapshot_record *record, struct err *err)
{
	for (size_t i = 0; i < record->nclones; i++)
		if (needs(record->clones[i].disk, record->id))
			return err_set(
			    err, ERR_STATE,
			    "VM '%s' was made of snapshot %llu.%llu and needs it: its disk %.200s is a clone "
			    "of it; delete that first",
			    record->clones[i].vm, (unsigned long long)record->id.term,
			    (unsigned long long)record->id.number, record->clones[i].disk);
	return 0;
}

/* check_pins: of others than drover's snapshots, as clones of images have them. */
static int check_pins(const char *path, struct dvol_id id, struct err *err)
{
	const struct dvol_open_options options = {.list = true};
	struct dvol *vol = dvol_open(path, &options, NULL);
	struct dvol_pinned *list = NULL;
	size_t count = 0;
	int status = 0;
	if (!vol)
		return 0; /* what is wrong with it is said when the epoch is deleted */
	(void)dvol_pins(vol, &list, &count, NULL);
	for (size_t i = 0; i < count && !status; i++)
		if (!snapshot_id_compare(list[i].id, id) &&
		    strncmp(list[i].name, SNAPSHOT_PIN, sizeof(SNAPSHOT_PIN) - 1) != 0)
			status = err_set(err, ERR_STATE, "epoch %llu.%llu of %.200s is pinned by \"%.200s\"",
					 (unsigned long long)id.term, (unsigned long long)id.number, path,
					 list[i].name);
	free(list);
	dvol_close(vol, NULL);
	return status;
}

int snapshot_delete_one(const struct snapshot_store *store, struct dvol_id id, struct err *err)
{
	struct snapshot_record record;
	char path[PATHS_MAX];
	if (snapshot_store_load(store, id, &record, err))
		return -1;
	int status = check_clones(&record, err);
	if (!status && snapshot_restore_pending(store, id))
		status = err_set(err, ERR_STATE,
				 "a restore of this snapshot was cut short; finish it first, with 'drover "
				 "restore %s --epoch %llu.%llu'",
				 store->vm, (unsigned long long)id.term, (unsigned long long)id.number);
	for (size_t i = 0; i < record.ndisks && !status; i++)
		status = check_pins(record.disks[i], id, err);
	if (!status)
		status = snapshot_store_begin(store, id, record.disks, record.ndisks, err);
	snapshot_record_free(&record);
	if (status || snapshot_store_path(store, id, "json", path, err))
		return -1;
	if (unlink(path))
		return err_sys(err, "cannot remove %s", path);
	fault_point(FAULT_SNAPSHOT_DELETING);
	if (!snapshot_clean(store, err))
		return 0;
	return err_context(err, "the snapshot is deleted, but not all of its space is free yet (the next "
				"'drover snapshot' or '--delete' sees to it)");
}

/* ---- all --------------------------------------------------------------------------------------------------------------- */

/* A snapshot whose record cannot be read goes too: its disks' epochs stay, since nobody knows any more which these are. */
static int delete_any(const struct snapshot_store *store, struct dvol_id id, struct err *err)
{
	struct err why = {0};
	char path[PATHS_MAX];
	if (!snapshot_delete_one(store, id, &why))
		return 0;
	*err = why;
	if (why.kind != ERR_INPUT || snapshot_store_path(store, id, "json", path, err))
		return -1;
	if (unlink(path) ||
	    (!snapshot_store_path(store, id, "state", path, err) && unlink(path) && errno != ENOENT))
		return err_sys(err, "cannot remove %s", path);
	return 0;
}

static int delete_all(const struct snapshot_store *store, size_t *count, struct err *err)
{
	static const char *const rest[] = {"ram.dvol", "restoring", "lock"};
	struct dvol_id *list;
	char path[PATHS_MAX + 16];
	int status = 0;
	if (snapshot_store_ids(store, "json", &list, count, err))
		return -1;
	for (size_t i = *count; i-- > 0 && !status;)
		status = delete_any(store, list[i], err);
	free(list);
	if (status || snapshot_clean(store, err))
		return -1;
	for (size_t i = 0; i < sizeof(rest) / sizeof(rest[0]); i++) {
		snprintf(path, sizeof(path), "%s/%s", store->folder, rest[i]);
		(void)unlink(path);
	}
	return rmdir(store->folder) ? err_sys(err, "cannot remove %s", store->folder) : 0;
}

int snapshot_delete_all(const char *vm, size_t *count, struct err *err)
{
	struct snapshot_store store;
	*count = 0;
	if (snapshot_store_look(&store, vm, err))
		return -1;
	if (!is_there(store.folder))
		return 0;
	if (snapshot_store_open(&store, vm, err))
		return -1;
	int status = delete_all(&store, count, err);
	snapshot_store_close(&store);
	return status;
}
