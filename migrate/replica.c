/* replica.c: see replica.h.  A mover without a VM process: what it sends is in epochs that are closed. */
#include "migrate/replica.h"

#include "common/io.h"
#include "common/jobj.h"
#include "migrate/mover.h"
#include "vmm/snapshot_store.h"

#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { DURABLE_MS = 110000 /* below SERVE_QUIET_MS */ };

struct replica {
	struct mover mover;
	const struct replica_options *options;
	struct replica_report *report;
	struct snapshot_record record;
	bool fresh; /* it was cut, and no epoch of the stream was begun with it */
};

static struct replica *of(struct mover *mover)
{
	return (struct replica *)((char *)mover - offsetof(struct replica, mover));
}

/* ---- greeting ---------------------------------------------------------------------------------------------------- */

static int greet(struct mover *mover, struct err *err)
{
	json_t *hello = mover_hello(mover, "replicate", err), *welcome;
	struct frame frame;
	int failed;

	if (!hello || message_send_json(mover->link, MESSAGE_HELLO, hello, err) ||
	    message_await(mover->link, MESSAGE_WELCOME, MOVER_ANSWER_MS, &frame, err))
		return -1;
	welcome = message_json(&frame, err);
	if (!welcome)
		return -1;
	failed = message_chosen(welcome, mover->link, err);
	json_decref(welcome);
	return failed ? err_context(err, "the greeting of %s", link_peer(mover->link)) : 0;
}

static int cut(struct replica *replica, struct err *err)
{
	uint64_t began = clock_mono_ns();

	snapshot_record_free(&replica->record);
	if (replica->options->cut(replica->options->arg, &replica->record, &replica->mover.term, err))
		return -1;
	replica->report->cut_ns = clock_mono_ns() - began;
	replica->fresh = true;
	return link_fault(replica->mover.link, FAULT_POINT_CUT, err);
}

/* For mover_disks: the first one was cut before BEGIN. */
static int cut_again(struct mover *mover, struct err *err)
{
	struct replica *replica = of(mover);

	if (!replica->fresh && cut(replica, err))
		return -1;
	replica->fresh = false;
	mover->disks.id = replica->record.id;
	return 0;
}

static int begin(struct replica *replica, struct err *err)
{
	const struct replica_options *options = replica->options;
	struct mover *mover = &replica->mover;
	json_t *config = config_to_json(&replica->record.config), *disks, *message, *ready;
	char host[193] = "unknown";
	struct frame frame;
	int failed;

	failed = config_from_json(config, &mover->config, err);
	disks = failed ? NULL : mover_disks_learn(mover, err);
	if (!disks) {
		json_decref(config);
		return -1;
	}
	(void)gethostname(host, sizeof(host) - 1);
	message =
	    json_pack("{s:o, s:o, s:I, s:s, s:s, s:s, s:I, s:b}", "config", config, "disks", disks, "term",
		      (json_int_t)mover->term, "job", options->job, "from", host, "keep", options->keep,
		      "reconnect_ms", (json_int_t)(options->move.reconnect_ns / 1000000), "compare", true);
	if (!message)
		return err_set(err, ERR_SYSTEM, "out of memory for the BEGIN message");
	if (message_send_json(mover->link, MESSAGE_BEGIN, message, err) ||
	    message_await(mover->link, MESSAGE_READY, MOVER_ANSWER_MS, &frame, err))
		return -1;
	ready = message_json(&frame, err);
	failed = !ready || mover_disks_ready(mover, ready, err);
	json_decref(ready);
	return failed ? -1 : link_fault(mover->link, FAULT_POINT_READY, err);
}

static void sum_seed(struct replica *replica)
{
	const struct mover_disks *disks = &replica->mover.disks;

	for (unsigned i = 0; i < disks->count; i++)
		if (disks->disk[i].seeds)
			replica->report->seed_bytes += disks->disk[i].seed_bytes;
}

