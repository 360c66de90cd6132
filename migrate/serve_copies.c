/* serve_copies.c: where this host's copies of a VM's disks are, and whether they are what they are to be (serve_disks.h).
 *
 * What the sender says of paths is never followed: a copy is where this host has had the VM's disk before, by its own record, or
 * in a folder of drover's own. */
#include "migrate/serve_disks.h"

#include "common/io.h"
#include "common/jobj.h"
#include "common/paths.h"
#include "migrate/serve_internal.h"
#include "vmm/disk_record.h"
#include "vmm/own_disks.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

enum { LINEAGE = 16, EPOCHS_MAX = 256 };

/* What BEGIN says of a disk. */
struct offered {
	uint64_t size_bytes, seed_bytes;
	uint8_t lineage[LINEAGE];
	const json_t *epochs;
};

/* ---- where they are ---------------------------------------------------------------------------------------------- */

static int fresh_path(const struct serve *serve, unsigned slot, char path[PATHS_MAX], struct err *err)
{
	const char *folder = serve->permit->disks, *name = serve->config.name;

	if (folder && snprintf(path, PATHS_MAX, "%s/%s/slot-%u.dvol", folder, name, slot) >= PATHS_MAX)
		return err_set(err, ERR_USAGE, "the path of the folder for disks is too long");
	if (folder)
		return 0;
	return own_disks_path(name, slot, path, err);
}

static bool is_there(const char *path)
{
	struct stat st;

	return !lstat(path, &st) || errno != ENOENT;
}

/* The file that was the VM's disk when it was here, or the one for a copy. */
static int find_path(const struct serve *serve, struct device_config *device, struct err *err)
{
	char path[PATHS_MAX];

	if (!disk_record_find(serve->config.name, serve->config.uuid, device->slot, path) || !is_there(path))
		if (fresh_path(serve, device->slot, path, err))
			return -1;
	free(device->disk.path);
	device->disk.path = strdup(path);
	if (!device->disk.path)
		abort(); /* small, as in common/buf.h */
	return 0;
}

/* Disks that are only read do not move.  Their paths are the sender's: what he may name is what this host lets him, or what the
 * VM had here before. */
static int check_read_only(const struct serve *serve, const struct device_config *device, struct err *err)
{
	const char *path = device->disk.path;
	bool had = disk_record_reads(serve->config.name, serve->config.uuid, path);

	if (!had && !permit_names(serve->permit, path))
		return err_set(
		    err, ERR_REFUSED,
		    "that host does not let VMs that come read %.200s (slot %u); let it there, with "
		    "'drover serve --images'",
		    path, device->slot);
	if (had ? !access(path, R_OK) : permit_reads(serve->permit, path))
		return 0;
	return err_set(err, ERR_REFUSED,
		       "that host has no %.200s, which the VM only reads (slot %u), and which does not move "
		       "with it; copy it there",
		       device->disk.path, device->slot);
}

/* ---- which they are ---------------------------------------------------------------------------------------------- */

static bool unhex(const char *text, uint8_t *bytes, size_t len)
{
	if (strlen(text) != 2 * len || strspn(text, "0123456789abcdef") != 2 * len)
		return false;
	for (size_t i = 0; i < len; i++) {
		const char digits[3] = {text[2 * i], text[2 * i + 1], 0};

		bytes[i] = (uint8_t)strtoul(digits, NULL, 16);
	}
	return true;
}

static int read_offer(const json_t *json, unsigned slot, struct offered *offered, struct err *err)
{
	const char *lineage;
	json_t *epochs;
	uint64_t of;

	if (jobj_u64(json, "slot", true, 0, CONFIG_LAST_SLOT, &of, err) ||
	    jobj_u64(json, "size_bytes", true, DVOL_BLOCK, DVOL_SIZE_MAX, &offered->size_bytes, err) ||
	    jobj_u64(json, "seed_bytes", true, 0, DVOL_SIZE_MAX, &offered->seed_bytes, err) ||
	    jobj_string(json, "lineage", true, 2 * LINEAGE, &lineage, err) ||
	    jobj_array(json, "epochs", true, &epochs, err))
		return -1;
	offered->epochs = epochs;
	if (of != slot || offered->size_bytes % DVOL_SECTOR || json_array_size(epochs) > EPOCHS_MAX ||
	    !unhex(lineage, offered->lineage, LINEAGE))
		return err_set(err, ERR_INPUT, "what BEGIN says of the disk in slot %u is not valid", slot);
	return 0;
}

