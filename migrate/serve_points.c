/* serve_points.c: see serve_points.h. */
#include "migrate/serve_points.h"

#include "common/io.h"
#include "common/jobj.h"
#include "common/log.h"
#include "migrate/serve_internal.h"
#include "vmm/points.h"
#include "vmm/snapshot_delete.h"
#include "vmm/snapshot_take.h"

#include <stdlib.h>
#include <string.h>

enum { RECONNECT_MAX_MS = 3600000 };

/* ---- greeting ---------------------------------------------------------------------------------------------------- */

int serve_points_welcome(struct serve *serve, struct err *err)
{
	const char *name = serve->config.name;
	struct ledger_record record;
	bool locked;

	if (serve_free_name(serve, &record, &locked, err))
		return -1;
	if (locked)
		return err_set(err, ERR_REFUSED,
			       "VM '%s' lives on that host, which cannot keep points of it then", name);
	if (ledger_open(&serve->points.ledger, name, err) || serve_bounds_name(serve, err))
		return -1;
	return message_send_json(
	    serve->control.link, MESSAGE_WELCOME,
	    json_pack("{s:i, s:s}", "protocol", (int)serve->protocol, "drover", DROVER_VERSION), err);
}

static int read_begin(struct serve *serve, const json_t *begin, struct err *err)
{
	struct serve_points *points = &serve->points;
	struct retention retention;

	if (jobj_u64(begin, "term", true, 1, INT64_MAX - 1, &serve->term, err) ||
	    jobj_u64(begin, "reconnect_ms", true, 0, RECONNECT_MAX_MS, &serve->reconnect_ms, err) ||
	    jobj_copy(begin, "job", points->job, sizeof(points->job), err) ||
	    jobj_copy(begin, "from", points->from, sizeof(points->from), err) ||
	    jobj_copy(begin, "keep", points->keep, sizeof(points->keep), err) ||
	    retention_parse(points->keep, &retention, err) || serve_take_config(serve, begin, err))
		return -1;
	return ledger_may_keep(&points->ledger.now, serve->config.name, serve->config.uuid, serve->term, err);
}

static bool is_same(const struct ledger_record *a, const struct ledger_record *b)
{
	return a->state == b->state && a->term == b->term && a->next_term == b->next_term &&
	       a->ran_term == b->ran_term && !strcmp(a->uuid, b->uuid) && !strcmp(a->session, b->session) &&
	       !strcmp(a->peer, b->peer);
}

/* What this host is to the VM, on disk before a copy is touched. */
static int become_standby(struct serve *serve, struct err *err)
{
	struct ledger *ledger = &serve->points.ledger;
	struct ledger_record record =
	    ledger_standby(&ledger->now, serve->config.uuid, serve->term, serve->points.from);

	if (strcmp(ledger->now.uuid, serve->config.uuid) && ledger_bury(&ledger->now, err))
		return -1;
	return is_same(&record, &ledger->now) ? 0 : ledger_write(ledger, &record, err);
}

/* The VM ran here, was lost, and runs elsewhere from an older point: what only this host has of it becomes a snapshot before its disks
 * are taken back. */
static int keep_diverged(struct serve *serve, struct err *err)
{
	struct snapshot_take take = {.made_by = "drover " DROVER_VERSION};
	struct snapshot_volumes volumes = {.count = 0};
	char note[SNAPSHOT_NOTE_MAX + 1];
	bool diverged = false;

	for (unsigned i = 0; i < serve->disks.count; i++) {
		const struct serve_disk *disk = &serve->disks.disk[i];

		if (disk->made)
			continue;
		diverged = diverged || disk->diverged;
		volumes.path[volumes.count] = (char *)disk->path;
		volumes.vol[volumes.count++] = disk->vol;
	}
	if (!diverged)
		return 0;
	snprintf(note, sizeof(note),
		 "what it wrote here under term %llu, and %.64s, which has it now, does not have",
		 (unsigned long long)serve->points.ledger.now.term, serve->points.from);
	if (snapshot_take_stopped(&serve->points.store, &serve->config, &volumes, note, &take, err))
		return -1;
	for (unsigned i = 0; i < serve->disks.count; i++)
		if (!serve->disks.disk[i].made)
			serve->disks.disk[i].last = take.id;
	return 0;
}

