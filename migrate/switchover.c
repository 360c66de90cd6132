/* switchover.c: the pause, the last epoch, and the two-phase hand-over (docs/stream.md). */
#include "common/io.h"
#include "common/jobj.h"
#include "migrate/mover.h"

#include <string.h>
#include <unistd.h>

enum { RESUMES_MAX = 3 }; /* pauses that are taken back: the guest feels each */

/* The guest stands still from *paused_at on (CLOCK_MONOTONIC of this host, which both processes see). */
static int pause_guest(struct mover *mover, uint64_t *paused_at, struct err *err)
{
	json_t *reply, *request = json_pack("{s:s, s:I, s:s, s:s, s:b}", "cmd", "handover-pause", "term",
					    (json_int_t)mover->term, "session", mover->session, "peer",
					    mover->peer, "postcopy", mover->postcopy.on);
	int failed;

	mover_disks_last(mover, request);
	if (mover_ask(mover, request, &reply, err))
		return -1;
	failed = jobj_u64(reply, "paused_ns", true, 0, INT64_MAX, paused_at, err);
	json_decref(reply);
	return failed;
}

/* The machine state comes as a memfd; it goes on as it is. */
static int send_state(struct mover *mover, int fd, uint64_t len, struct err *err)
{
	enum { PIECE = 256 << 10 };

	if (len == 0 || len > STREAM_STATE_MAX)
		return err_set(err, ERR_INPUT, "the VM process gave a machine state of %llu bytes",
			       (unsigned long long)len);
	for (uint64_t at = 0; at < len;) {
		size_t piece = len - at < PIECE ? (size_t)(len - at) : PIECE;
		struct buf *out = link_begin(mover->link);

		if (pread(fd, buf_reserve(out, piece), piece, (off_t)at) != (ssize_t)piece)
			return err_sys(err, "cannot read the machine state");
		out->len += piece;
		if (link_send(mover->link, MESSAGE_STATE, 0, err))
			return -1;
		at += piece;
	}
	return 0;
}

static int await_state(struct mover *mover, uint64_t request, uint64_t *len_out, struct err *err)
{
	int fds[CONTROL_MAX_FDS], failed;
	uint64_t len = 0;
	json_t *reply;
	size_t nfds;

	if (control_finish(&mover->vm, request, MOVER_VM_MS, &reply, fds, &nfds, err))
		return -1;
	failed = jobj_u64(reply, "bytes", true, 1, STREAM_STATE_MAX, &len, err);
	json_decref(reply);
	if (!failed && nfds != 1)
		failed = err_set(err, ERR_INPUT, "the VM process gave no machine state");
	if (!failed)
		failed = send_state(mover, fds[0], len, err);
	for (size_t i = 0; i < nfds; i++)
		close(fds[i]);
	*len_out = len;
	return failed ? -1 : 0;
}

/* PREPARED; or an ACK, when the receiver lost a link that had not brought all. */
static int await_prepared(struct mover *mover, struct err *err)
{
	struct frame frame;
	uint64_t epoch;

	if (sender_next(&mover->sender, MOVER_SWITCH_MS, &frame, err))
		return -1;
	if (frame.type == MESSAGE_ACK)
		return mover_epoch_acked(mover, &frame, err)
			   ? -1
			   : err_set(err, ERR_LINK, "%s lost a link in the last epoch", mover->peer);
	if (frame.type != MESSAGE_PREPARED)
		return message_unexpected(mover->link, &frame, err);
	if (message_number(&frame, &epoch, err))
		return -1;
	if (epoch != mover->epoch)
		return err_set(err, ERR_INPUT, "%s prepared epoch %llu instead of %llu",
			       link_peer(mover->link), (unsigned long long)epoch,
			       (unsigned long long)mover->epoch);
	return 0;
}

static int last_pages(struct mover *mover, struct err *err)
{
	return mover->postcopy.on ? postcopy_last(mover, err)
				  : mover_epoch_pages(mover, EPOCH_CONSISTENT, err);
}

/* The last epoch: what is left of RAM goes out while the VM process saves the machine state. */
static int last_epoch(struct mover *mover, struct err *err)
{
	uint64_t request, state;
	unsigned broken = mover->sender.broken;

	if (link_fault(mover->link, FAULT_MOVER_PAUSED, err) ||
	    control_start(&mover->vm, json_pack("{s:s}", "cmd", "handover-state"), -1, &request, err) ||
	    last_pages(mover, err) || link_fault(mover->link, FAULT_MOVER_FINAL_PAGES, err) ||
	    await_state(mover, request, &state, err) || mover_disks_rest(mover, err))
		return -1;
	if (mover->sender.broken != broken)
		return err_set(err, ERR_LINK, "one of the links to %s broke in the last epoch", mover->peer);
	mover_watch(mover, true);
	if (mover_epoch_seal(mover, state, err) || link_fault(mover->link, FAULT_MOVER_STATE_SENT, err) ||
	    await_prepared(mover, err))
		return -1;
	return link_fault(mover->link, FAULT_MOVER_PREPARED, err);
}

/* A link broke while the guest is still this host's: it runs on, and so does the move.  The epoch is sealed without a state. */
static int take_back(struct mover *mover, uint64_t paused_at, const struct err *why, struct err *err)
{
	struct move_report *report = mover->report;

	mover_watch(mover, false);
	if (mover_call(mover, json_pack("{s:s}", "cmd", "handover-resume"), err))
		return -1;
	report->resumes++;
	report->resumes_ns += clock_mono_ns() - paused_at;
	mover->switching = false;
	mover_tell(mover, MOVE_COPY);
	mover_watch(mover, true);
	link_set_stall(mover->link, LINK_STALL_MS);
	mover_notice(mover, "a link broke in the switch-over (%s); the guest runs on here, and is copied on",
		     why->text);
	return 0;
}

