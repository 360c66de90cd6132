/* mover_disks.c: see mover_disks.h. */
#include "migrate/mover_disks.h"

#include "common/io.h"
#include "common/jobj.h"
#include "common/text.h"
#include "migrate/mover.h"
#include "vmm/move_epochs.h"
#include "vmm/snapshot_store.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
	EPOCHS_TOLD = 256,   /* of each disk, the newest */
	CLOSE_MS = 60000,    /* for a disk that takes long to make an epoch durable */
	DURABLE_MS = 110000, /* for the disks there that do, with all that was sent; below SERVE_QUIET_MS */
	MAP_EXTENTS = 65536, /* listed at a time */
};

/* ---- what there is ----------------------------------------------------------------------------------------------- */

static json_t *epochs_json(struct dvol *vol, struct err *err)
{
	struct dvol_epoch *list;
	size_t count;
	json_t *json = json_array();

	if (dvol_epochs(vol, &list, &count, err)) {
		json_decref(json);
		return NULL;
	}
	for (size_t i = count > EPOCHS_TOLD ? count - EPOCHS_TOLD : 0; i < count; i++) {
		json_t *one = json_pack("{s:I, s:I}", "term", (json_int_t)list[i].id.term, "number",
					(json_int_t)list[i].id.number);
		char root[2 * DVOL_ROOT + 1];

		if (list[i].has_root)
			json_object_set_new(one, "root",
					    json_string(text_hex(list[i].root, DVOL_ROOT, root)));
		json_array_append_new(json, one);
	}
	free(list);
	return json;
}

static void raise_to(struct dvol_id *id, struct dvol_id other)
{
	if (snapshot_id_compare(other, *id) > 0)
		*id = other;
}

static json_t *learn(struct mover *mover, struct mover_disk *disk, struct err *err)
{
	const struct dvol_open_options options = {.list = true};
	struct dvol *vol = dvol_open(disk->path, &options, err);
	struct dvol_info info;
	char lineage[33];
	json_t *epochs = NULL;

	if (vol && !dvol_info(vol, &info, err))
		epochs = epochs_json(vol, err);
	dvol_close(vol, NULL);
	if (!epochs)
		return NULL;
	text_hex(info.lineage, sizeof(info.lineage), lineage);
	disk->size_bytes = info.size_bytes;
	disk->seed_bytes = info.backing_kind == DVOL_BACKING_NONE && info.used_bytes < info.size_bytes
			       ? info.used_bytes
			       : info.size_bytes;
	raise_to(&mover->disks.id, info.last_epoch);
	return json_pack("{s:i, s:I, s:I, s:s, s:o}", "slot", (int)disk->slot, "size_bytes",
			 (json_int_t)disk->size_bytes, "seed_bytes", (json_int_t)disk->seed_bytes, "lineage",
			 lineage, "epochs", epochs);
}

json_t *mover_disks_learn(struct mover *mover, struct err *err)
{
	struct mover_disks *disks = &mover->disks;
	json_t *list = json_array();

	/* Names are above all that any of the volumes ever had, in the VM's term or a later one. */
	disks->id = (struct dvol_id){.term = mover->term};
	for (unsigned i = 0; i < mover->config.ndevices; i++) {
		const struct device_config *device = &mover->config.devices[i];
		struct mover_disk *disk = &disks->disk[disks->count];
		json_t *json;

		if (!config_moves_disk(device))
			continue;
		*disk = (struct mover_disk){.slot = device->slot, .path = device->disk.path};
		json = learn(mover, disk, err);
		if (!json) {
			json_decref(list);
			err_context(err, "disk in slot %u", device->slot);
			return NULL;
		}
		json_array_append_new(list, json);
		disks->count++;
	}
	return list;
}

