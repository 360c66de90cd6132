/* snapshot_store.c: see snapshot_store.h. */
#include "vmm/snapshot_store.h"
#include "common/io.h"
#include "common/jobj.h"
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <xxhash.h>

int snapshot_store_look(struct snapshot_store *store, const char *vm, struct err *err)
{
	*store = (struct snapshot_store){.lock_fd = -1};
	if (paths_vm_file(vm, "snapshots", store->folder, err))
		return -1;
	snprintf(store->vm, sizeof(store->vm), "%s", vm);
	return 0;
}

int snapshot_store_open(struct snapshot_store *store, const char *vm, struct err *err)
{
	char path[PATHS_MAX];
	if (snapshot_store_look(store, vm, err) || paths_vm_file(vm, "snapshots/lock", path, err))
		return -1;
	if (io_mkdirs(store->folder, 0700))
		return err_sys(err, "cannot make the folder %s", store->folder);
	store->lock_fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
	if (store->lock_fd < 0)
		return err_sys(err, "cannot open %s", path);
	if (!fcntl(store->lock_fd, F_OFD_SETLK, &(struct flock){.l_type = F_WRLCK}))
		return 0;
	int busy = errno == EAGAIN || errno == EACCES;
	if (busy)
		err_set(err, ERR_STATE,
			"another command is working on the snapshots of VM '%s'; try again when it is done",
			vm);
	else
		err_sys(err, "cannot lock %s", path);
	io_close(&store->lock_fd);
	return -1;
}

void snapshot_store_close(struct snapshot_store *store)
{
	io_close(&store->lock_fd);
}

static int path_of(const struct snapshot_store *store, const char *file, char path[PATHS_MAX],
		   struct err *err)
{
	if (snprintf(path, PATHS_MAX, "%s/%s", store->folder, file) < PATHS_MAX)
		return 0;
	return err_set(err, ERR_USAGE, "%.100s…: the path is too long", store->folder);
}

int snapshot_store_path(const struct snapshot_store *store, struct dvol_id id, const char *suffix,
			char path[PATHS_MAX], struct err *err)
{
	char file[64];
	snprintf(file, sizeof(file), "%llu.%llu.%s", (unsigned long long)id.term,
		 (unsigned long long)id.number, suffix);
	return path_of(store, file, path, err);
}

int snapshot_store_ram(const struct snapshot_store *store, char path[PATHS_MAX], struct err *err)
{
	return path_of(store, "ram.dvol", path, err);
}

int snapshot_id_compare(struct dvol_id a, struct dvol_id b)
{
	if (a.term != b.term)
		return a.term < b.term ? -1 : 1;
	return a.number < b.number ? -1 : a.number > b.number;
}

static int by_id(const void *a, const void *b)
{
	return snapshot_id_compare(*(const struct dvol_id *)a, *(const struct dvol_id *)b);
}

/* id_of: whether a file's name is ID.SUFFIX, exactly as snapshot_store_path writes it. */
static bool id_of(const char *name, const char *suffix, struct dvol_id *id)
{
	size_t len = strlen(name), tail = strlen(suffix);
	char text[48];
	if (len <= tail + 1 || len - tail - 1 >= sizeof(text) || name[len - tail - 1] != '.' ||
	    strcmp(name + len - tail, suffix) != 0)
		return false;
	memcpy(text, name, len - tail - 1);
	text[len - tail - 1] = 0;
	return !dvol_id_parse(text, id, NULL);
}

int snapshot_store_ids(const struct snapshot_store *store, const char *suffix, struct dvol_id **list,
		       size_t *count, struct err *err)
{
	DIR *dir = opendir(store->folder);
	struct dirent *entry;
	struct dvol_id id;
	*list = NULL;
	*count = 0;
	if (!dir)
		return errno == ENOENT || errno == ENOTDIR ? 0
							   : err_sys(err, "cannot list %s", store->folder);
	while ((entry = readdir(dir))) {
		if (!id_of(entry->d_name, suffix, &id))
			continue;
		*list = reallocarray(*list, *count + 1, sizeof(**list));
		if (!*list)
			abort();
		(*list)[(*count)++] = id;
	}
	closedir(dir);
	if (*count > 1)
		qsort(*list, *count, sizeof(**list), by_id);
	return 0;
}

/* ---- records -------------------------------------------------------------------------------------------------------- */