/* COMMIT, and the direct answer to it.  A failure here says nothing about what the destination does. */
static int commit(struct mover *mover, struct err *err)
{
	struct message_commit message = {.term = mover->term};
	struct frame frame;
	uint64_t term;

	strcpy(message.session, mover->session);
	if (link_fault(mover->link, FAULT_MOVER_COMMIT_ALLOWED, err) ||
	    message_send_commit(mover->link, &message, err) || link_flush(mover->link, err) ||
	    link_fault(mover->link, FAULT_MOVER_COMMIT_SENT, err) ||
	    message_await(mover->link, MESSAGE_STARTED, MOVER_STARTED_MS, &frame, err) ||
	    message_number(&frame, &term, err))
		return -1;
	return term == mover->term
		   ? 0
		   : err_set(err, ERR_INPUT, "%s started another term", link_peer(mover->link));
}

/* From here on only the destination knows whether the guest runs there. */
static int find_out(struct mover *mover, const struct err *why, bool *started, struct err *err)
{
	struct err later;

	mover_notice(mover,
		     "no answer to the commit (%s); the guest stays paused here while %s is asked again",
		     why->text, mover->peer);
	if (!resolve_ask(mover, started, &later))
		return 0;
	return err_set(
	    err, ERR_STATE,
	    "the hand-over of VM '%s' is pending: %s; it stays paused here until 'drover resolve %s' has "
	    "an answer",
	    mover->config.name, later.text, mover->config.name);
}

static void report_last(struct mover *mover, uint64_t paused_at, uint64_t bytes_before)
{
	struct move_report *report = mover->report;
	struct pages_stats stats;
	uint64_t now = clock_mono_ns(), copy_ns = report->disk_ns, copy_bytes = report->disk_bytes;
	struct move_round *round = move_report_round(report);

	sender_stats(&mover->sender, &stats);
	report->bytes_sent = sender_bytes(&mover->sender);
	*round = (struct move_round){
	    .pages = mover->sender.pages, .bytes = report->bytes_sent - bytes_before, .ns = now - paused_at};
	report->downtime_ns = now - paused_at;
	report->total_ns = now - mover->started_ns;
	report->pages_sent = stats.pages;
	report->zero_pages = stats.zero_pages;
	report->delta_pages = stats.delta_pages;
	report->pages_again = mover->sender.repeated;
	for (unsigned i = 0; i < report->listed; i++) {
		copy_ns += report->round[i].ns;
		copy_bytes += report->round[i].bytes;
	}
	report->wire_mbps = copy_ns ? (uint64_t)((double)copy_bytes * 8e3 / (double)copy_ns) : 0;
}

/* When the user reads that the VM moved, its process here has let go of its memory and its name. */
static void await_end(struct mover *mover)
{
	uint64_t until = clock_mono_ns() + MOVER_VM_MS * 1000000ull;
	json_t *event;
	struct err err;

	while (clock_mono_ns() < until && (event = control_event(&mover->vm, MOVER_VM_MS, &err)))
		json_decref(event);
}

int switchover_run(struct mover *mover, bool *moved, struct err *err)
{
	uint64_t bytes_before = sender_bytes(&mover->sender), paused_at;
	unsigned broken;
	bool started = true;
	struct err why;

	*moved = false;
	mover->switching = true;
	/* A round may be over before each link had a part in it: one that broke meanwhile must not be found out in the pause. */
	sender_look(&mover->sender);
	broken = mover->sender.broken;
	mover_tell(mover, MOVE_SWITCH);
	mover->report->links = sender_live_links(&mover->sender);
	/* The VM process's answers are awaited by name in here: the link's waits must not read its socket. */
	mover_watch(mover, false);
	link_set_stall(mover->link, MOVER_SWITCH_MS);
	if (mover_check_cancel(mover, err) || pause_guest(mover, &paused_at, err))
		goto give_up;
	if (last_epoch(mover, err)) {
		why = *err;
		if ((link_broken(mover->link) || mover->sender.broken != broken) &&
		    mover->report->resumes < RESUMES_MAX && !take_back(mover, paused_at, &why, err))
			return 0;
		goto give_up;
	}
	mover_watch(mover, false);
	if (mover_call(mover, json_pack("{s:s}", "cmd", "handover-commit"), err))
		goto give_up;
	mover->committed = true;
	if (commit(mover, &why)) {
		mover->committed = false; /* the asking may be ended: the VM then stays pending */
		if (find_out(mover, &why, &started, err))
			return -1;
		if (!started) {
			if (resolve_tell(mover, false, err))
				return -1;
			return err_set(err, ERR_LINK, "%s will never start VM '%s' (%s); it runs on here",
				       mover->peer, mover->config.name, why.text);
		}
	}
	report_last(mover, paused_at, bytes_before);
	if (link_fault(mover->link, FAULT_MOVER_STARTED, err))
		return -1;
	if (mover->postcopy.on ? postcopy_finish(mover, err) : resolve_tell(mover, true, err))
		return -1;
	link_fault(mover->link, FAULT_MOVER_OUTCOME_TOLD, err);
	await_end(mover);
	mover_disks_settle(mover);
	*moved = true;
	return 0;
give_up:
	/* First of all the guest: its VM process resumes it when this connection closes.  The link may be stuck. */
	mover_let_go(mover);
	message_abort(mover->link, err);
	return -1;
}