int mover_disks_recall(struct mover *mover, const struct kept_notes *notes, struct err *err)
{
	struct mover_disks *disks = &mover->disks;
	uint64_t term = mover->term;
	json_t *told;

	/* As the first mover did: names go on where they were, or above what there is. */
	mover->term = notes->id.term;
	told = mover_disks_learn(mover, err);
	mover->term = term;
	if (!told)
		return -1;
	json_decref(told);
	if (disks->count != notes->disks)
		return err_set(err, ERR_INPUT, "the mover before this one moved %u disks, and the VM has %u",
			       notes->disks, disks->count);
	raise_to(&disks->id, notes->id);
	disks->common = notes->common;
	for (unsigned i = 0; i < disks->count; i++) {
		disks->disk[i].at = notes->disk[i].at;
		disks->disk[i].compares = notes->disk[i].compares;
		disks->disk[i].compared = notes->disk[i].compared;
	}
	return 0;
}

static int take_copy(struct mover *mover, struct mover_disk *disk, const json_t *copy, struct err *err)
{
	struct dvol_id last = {0};
	uint64_t slot;

	if (jobj_bool(copy, "compare", false, &disk->compares, err) ||
	    jobj_u64(copy, "slot", true, 0, CONFIG_LAST_SLOT, &slot, err) ||
	    jobj_u64(copy, "term", true, 0, INT64_MAX, &disk->at.term, err) ||
	    jobj_u64(copy, "number", true, 0, INT64_MAX, &disk->at.number, err) ||
	    jobj_u64(copy, "last_term", true, 0, INT64_MAX - 1, &last.term, err) ||
	    jobj_u64(copy, "last_number", true, 0, INT64_MAX / 2, &last.number, err))
		return -1;
	if (slot != disk->slot)
		return err_set(err, ERR_INPUT, "it speaks of another disk than the one in slot %u",
			       disk->slot);
	disk->seeds = disk->at.number == 0 && !disk->compares;
	disk->compares = disk->compares && disk->at.number == 0;
	raise_to(&mover->disks.id, last);
	return 0;
}

int mover_disks_ready(struct mover *mover, const json_t *ready, struct err *err)
{
	struct mover_disks *disks = &mover->disks;
	json_t *list = NULL;

	if (disks->count == 0)
		return 0;
	if (jobj_array(ready, "disks", true, &list, err))
		return -1;
	if (json_array_size(list) != disks->count)
		return err_set(err, ERR_INPUT, "%s has made %zu disks instead of %u", mover->peer,
			       json_array_size(list), disks->count);
	for (unsigned i = 0; i < disks->count; i++) {
		struct mover_disk *disk = &disks->disk[i];

		if (take_copy(mover, disk, json_array_get(list, i), err))
			return err_context(err, "the answer of %s", mover->peer);
		if (disk->seeds)
			mover_notice(mover,
				     "the other host has no copy of the disk in slot %u: all of it is sent, "
				     "%llu MiB here",
				     disk->slot, (unsigned long long)(disk->seed_bytes >> 20));
		if (disk->compares)
			mover_notice(
			    mover,
			    "the other host has something of the disk in slot %u, but no epoch: what "
			    "differs is found by comparing digests, of %llu MiB",
			    disk->slot, (unsigned long long)(disk->size_bytes >> 20));
	}
	return 0;
}

int mover_disks_add(struct mover *mover, struct err *err)
{
	for (unsigned i = 0; i < mover->disks.count; i++)
		if (!sender_add_disk(&mover->sender,
				     (mover->disks.disk[i].size_bytes + PAGES_SIZE - 1) / PAGES_SIZE, err))
			return -1;
	return 0;
}

/* ---- epochs ------------------------------------------------------------------------------------------------------ */

static void add_pages(struct pageset *todo, uint64_t offset, uint64_t len)
{
	pageset_add_range(todo, offset / PAGES_SIZE, (len + PAGES_SIZE - 1) / PAGES_SIZE);
}