/* Whether the sender has this epoch too. */
static bool is_offered(const struct offered *offered, const struct dvol_epoch *epoch)
{
	uint8_t root[DVOL_ROOT];
	json_t *one;
	size_t i;

	json_array_foreach(offered->epochs, i, one)
	{
		const char *text = NULL;
		uint64_t term, number;

		if (jobj_u64(one, "term", true, 1, INT64_MAX, &term, NULL) || term != epoch->id.term ||
		    jobj_u64(one, "number", true, 1, INT64_MAX, &number, NULL) || number != epoch->id.number)
			continue;
		if (jobj_string(one, "root", false, 2 * DVOL_ROOT, &text, NULL))
			return false;
		return !text || !epoch->has_root ||
		       (unhex(text, root, DVOL_ROOT) && !memcmp(root, epoch->root, DVOL_ROOT));
	}
	return false;
}

static int find_common(struct serve_disk *disk, const struct offered *offered, size_t *count, struct err *err)
{
	struct dvol_epoch *list;

	if (dvol_epochs(disk->vol, &list, count, err))
		return -1;
	disk->common = (struct dvol_id){0};
	for (size_t i = *count; i-- > 0 && !disk->common.number;) {
		if (is_offered(offered, &list[i]))
			disk->common = list[i].id;
	}
	free(list);
	return 0;
}

/* What the guest wrote here after the last epoch is nowhere else, if it was here that the VM ended. */
static int check_unchanged(const struct serve *serve, struct serve_disk *disk, size_t epochs, struct err *err)
{
	struct ledger_record record;
	struct dvol_extent *changed;
	struct dvol_epoch *list;
	bool locked;
	size_t count;

	if (ledger_peek(serve->config.name, &record, &locked, err))
		return -1;
	if (strcmp(record.uuid, serve->config.uuid) ||
	    (record.state != LEDGER_STOPPED && record.state != LEDGER_RUNNING))
		return 0;
	if (dvol_epochs(disk->vol, &list, &epochs, err))
		return -1;
	int status = dvol_changed(disk->vol, list[epochs - 1].id, (struct dvol_id){0}, &changed, &count, err);
	free(list);
	if (status)
		return -1;
	free(changed);
	disk->diverged = count > 0;
	/* A host that keeps points keeps that, too. */
	if (!disk->diverged || serve->points.on)
		return 0;
	return err_set(err, ERR_REFUSED,
		       "VM '%s' ran on that host last, by its own record, and has written to %.200s there "
		       "what no other host has; move that file away there to have the disk sent anew",
		       serve->config.name, disk->path);
}

/* Whether it is an older copy of the very volume.  *useless: it is one of which there is nothing yet. */
static int check_copy(struct serve *serve, struct serve_disk *disk, const struct offered *offered,
		      bool *useless, struct err *err)
{
	struct dvol_info info;
	size_t epochs;

	if (dvol_info(disk->vol, &info, err) || find_common(disk, offered, &epochs, err))
		return -1;
	if (memcmp(info.lineage, offered->lineage, LINEAGE))
		return err_set(
		    err, ERR_REFUSED,
		    "%.200s is there on that host, and is another volume than the VM's disk in "
		    "slot %u; move it away, or, if it holds much the same, rename it to slot-%u.seed "
		    "beside that place",
		    disk->path, disk->slot, disk->slot);
	disk->last = info.last_epoch;
	*useless = epochs == 0 && info.last_epoch.number == 0;
	if (*useless)
		return 0;
	if (!disk->common.number)
		return err_set(err, ERR_REFUSED,
			       "%.200s on that host is a copy of the VM's disk in slot %u, but has no epoch "
			       "in common with it; move it away there to have all of it sent",
			       disk->path, disk->slot);
	if (info.size_bytes > offered->size_bytes)
		return err_set(err, ERR_REFUSED,
			       "%.200s on that host is larger than the VM's disk in slot %u", disk->path,
			       disk->slot);
	return check_unchanged(serve, disk, epochs, err);
}