/* RAM, the first volume of a stream, has one page in this one, which is never sent. */
static int fill_sender(struct mover *mover, struct err *err)
{
	if (!sender_add_disk(&mover->sender, 1, err))
		return -1;
	sender_set_control(&mover->sender, mover->link, 0);
	return mover_disks_add(mover, err);
}

/* ---- the point --------------------------------------------------------------------------------------------------- */

static int send_record(struct replica *replica, struct err *err)
{
	struct link *link = replica->mover.link;
	char *text = snapshot_record_encode(&replica->record);

	buf_put(link_begin(link), text, strlen(text));
	free(text);
	return link_send(link, MESSAGE_POINT, 0, err);
}

static int send_point(struct replica *replica, struct err *err)
{
	struct mover *mover = &replica->mover;
	struct frame frame;

	return mover_epoch_pages(mover, 0, err) || send_record(replica, err) ||
		       mover_epoch_seal(mover, 0, err) || link_fault(mover->link, FAULT_POINT_SENT, err) ||
		       sender_await(&mover->sender, MESSAGE_ACK, DURABLE_MS, &frame, err) ||
		       mover_epoch_acked(mover, &frame, err)
		   ? -1
		   : 0;
}

/* Over links that break, until an epoch is whole there. */
static int deliver(struct replica *replica, struct err *err)
{
	struct mover *mover = &replica->mover;
	struct err why;

	while (snapshot_id_compare(mover->disks.common, replica->record.id)) {
		if (!send_point(replica, &why))
			continue;
		if (!link_broken(mover->link))
			return err_set(err, why.kind, "%s", why.text);
		if (mover_rejoin(mover, &why, err))
			return -1;
	}
	if (link_fault(mover->link, FAULT_POINT_ACKED, err))
		return -1;
	/* The receiver waits for nobody then.  Where that does not arrive it waits a while, and the point is there all the same. */
	if (!message_send_number(mover->link, MESSAGE_WHOLE, mover->epoch, &why))
		(void)link_flush(mover->link, &why);
	return 0;
}

static int run(struct replica *replica, struct err *err)
{
	struct mover *mover = &replica->mover;
	uint64_t began = clock_mono_ns();

	strcpy(mover->config.name, replica->options->move.vm);
	strcpy(mover->config.uuid, replica->options->uuid);
	mover->disks.cut = cut_again;
	mover_tell(mover, MOVE_CONNECT);
	if (mover_connect(mover, err))
		return -1;
	mover_watch(mover, false);
	mover_tell(mover, MOVE_PREPARE);
	if (mover_open_sender(mover, err) || mover_start_workers(mover, err) || greet(mover, err))
		return -1;
	replica->report->connect_ns = clock_mono_ns() - began;
	if (cut(replica, err) || begin(replica, err))
		return -1;
	sum_seed(replica);
	mover_tell(mover, MOVE_COPY);
	return fill_sender(mover, err) || deliver(replica, err) ? -1 : 0;
}

int replica_send(const struct replica_options *options, const struct move_observer *observer,
		 struct replica_report *report, struct err *err)
{
	struct move_report moved = {0};
	struct replica replica = {.options = options, .report = report};
	struct mover *mover = &replica.mover;
	int status;

	*report = (struct replica_report){0};
	status = mover_open(mover, &options->move, observer, &moved, err);
	if (!status) {
		status = run(&replica, err);
		if (status && mover->link)
			message_abort(mover->link, err);
	}
	report->point = replica.record.id;
	report->boundary_ns = replica.record.time_ns;
	report->total_ns = clock_mono_ns() - mover->started_ns;
	/* Without a connection there never was a sender. */
	if (mover->sender.control) {
		report->pages = mover->sender.pages;
		report->bytes = sender_bytes(&mover->sender);
	}
	report->reconnects = moved.reconnects;
	if (!status) {
		mover_tell_note(mover);
		mover_tell(mover, MOVE_DONE);
	}
	mover_close(mover);
	snapshot_record_free(&replica.record);
	return status;
}
