/* serve_disks.c: disks as they arrive (serve_disks.h); where their copies are is serve_copies.c's. */
#include "migrate/serve_disks.h"

#include "common/paths.h"
#include "migrate/serve_internal.h"
#include "vmm/move_epochs.h"
#include "vmm/snapshot_disks.h"
#include "vmm/snapshot_store.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { FLUSH_BYTES = 64 << 20 /* so that closing an epoch has little to wait for */ };

/* The head reads as the common epoch again; what moves made after it goes, and what else there is stays. */
static int go_back(const struct serve *serve, struct serve_disk *disk, struct err *err)
{
	const char *vm = serve->config.name;
	struct dvol_epoch *list;
	size_t count;

	if (disk->made)
		return 0;
	/* Points have records, and are held by them. */
	if (!serve->points.on) {
		if (move_epochs_mark(disk->vol, disk->common, vm, err))
			return -1;
		move_epochs_drop(disk->vol, disk->common, false, vm);
	}
	if (dvol_epochs(disk->vol, &list, &count, err))
		return -1;
	bool newest = count > 0 && !snapshot_id_compare(list[count - 1].id, disk->common);
	free(list);
	if (newest ? dvol_rollback(disk->vol, disk->common, err) : dvol_revert(disk->vol, disk->common, err))
		return -1;
	return dvol_size(disk->vol) < disk->size_bytes ? dvol_resize(disk->vol, disk->size_bytes, err) : 0;
}

int serve_disks_prepare(struct serve *serve, struct err *err)
{
	struct serve_disks *disks = &serve->disks;

	for (unsigned i = 0; i < disks->count; i++) {
		struct serve_disk *disk = &disks->disk[i];

		if (go_back(serve, disk, err))
			return err_context(err, "disk in slot %u", disk->slot);
		disk->prepared = true;
		pages_target_disk(&serve->target[serve->targets], (uint16_t)serve->targets, disk->vol);
		serve->targets++;
	}
	return 0;
}

json_t *serve_disks_ready(const struct serve *serve)
{
	json_t *list = json_array();

	for (unsigned i = 0; i < serve->disks.count; i++) {
		const struct serve_disk *disk = &serve->disks.disk[i];

		json_array_append_new(
		    list, json_pack("{s:i, s:I, s:I, s:I, s:I, s:b}", "slot", (int)disk->slot, "term",
				    (json_int_t)disk->common.term, "number", (json_int_t)disk->common.number,
				    "last_term", (json_int_t)disk->last.term, "last_number",
				    (json_int_t)disk->last.number, "compare", disk->compare));
	}
	return list;
}

/* ---- epochs ------------------------------------------------------------------------------------------------------ */

static int in_disk(const struct serve_disk *disk, struct err *err)
{
	return err_context(err, "disk in slot %u", disk->slot);
}

int serve_disks_written(struct serve *serve, uint16_t volume, uint64_t bytes, struct err *err)
{
	struct serve_disk *disk;
	uint64_t written;

	if (volume == 0)
		return 0;
	disk = &serve->disks.disk[volume - 1];
	written = __atomic_add_fetch(&disk->written, bytes, __ATOMIC_RELAXED);
	/* Of several threads the one that reaches it. */
	if (written < FLUSH_BYTES || written - bytes >= FLUSH_BYTES)
		return 0;
	__atomic_store_n(&disk->written, 0, __ATOMIC_RELAXED);
	return dvol_flush(disk->vol, err) ? in_disk(disk, err) : 0;
}

static int close_one(const struct serve *serve, struct serve_disk *disk, bool last, struct err *err)
{
	struct dvol_id id = serve->epoch.disks;

	if (dvol_epoch_close(disk->vol, &id, NULL, err))
		return -1;
	disk->made = disk->compare = false;
	/* What moves left of the last one is tidied up by the VM process, when the guest runs. */
	if (last)
		return 0;
	disk->closed = id;
	return move_epochs_mark(disk->vol, id, serve->config.name, err);
}

int serve_disks_close_point(struct serve *serve, struct dvol_id id, struct err *err)
{
	for (unsigned i = 0; i < serve->disks.count; i++) {
		struct serve_disk *disk = &serve->disks.disk[i];

		if (snapshot_disk_close(disk->vol, id, serve->config.name, NULL, err))
			return in_disk(disk, err);
		disk->made = disk->compare = false;
	}
	return 0;
}

void serve_disks_tidy(struct serve *serve)
{
	for (unsigned i = 0; i < serve->disks.count; i++) {
		struct serve_disk *disk = &serve->disks.disk[i];

		if (disk->vol && disk->closed.number != 0)
			move_epochs_drop(disk->vol, disk->closed, true, serve->config.name);
		disk->closed = (struct dvol_id){0};
	}
}

/* The VM process opens them next. */
static int hand_over(struct serve_disk *disk, struct err *err)
{
	struct dvol *vol = disk->vol;

	disk->vol = NULL;
	return dvol_close(vol, err);
}

int serve_disks_close_epoch(struct serve *serve, bool last, struct err *err)
{
	struct serve_disks *disks = &serve->disks;

	bool named = serve->epoch.disks.number != 0;

	if (disks->count == 0)
		return 0;
	if (disks->handed || !named)
		return last || named ? err_set(err, ERR_INPUT,
					       disks->handed ? "an epoch of the disks came after the last one"
							     : "the last epoch came without the disks")
				     : 0;
	for (unsigned i = 0; i < disks->count; i++)
		if (close_one(serve, &disks->disk[i], last, err))
			return in_disk(&disks->disk[i], err);
	if (!last)
		return 0;
	if (link_fault(serve->control.link, FAULT_DISKS_CLOSED, err))
		return -1;
	/* No more pages are for them, whatever comes. */
	disks->handed = true;
	serve->targets = 1;
	for (unsigned i = 0; i < disks->count; i++)
		if (hand_over(&disks->disk[i], err))
			return in_disk(&disks->disk[i], err);
	return link_fault(serve->control.link, FAULT_DISKS_HANDED, err);
}

/* A copy that was only begun goes, while it is still this process's. */
static void remove_copy(const struct serve_disk *disk)
{
	char folder[PATHS_MAX];

	if (unlink(disk->path))
		return;
	snprintf(folder, sizeof(folder), "%s", disk->path);
	*strrchr(folder, '/') = 0;
	(void)rmdir(folder);
}

/* What came of an epoch that was not whole is not left in the head, which somebody may want to boot from one day. */
static void drop_rest(struct dvol *vol)
{
	struct dvol_epoch *list;
	size_t count;

	if (dvol_epochs(vol, &list, &count, NULL))
		return;
	if (count > 0)
		(void)dvol_rollback(vol, list[count - 1].id, NULL);
	free(list);
}

void serve_disks_close(struct serve *serve)
{
	for (unsigned i = 0; i < serve->disks.count; i++) {
		struct serve_disk *disk = &serve->disks.disk[i];

		if (disk->made && !(serve->disks.left && serve->disks.compares))
			remove_copy(disk);
		else if (!disk->made && disk->vol && disk->prepared)
			drop_rest(disk->vol);
		dvol_close(disk->vol, NULL);
		dvol_close(disk->seed, NULL);
		disk->vol = disk->seed = NULL;
	}
}