/* All that is there.  What is zeroes is so already on a disk that was just made. */
static int list_all(struct dvol *vol, struct pageset *todo, struct err *err)
{
	uint64_t at = 0, size = dvol_size(vol);

	while (at < size) {
		struct dvol_map_extent *list;
		size_t count;

		if (dvol_map(vol, at, size - at, MAP_EXTENTS, &list, &count, err))
			return -1;
		for (size_t i = 0; i < count; i++) {
			if (list[i].kind != DVOL_MAP_HOLE && list[i].kind != DVOL_MAP_ZERO)
				add_pages(todo, list[i].offset, list[i].len);
			at = list[i].offset + list[i].len;
		}
		free(list);
	}
	return 0;
}

static int list_changes(struct dvol *vol, const struct mover_disk *disk, struct dvol_id id,
			struct pageset *todo, struct err *err)
{
	struct dvol_extent *list;
	size_t count;

	if (snapshot_id_compare(disk->at, id) == 0)
		return 0; /* listed before a link broke in the comparing */
	if (disk->at.number == 0)
		return disk->compares ? 0 : list_all(vol, todo, err);
	if (dvol_changed(vol, disk->at, id, &list, &count, err))
		return -1;
	for (size_t i = 0; i < count; i++)
		add_pages(todo, list[i].offset, list[i].len);
	free(list);
	return 0;
}

/* The epoch is closed: it is what is read from now on. */
static int turn_to(struct mover *mover, unsigned i, struct err *err)
{
	struct mover_disk *disk = &mover->disks.disk[i];
	struct sender_volume *volume = &mover->sender.volume[1 + i];
	const struct dvol_open_options options = {.epoch = mover->disks.id};
	struct dvol *vol = dvol_open(disk->path, &options, err);

	if (!vol || list_changes(vol, disk, mover->disks.id, &volume->todo, err)) {
		dvol_close(vol, NULL);
		return err_context(err, "disk in slot %u", disk->slot);
	}
	dvol_close(disk->epoch, NULL);
	disk->epoch = volume->source.disk = vol;
	sender_keep_todo(&mover->sender, volume, 0, volume->source.pages);
	disk->at = mover->disks.id;
	kept_note(mover);
	return disk->compares ? mover_compare(mover, i, err) : 0;
}

static int turn_all(struct mover *mover, struct err *err)
{
	struct mover_disks *disks = &mover->disks;
	uint64_t now = clock_mono_ns(), before = sender_todo(&mover->sender), pages;

	for (unsigned i = 0; i < disks->count; i++)
		if (turn_to(mover, i, err))
			return -1;
	pages = sender_todo(&mover->sender) - before;
	if (disks->closed_ns)
		disks->pages_per_s = (uint64_t)((double)pages * 1e9 / (double)(now - disks->closed_ns));
	disks->closed_ns = now;
	return 0;
}

static json_t *close_request(const struct mover_disks *disks)
{
	json_t *request = json_pack("{s:s, s:I, s:I}", "cmd", "epoch-close", "term",
				    (json_int_t)disks->id.term, "epoch", (json_int_t)disks->id.number);

	if (disks->common.number) {
		json_object_set_new(request, "keep_term", json_integer((json_int_t)disks->common.term));
		json_object_set_new(request, "keep_epoch", json_integer((json_int_t)disks->common.number));
	}
	return request;
}

static void hold(struct mover *mover, bool held)
{
	for (unsigned i = 0; i < mover->disks.count; i++)
		mover->sender.volume[1 + i].held = held;
}

static void name_epoch(struct mover_disks *disks)
{
	disks->id.number++;
	disks->turned = false;
}

/* The epoch is closed, and what it brings is to do, if that is not so yet: of one that goes on it may be. */
static int turn(struct mover *mover, int timeout_ms, struct err *err)
{
	struct mover_disks *disks = &mover->disks;

	if (disks->count == 0 || disks->turned)
		return 0;
	if (disks->cut ? disks->cut(mover, err)
		       : control_call(&mover->vm, close_request(disks), timeout_ms, NULL, NULL, NULL, err))
		return -1;
	if (turn_all(mover, err))
		return -1;
	disks->turned = true;
	hold(mover, false);
	return 0;
}