static int none(const struct snapshot_store *store, struct dvol_id id, struct err *err)
{
	if (id.number == 0)
		return err_set(err, ERR_STATE,
			       "there is no snapshot of VM '%s'; 'drover snapshot %s' makes one", store->vm,
			       store->vm);
	return err_set(err, ERR_STATE,
		       "there is no snapshot %llu.%llu of VM '%s'; 'drover snapshots %s' lists them",
		       (unsigned long long)id.term, (unsigned long long)id.number, store->vm, store->vm);
}

static int newest(const struct snapshot_store *store, struct dvol_id *id, struct err *err)
{
	struct dvol_id *list;
	size_t count;
	if (snapshot_store_ids(store, "json", &list, &count, err))
		return -1;
	if (count > 0)
		*id = list[count - 1];
	free(list);
	return count > 0 ? 0 : none(store, (struct dvol_id){0}, err);
}

int snapshot_store_load(const struct snapshot_store *store, struct dvol_id id, struct snapshot_record *record,
			struct err *err)
{
	char path[PATHS_MAX];
	void *text;
	size_t len;
	*record = (struct snapshot_record){0};
	if ((id.number == 0 && newest(store, &id, err)) || snapshot_store_path(store, id, "json", path, err))
		return -1;
	if (io_read_file(path, SNAPSHOT_RECORD_MAX, &text, &len))
		return errno == ENOENT || errno == ENOTDIR ? none(store, id, err) : err_sys(err, "%s", path);
	int failed = snapshot_record_decode(text, len, record, err);
	free(text);
	if (!failed && snapshot_id_compare(record->id, id) != 0) {
		snapshot_record_free(record);
		failed = err_set(err, ERR_INPUT, "it is the record of another snapshot");
	}
	return failed ? err_context(err, "the record of the snapshot is damaged: %s", path) : 0;
}

int snapshot_store_save(const struct snapshot_store *store, const struct snapshot_record *record,
			struct err *err)
{
	char path[PATHS_MAX];
	if (snapshot_store_path(store, record->id, "json", path, err))
		return -1;
	char *text = snapshot_record_encode(record);
	int failed = io_replace_file(path, text, strlen(text));
	free(text);
	return failed ? err_sys(err, "cannot write %s", path) : 0;
}

int snapshot_store_load_state(const struct snapshot_store *store, const struct snapshot_record *record,
			      struct buf *state, struct err *err)
{
	char path[PATHS_MAX];
	void *data;
	size_t len;
	if (snapshot_store_path(store, record->id, "state", path, err))
		return -1;
	if (io_read_file(path, SNAPSHOT_STATE_MAX, &data, &len))
		return err_sys(err, "the snapshot's machine state %s", path);
	bool right = len == record->state_bytes && XXH3_64bits(data, len) == record->state_checksum;
	if (right)
		buf_put(state, data, len);
	free(data);
	return right
		   ? 0
		   : err_set(err, ERR_INPUT,
			     "the snapshot's machine state is damaged: %s is not what its record says; take "
			     "another snapshot",
			     path);
}

/* ---- begun ------------------------------------------------------------------------------------------------------------ */

int snapshot_store_begin(const struct snapshot_store *store, struct dvol_id id, char *const *disks,
			 size_t count, struct err *err)
{
	char path[PATHS_MAX];
	if (snapshot_store_path(store, id, "begun", path, err))
		return -1;
	json_t *json = json_pack("{s:o}", "disks", snapshot_disks_to_json(disks, count));
	char *text = json_dumps(json, 0);
	json_decref(json);
	int failed = !text || io_replace_file(path, text, strlen(text));
	free(text);
	return failed ? err_sys(err, "cannot write %s", path) : 0;
}

int snapshot_store_begun(const struct snapshot_store *store, struct dvol_id id, char ***disks, size_t *count,
			 struct err *err)
{
	char path[PATHS_MAX];
	void *text;
	size_t len;
	if (snapshot_store_path(store, id, "begun", path, err))
		return -1;
	if (io_read_file(path, SNAPSHOT_RECORD_MAX, &text, &len))
		return err_sys(err, "%s", path);
	json_t *json = jobj_parse(text, len, err);
	int failed = !json || snapshot_disks_from_json(json_object_get(json, "disks"), disks, count, err);
	json_decref(json);
	free(text);
	return failed ? err_context(err, "%s", path) : 0;
}

int snapshot_store_done(const struct snapshot_store *store, struct dvol_id id, struct err *err)
{
	char path[PATHS_MAX];
	if (snapshot_store_path(store, id, "begun", path, err))
		return -1;
	return unlink(path) && errno != ENOENT ? err_sys(err, "cannot remove %s", path) : 0;
}