/* ---- finding and making them --------------------------------------------------------------------------------------- */

static int open_copy(struct serve_disk *disk, struct err *err)
{
	const struct dvol_open_options options = {.writable = true};

	disk->vol = dvol_open(disk->path, &options, err);
	return disk->vol ? 0 : -1;
}

static int check_space(const char *folder, uint64_t bytes, unsigned slot, struct err *err)
{
	struct statvfs fs;
	uint64_t there;

	if (statvfs(folder, &fs))
		return err_sys(err, "%s on that host", folder);
	there = (uint64_t)fs.f_bavail * fs.f_frsize;
	if (bytes <= there)
		return 0;
	return err_set(
	    err, ERR_REFUSED,
	    "the disk in slot %u takes %llu MiB or more, and %.200s on that host has %llu MiB free", slot,
	    (unsigned long long)(bytes >> 20), folder, (unsigned long long)(there >> 20));
}

static int make_copy(struct serve_disk *disk, const struct offered *offered, struct err *err)
{
	const struct dvol_create_options create = {.size_bytes = offered->size_bytes,
						   .lineage = offered->lineage};
	char folder[PATHS_MAX];

	snprintf(folder, sizeof(folder), "%s", disk->path);
	*strrchr(folder, '/') = 0;
	if (io_mkdirs(folder, 0700))
		return err_sys(err, "cannot make the folder %s", folder);
	if (check_space(folder, offered->seed_bytes, disk->slot, err) ||
	    dvol_create(disk->path, &create, err)) {
		(void)rmdir(folder);
		return -1;
	}
	disk->made = true;
	return open_copy(disk, err);
}

/* There is something of the disk in it. */
static int go_on_with(struct serve_disk *disk, struct err *err)
{
	disk->made = disk->compare = true;
	return serve_compare_open_seed(disk, err);
}

static int find_or_make(struct serve *serve, struct serve_disk *disk, const struct offered *offered,
			struct err *err)
{
	bool useless = false;

	if (is_there(disk->path)) {
		if (open_copy(disk, err) || check_copy(serve, disk, offered, &useless, err))
			return -1;
		if (!useless)
			return 0;
		/* A session died in the middle of the first epoch.  Nobody else has it open: this process is its writer. */
		if (serve->disks.compares && dvol_size(disk->vol) == offered->size_bytes)
			return go_on_with(disk, err);
		if (unlink(disk->path))
			return err_sys(err, "%s", disk->path);
		dvol_close(disk->vol, NULL);
		disk->vol = NULL;
	}
	if (serve->disks.compares && serve_compare_open_seed(disk, err))
		return -1;
	return make_copy(disk, offered, err);
}

int serve_disks_find(struct serve *serve, const json_t *begin, struct err *err)
{
	struct serve_disks *disks = &serve->disks;
	json_t *list = NULL;

	if (jobj_array(begin, "disks", true, &list, err) ||
	    jobj_bool(begin, "compare", false, &disks->compares, err))
		return -1;
	for (unsigned i = 0; i < serve->config.ndevices; i++) {
		struct device_config *device = &serve->config.devices[i];
		struct serve_disk *disk = &disks->disk[disks->count];
		struct offered offered;

		if (device->kind == DEVICE_DISK && !config_moves_disk(device) &&
		    check_read_only(serve, device, err))
			return -1;
		if (!config_moves_disk(device))
			continue;
		if (read_offer(json_array_get(list, disks->count), device->slot, &offered, err) ||
		    find_path(serve, device, err))
			return -1;
		*disk = (struct serve_disk){.slot = device->slot, .path = device->disk.path};
		disks->count++;
		if (find_or_make(serve, disk, &offered, err))
			return -1;
		disk->size_bytes = offered.size_bytes;
	}
	if (json_array_size(list) != disks->count)
		return err_set(err, ERR_INPUT, "BEGIN speaks of %zu disks, and its configuration has %u",
			       json_array_size(list), disks->count);
	return 0;
}
