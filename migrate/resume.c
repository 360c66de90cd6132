/* resume.c: a mover that goes on where another one died (docs/stream.md, A mover that dies). */
#include "common/io.h"
#include "common/jobj.h"
#include "migrate/mover.h"

#include <string.h>

enum { ACK_MS = 110000 }; /* the disks there may still be making an epoch durable; below SERVE_QUIET_MS */

/* The descriptors of the answer, in their order. */
enum { RAM, DIRTY, DUE, NOTES, FDS };

static int take_reply(struct mover *mover, const json_t *reply, struct err *err)
{
	const char *session;

	config_free(&mover->config);
	if (config_from_json(json_object_get(reply, "config"), &mover->config, err) ||
	    jobj_u64(reply, "term", true, 1, INT64_MAX - 1, &mover->term, err) ||
	    jobj_bool(reply, "paused", true, &mover->paused, err) ||
	    jobj_bool(reply, "tracked", true, &mover->tracked, err) ||
	    jobj_string(reply, "session", true, LEDGER_SESSION_LEN, &session, err))
		return -1;
	strcpy(mover->session, session);
	return 0;
}

/* What was taken over is -1 in fds. */
static int take_fds(struct mover *mover, int fds[FDS], struct err *err)
{
	struct kept_notes notes;
	struct pageset due;

	if (mover_take_memory(mover, &fds[RAM], &fds[DIRTY], err) ||
	    kept_map(&mover->kept, fds[NOTES], &notes, err))
		return -1;
	fds[NOTES] = -1;
	mover->listed = notes.listed;
	mover->deltas = notes.deltas;
	if (mover_open_sender(mover, err) || mover_add_ram(mover, err) || mover_send_deltas(mover, err) ||
	    mover_disks_recall(mover, &notes, err) || mover_disks_add(mover, err) ||
	    pageset_map(&due, fds[DUE], sender_span(&mover->sender), err))
		return -1;
	fds[DUE] = -1;
	/* Whoever died may have died while it changed them. */
	pageset_mend(&mover->dirty);
	pageset_mend(&due);
	sender_keep(&mover->sender, &due);
	return 0;
}

/* Become the VM process's mover, and know what the one before knew.  ERR_STATE, ERR_INPUT: there is nothing to go on with. */
static int adopt(struct mover *mover, struct err *err)
{
	int fds[CONTROL_MAX_FDS], failed;
	json_t *reply;
	size_t nfds;

	if (control_call(&mover->vm, json_pack("{s:s, s:s}", "cmd", "go-on", "peer", mover->host.url),
			 MOVER_VM_MS, &reply, fds, &nfds, err))
		return -1;
	if (control_expect_fds(fds, nfds, FDS, err)) {
		json_decref(reply);
		return -1;
	}
	failed = take_reply(mover, reply, err) || take_fds(mover, fds, err);
	json_decref(reply);
	for (size_t i = 0; i < FDS; i++)
		io_close(&fds[i]);
	return failed ? -1 : 0;
}

/* Links of the mover before may still hold pages of the epoch that was begun: it is sealed as one that lacks some, so that nothing
 * of it is applied any more, and no epoch of the disks is closed with it.  What is due follows in the next one. */
static int end_epoch(struct mover *mover, struct err *err)
{
	struct message_epoch epoch = {.term = mover->term};
	struct message_seal seal = {0};
	struct frame frame;

	if (!mover->epoch_open)
		mover->epoch++;
	mover->epoch_open = true;
	epoch.epoch = seal.epoch = mover->epoch;
	epoch.parent = mover->epoch - 1;
	sender_seal_short(&mover->sender, &seal);
	if ((mover->their_epoch != mover->epoch && message_send_epoch(mover->link, &epoch, err)) ||
	    message_send_seal(mover->link, &seal, err) || link_flush(mover->link, err) ||
	    sender_await(&mover->sender, MESSAGE_ACK, ACK_MS, &frame, err))
		return -1;
	mover->their_epoch = mover->epoch;
	return mover_epoch_acked(mover, &frame, err);
}

static int go_on(struct mover *mover, struct err *err)
{
	mover->resumed = true;
	sender_skip_ids(&mover->sender);
	if (mover_rejoin_once(mover, err) || end_epoch(mover, err))
		return -1;
	sender_take_due(&mover->sender);
	return mover_start_workers(mover, err);
}

/* There is nothing to go on with, or nothing here or there any more. */
static int anew(struct mover *mover, const struct err *why, struct err *err)
{
	mover_notice(mover, "this move begins anew, with all of the VM: %s", why->text);
	mover_close(mover);
	return mover_open(mover, mover->options, mover->observer, mover->report, err);
}

int resume_begin(struct mover *mover, bool *begun, struct err *err)
{
	struct err why;

	*begun = false;
	if (mover_find_vm(mover, err))
		return -1;
	if (adopt(mover, &why)) {
		if (why.kind == ERR_STATE || why.kind == ERR_INPUT)
			return anew(mover, &why, err);
		*err = why;
		return -1;
	}
	mover_tell(mover, MOVE_CONNECT);
	if (!go_on(mover, &why)) {
		*begun = mover->report->resumed = true;
		mover_tell(mover, MOVE_COPY);
		return 0;
	}
	if (why.kind == ERR_REFUSED)
		return anew(mover, &why, err);
	/* The other host may not be there just now: the VM process keeps what there is a while longer. */
	mover->kept.stays = why.kind == ERR_LINK;
	*err = why;
	return why.kind == ERR_LINK ? err_context(err, "the move cannot be gone on with just now") : -1;
}