int mover_disks_begin(struct mover *mover, bool goes_on, struct err *err)
{
	if (!goes_on)
		name_epoch(&mover->disks);
	return turn(mover, CLOSE_MS, err);
}

void mover_disks_last(struct mover *mover, json_t *request)
{
	struct mover_disks *disks = &mover->disks;

	if (disks->count == 0)
		return;
	name_epoch(disks);
	/* What is to be sent again waits: of a block that changed since only the newer content may go out, once. */
	hold(mover, true);
	json_object_set_new(request, "disks_term", json_integer((json_int_t)disks->id.term));
	json_object_set_new(request, "disks_epoch", json_integer((json_int_t)disks->id.number));
}

int mover_disks_rest(struct mover *mover, struct err *err)
{
	if (mover->disks.count == 0)
		return 0;
	return turn(mover, MOVER_SWITCH_MS, err) || mover_epoch_more(mover, err) ? -1 : 0;
}

void mover_disks_acked(struct mover *mover, const struct message_ack *ack)
{
	/* With a link lost on the way the receiver could not close it. */
	if (ack->links > 0)
		return;
	mover->disks.common = mover->disks.id;
	kept_note(mover);
}

uint64_t mover_disks_expected(const struct mover *mover)
{
	const struct mover_disks *disks = &mover->disks;

	if (!disks->closed_ns)
		return 0;
	return (uint64_t)((double)disks->pages_per_s * (double)(clock_mono_ns() - disks->closed_ns) / 1e9);
}

static int send_epoch(struct mover *mover, struct err *err)
{
	struct frame frame;

	return mover_epoch_pages(mover, 0, err) || mover_epoch_seal(mover, 0, err) ||
		       sender_await(&mover->sender, MESSAGE_ACK, DURABLE_MS, &frame, err) ||
		       mover_epoch_acked(mover, &frame, err)
		   ? -1
		   : 0;
}

int mover_disks_seed(struct mover *mover, struct err *err)
{
	uint64_t began = clock_mono_ns();
	struct err why;

	if (mover->disks.count == 0)
		return 0;
	while (send_epoch(mover, &why))
		if (!link_broken(mover->link))
			return err_set(err, why.kind, "%s", why.text);
		else if (mover_rejoin(mover, &why, err))
			return -1;
	mover->report->disk_bytes = sender_bytes(&mover->sender);
	mover->report->disk_pages = mover->sender.pages;
	mover->report->disk_ns = clock_mono_ns() - began;
	return link_fault(mover->link, FAULT_DISKS_SEEDED, err);
}

/* ---- afterwards -------------------------------------------------------------------------------------------------- */

static int settle(const struct mover *mover, const struct mover_disk *disk, struct err *err)
{
	const struct dvol_open_options options = {.writable = true};
	struct dvol *vol = dvol_open(disk->path, &options, err);
	int status = vol ? move_epochs_settle(vol, disk->at, mover->config.name, mover->peer, err) : -1;

	return dvol_close(vol, status ? NULL : err) || status ? -1 : 0;
}

void mover_disks_settle(struct mover *mover)
{
	struct err err;

	mover_disks_close(mover);
	for (unsigned i = 0; i < mover->disks.count; i++)
		if (settle(mover, &mover->disks.disk[i], &err))
			mover_notice(mover, "epochs that the move made are left in a disk here: %s",
				     err.text);
}

void mover_disks_close(struct mover *mover)
{
	for (unsigned i = 0; i < mover->disks.count; i++) {
		dvol_close(mover->disks.disk[i].epoch, NULL);
		mover->disks.disk[i].epoch = NULL;
	}
}