int serve_points_begin(struct serve *serve, struct err *err)
{
	struct serve_points *points = &serve->points;
	struct frame frame;
	json_t *begin;
	int failed;

	if (message_await(serve->control.link, MESSAGE_BEGIN, SERVE_QUIET_MS, &frame, err))
		return -1;
	begin = message_json(&frame, err);
	if (!begin)
		return -1;
	/* What a session before this one left of a point that never came to be goes before its volumes are opened. */
	failed = read_begin(serve, begin, err) ||
		 snapshot_store_open(&points->store, serve->config.name, err) ||
		 snapshot_clean(&points->store, err) || serve_disks_find(serve, begin, err) ||
		 keep_diverged(serve, err) || become_standby(serve, err);
	json_decref(begin);
	serve->targets = 1; /* RAM, of no pages */
	if (!failed && serve->disks.count == 0)
		failed = err_set(err, ERR_REFUSED,
				 "VM '%s' has no disk that it writes to, so there is nothing to keep",
				 serve->config.name);
	if (failed || serve_disks_prepare(serve, err))
		return -1;
	serve->control.decoder = pages_decoder_open(err);
	if (!serve->control.decoder || serve_links_open(serve, err) ||
	    message_send_json(serve->control.link, MESSAGE_READY,
			      json_pack("{s:o}", "disks", serve_disks_ready(serve)), err))
		return -1;
	return link_flush(serve->control.link, err);
}

/* ---- a point ----------------------------------------------------------------------------------------------------- */

int serve_points_frame(struct serve *serve, const struct frame *frame, struct err *err)
{
	struct serve_points *points = &serve->points;

	if (!points->on || serve->state != SERVE_EPOCH)
		return message_unexpected(serve->control.link, frame, err);
	snapshot_record_free(&points->record);
	if (snapshot_record_decode((const char *)frame->payload, frame->len, &points->record, err))
		return err_context(err, "the record of a point");
	if (points->record.ram)
		return err_set(err, ERR_INPUT, "the record of a point speaks of RAM, which has not come");
	if (snapshot_id_compare(points->record.id, serve->epoch.disks))
		return err_set(err, ERR_INPUT, "the record of a point is of another epoch than its disks");
	return 0;
}

int serve_points_end(struct serve *serve, const struct frame *frame, struct err *err)
{
	uint64_t epoch;

	if (!serve->points.on || serve->state != SERVE_IDLE)
		return message_unexpected(serve->control.link, frame, err);
	if (message_number(frame, &epoch, err))
		return -1;
	serve_set_state(serve, SERVE_STARTED);
	return 0;
}

/* The sender's record, with what is this host's: where the copies are, who made VMs of it. */
static int make_own(struct serve *serve, struct err *err)
{
	struct snapshot_record *record = &serve->points.record;
	json_t *config = config_to_json(&serve->config);
	int status;

	config_free(&record->config);
	status = config_from_json(config, &record->config, err);
	json_decref(config);
	for (size_t i = 0; i < record->nclones; i++)
		free(record->clones[i].disk);
	free(record->clones);
	record->clones = NULL;
	record->nclones = 0;
	snapshot_disks_free(record->disks, record->ndisks);
	record->disks = NULL;
	record->ndisks = 0;
	for (unsigned i = 0; i < serve->disks.count; i++)
		snapshot_record_add_disk(record, serve->disks.disk[i].path);
	record->point.is = true;
	strcpy(record->point.job, serve->points.job);
	strcpy(record->point.from, serve->points.from);
	record->point.arrived_ns = clock_real_ns();
	record->point.verified_ns = 0;
	return status;
}

int serve_points_commit(struct serve *serve, struct err *err)
{
	struct serve_points *points = &serve->points;
	struct snapshot_record *record = &points->record;
	struct dvol_id id = serve->epoch.disks;

	if (record->id.number == 0 || snapshot_id_compare(record->id, id))
		return err_set(err, ERR_INPUT, "an epoch of points came without the record of a point");
	if (make_own(serve, err) ||
	    snapshot_store_begin(&points->store, id, record->disks, record->ndisks, err) ||
	    link_fault(serve->control.link, FAULT_POINT_BEGUN, err) ||
	    serve_disks_close_point(serve, id, err) ||
	    link_fault(serve->control.link, FAULT_POINT_CLOSED, err) ||
	    snapshot_store_save(&points->store, record, err))
		return -1;
	/* What fails here the next session does. */
	(void)snapshot_store_done(&points->store, id, NULL);
	snapshot_record_free(record);
	return link_fault(serve->control.link, FAULT_POINT_RECORDED, err);
}

static void prune(struct serve_points *points)
{
	struct retention retention;
	size_t pruned;
	struct err err;

	if (retention_parse(points->keep, &retention, &err) ||
	    points_prune(&points->store, points->job, &retention, &pruned, &err))
		log_warning("points of VM '%s' that are not to be kept are still there: %s", points->store.vm,
			    err.text);
}

void serve_points_close(struct serve *serve)
{
	struct serve_points *points = &serve->points;

	if (!points->on)
		return;
	snapshot_record_free(&points->record);
	if (points->store.lock_fd >= 0)
		prune(points);
	snapshot_store_close(&points->store);
	ledger_close(&points->ledger);
}
