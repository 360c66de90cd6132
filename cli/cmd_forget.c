/* drover forget: remove what this host has recorded of a VM that does not live here.
 *
 * The VM's lock is held while its folder is taken apart, and its record goes first: whatever happens in between,
 * what is left is a folder without a record, which promises nothing and can be removed again. */
#include "cli/commands.h"
#include "cli/output.h"
#include "cli/vms.h"
#include "common/io.h"
#include "common/paths.h"
#include "vmm/leftovers.h"
#include "vmm/snapshot_delete.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { MAX_FILES = 64 };

static int take_lock(int dir, const char *name, int *lock, struct err *err)
{
	*lock = openat(dir, "lock", O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
	if (*lock < 0)
		return err_sys(err, "cannot open the lock of VM '%s'", name);
	if (!fcntl(*lock, F_OFD_SETLK, &(struct flock){.l_type = F_WRLCK}))
		return 0;
	if (errno == EAGAIN || errno == EACCES)
		return err_set(err, ERR_STATE, "VM '%s' lives on this host; 'drover stop %s' first", name,
			       name);
	return err_sys(err, "cannot lock VM '%s'", name);
}

static int check_record(const char *name, bool force, struct err *err)
{
	struct ledger_record record;
	bool locked;

	if (ledger_peek(name, &record, &locked, err))
		return force ? 0
			     : -1; /* a damaged record is a reason to forget it, and says nothing to keep */
	if (!force && record.state == LEDGER_STANDBY)
		return err_set(
		    err, ERR_STATE,
		    "VM '%s' runs on %s, and this host keeps its recovery points, which would go; --force "
		    "drops them",
		    name, record.peer);
	if (!force && record.state == LEDGER_INTENT)
		return err_set(
		    err, ERR_STATE,
		    "VM '%s' may run on %s: its process here died in the hand-over; look there, then use "
		    "--force",
		    name, record.peer);
	return ledger_bury(&record, err);
}

static int remove_file(int dir, const char *name, const char *file, json_t *removed, struct err *err)
{
	if (unlinkat(dir, file, 0))
		return errno == ENOENT ? 0 : err_sys(err, "cannot remove %s of VM '%s'", file, name);
	json_array_append_new(removed, output_string(file));
	return 0;
}

/* remove_files(dir, name, removed, err): everything in the folder but the lock and the VM's disks, the record before the rest. */
static int remove_files(int dir, const char *name, json_t *removed, struct err *err)
{
	int copy = openat(dir, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	DIR *list = copy >= 0 ? fdopendir(copy) : NULL;
	struct dirent *entry;
	int status;

	if (!list) {
		io_close(&copy);
		return err_sys(err, "cannot list the folder of VM '%s'", name);
	}
	status = remove_file(dir, name, "handover", removed, err);
	while (!status && (entry = readdir(list)))
		if (strcmp(entry->d_name, ".") && strcmp(entry->d_name, "..") &&
		    strcmp(entry->d_name, "lock") && strcmp(entry->d_name, "disks"))
			status = remove_file(dir, name, entry->d_name, removed, err);
	closedir(list);
	return status;
}

static int remove_snapshots(const char *name, json_t *removed, struct err *err)
{
	size_t count;

	if (snapshot_delete_all(name, &count, err))
		return -1;
	if (count)
		json_array_append_new(removed, json_string("snapshots"));
	return 0;
}

static int remove_folder(int dir, const char *name, const char *path, json_t *removed, struct err *err)
{
	char socket[PATHS_MAX];

	if (remove_snapshots(name, removed, err) || remove_files(dir, name, removed, err))
		return -1;
	if (!paths_vm_socket(name, socket, NULL) && !access(socket, F_OK))
		json_array_append_new(removed, output_string(socket));
	leftovers_sockets(name);
	if (remove_file(dir, name, "lock", removed, err))
		return -1;
	/* ENOTEMPTY: its disks are there. */
	return rmdir(path) && errno != ENOTEMPTY && errno != EEXIST ? err_sys(err, "cannot remove %s", path)
								    : 0;
}

static void say(const char *name, const char *path, json_t *removed, bool json)
{
	char files[1024] = "";
	json_t *file;
	size_t i;

	if (json) {
		output_json(json_pack("{s:s, s:o, s:O}", "name", name, "folder", output_string(path),
				      "removed", removed));
		return;
	}
	json_array_foreach(removed, i, file)
	{
		size_t len = strlen(files);

		snprintf(files + len, sizeof(files) - len, "%s%s", i ? ", " : "", json_string_value(file));
	}
	output_say("VM '%s' is forgotten: removed %s (%s)", name, path, files);
}

int cmd_forget(const struct args *args, struct err *err)
{
	const char *name = args->operand[0];
	json_t *removed = json_array();
	struct vm_view view;
	char path[PATHS_MAX];
	int dir = -1, lock = -1, status = -1;

	if (paths_vm_dir(name, path, err))
		goto out;
	vms_view_settled(name, &view); /* one that was just stopped or killed is given a moment to be gone */
	dir = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
	if (dir < 0 && errno == ENOENT)
		err_set(err, ERR_STATE, "this host has no VM named '%s'; 'drover list' shows those it has",
			name);
	else if (dir < 0)
		err_sys(err, "cannot open %s", path);
	else if (!take_lock(dir, name, &lock, err) && !check_record(name, args->force, err))
		status = remove_folder(dir, name, path, removed, err);
	if (!status)
		say(name, path, removed, args->json);
out:
	io_close(&lock);
	io_close(&dir);
	json_decref(removed);
	return status;
}
