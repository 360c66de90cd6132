/* postcopy.c: the guest goes over before all of its RAM has (docs/stream.md, Post-copy): what is owed is said before and in the pause, and
 * is sent afterwards, as epochs like any other, for as long as that takes. */
#include "migrate/mover.h"

#include "common/io.h"
#include "common/jobj.h"

#include <poll.h>
#include <string.h>

enum {
	OWE_ROUNDS = 4, /* before the pause, at most */
	FEW = 256,      /* owed pages that need no round of their own */
	FAILURES = 3,   /* that are not the link's, one after the other */
	LACKING = 20,   /* tries to connect, MOVER_RETRY_NS apart, at which this process lacked something */
};

/* ---- before and in the pause ----------------------------------------------------------------------------------- */

static void collect(struct mover *mover, struct pageset *from)
{
	uint64_t pages[1024], cursor = 0;
	size_t n;

	while ((n = pageset_take(from, &cursor, pages, sizeof(pages) / sizeof(pages[0]))) > 0)
		for (size_t i = 0; i < n; i++)
			if (pageset_add(&mover->sender.volume[0].todo, pages[i]))
				pageset_add(&mover->postcopy.fresh, pages[i]);
}

/* In an epoch that is open on both sides from here on: what became dirty since the last time.  RAM's todo has all that is owed. */
static int owe(struct mover *mover, uint32_t flags, struct err *err)
{
	collect(mover, &mover->sender.volume[0].again);
	collect(mover, &mover->dirty);
	if (!mover->epoch_open)
		sender_take_again(&mover->sender);
	if (mover_epoch_begin(mover, flags, err) ||
	    message_send_owed(mover->link, mover->epoch, &mover->postcopy.fresh, err))
		return -1;
	/* RAM is held, disks are not. */
	return mover_epoch_more(mover, err);
}

static int owe_round(struct mover *mover, struct err *err)
{
	if (owe(mover, 0, err) || mover_epoch_seal(mover, 0, err) || mover_epoch_ack(mover, err))
		return -1;
	pageset_clear(&mover->postcopy.fresh);
	return mover_call(mover, json_pack("{s:s}", "cmd", "harvest"), err);
}

int postcopy_prepare(struct mover *mover, struct err *err)
{
	struct mover_postcopy *postcopy = &mover->postcopy;
	struct err why;

	if (!postcopy->on)
		return 0;
	/* What goes over from here on is another's to go on with only behind the start. */
	if (kept_end(mover, err))
		return -1;
	mover->sender.volume[0].held = true;
	sender_end_deltas(&mover->sender); /* what was sent becomes holes */
	/* Once more, after a pause that was taken back: what may not have been heard is said again, and loading the machine state there must not
	 * wait for a request link that cannot join meanwhile. */
	answerer_stop(&postcopy->answerer);
	if ((!postcopy->fresh.words &&
	     pageset_create(&postcopy->fresh, mover->config.memory_bytes / PAGES_SIZE, err)) ||
	    answerer_start(&postcopy->answerer, &mover->sender, mover_join_requests, mover, err))
		return -1;
	for (unsigned rounds = 0; rounds < OWE_ROUNDS;) {
		if (owe_round(mover, &why)) {
			if (!link_broken(mover->link))
				return err_set(err, why.kind, "%s", why.text);
			if (mover_rejoin(mover, &why, err))
				return -1;
			continue;
		}
		rounds++;
		if (pageset_count(&mover->dirty) < FEW)
			break;
	}
	return link_fault(mover->link, FAULT_POSTCOPY_MOVER_OWED, err);
}

int postcopy_last(struct mover *mover, struct err *err)
{
	return owe(mover, EPOCH_CONSISTENT, err);
}

/* ---- after the start ------------------------------------------------------------------------------------------- */

static int take_list(struct mover *mover, const struct message_owed *list, struct err *err)
{
	for (uint32_t i = 0; i < list->runs; i++) {
		uint64_t first, count;

		if (message_owed_run(list, i, mover->sender.volume[0].source.pages, &first, &count, err))
			return -1;
		pageset_add_range(&mover->sender.volume[0].todo, first, count);
	}
	return 0;
}

static int take_whole(struct mover *mover, const struct frame *frame, struct err *err)
{
	struct histogram *faults = &mover->report->postcopy.faults;
	json_t *json = message_json(frame, err), *of, *buckets;
	int failed;

	if (!json)
		return -1;
	failed = jobj_object(json, "faults", true, &of, err) ||
		 jobj_u64(of, "count", true, 0, INT64_MAX, &faults->count, err) ||
		 jobj_u64(of, "max_us", true, 0, INT64_MAX, &faults->max_us, err) ||
		 jobj_array(of, "buckets", true, &buckets, err);
	for (size_t i = 0; !failed && i < HISTOGRAM_BUCKETS; i++)
		faults->bucket[i] = (uint64_t)json_integer_value(json_array_get(buckets, i));
	json_decref(json);
	return failed ? -1 : 0;
}

/* What the receiver still lacks becomes RAM's todo; or it is whole. */
static int hear_rest(struct mover *mover, struct err *err)
{
	struct message_owed list = {.more = true};
	struct frame frame;

	pageset_clear(&mover->sender.volume[0].todo);
	pageset_clear(&mover->sender.volume[0].again);
	while (list.more) {
		if (link_next(mover->link, clock_mono_ns() + MOVER_ANSWER_MS * 1000000ull, &frame, err,
			      "did not say within %d s what it lacks", MOVER_ANSWER_MS / 1000))
			return -1;
		if (frame.type == MESSAGE_WHOLE) {
			mover->postcopy.whole = true;
			return take_whole(mover, &frame, err);
		}
		if (frame.type != MESSAGE_OWED)
			return message_unexpected(mover->link, &frame, err);
		if (message_owed(&frame, &list, err) || take_list(mover, &list, err))
			return -1;
	}
	return 0;
}

/* An epoch with all that is owed. */
static int push(struct mover *mover, struct err *err)
{
	if (mover_epoch_pages(mover, 0, err) || mover_epoch_seal(mover, 0, err) ||
	    mover_epoch_ack(mover, err))
		return -1;
	return hear_rest(mover, err);
}

/* The session takes no link any more.  0: the guest has all of its memory, or it may be an error of the moment; -1: it is down. */
static int ask_why(struct mover *mover, struct err *err)
{
	struct err ignored;
	uint64_t owed;
	bool started;

	if (resolve_once(mover, &started, &owed, &ignored))
		return 0;
	mover->postcopy.whole = started && owed == 0;
	mover->postcopy.lost = !started;
	return started ? 0
		       : err_set(err, ERR_STATE,
				 "VM '%s' is down: it ended on %s before all of its memory was there",
				 mover->config.name, mover->peer);
}

/* Without a control link: until there is one, or the guest needs nothing any more.  What is wrong on the way may mend itself at any
 * time; what this process lacks (memory, descriptors) another one may have, which `drover resolve` starts. */
static int come_back(struct mover *mover, struct err *err)
{
	char told[ERR_TEXT] = "";
	unsigned lacking = 0;

	for (;;) {
		struct err last;

		if (!mover_rejoin_once(mover, &last) && !hear_rest(mover, &last)) {
			mover->report->reconnects++;
			return 0;
		}
		if (last.kind == ERR_REFUSED && ask_why(mover, err))
			return -1;
		if (mover->postcopy.whole)
			return 0;
		lacking = last.kind == ERR_SYSTEM ? lacking + 1 : 0;
		if (lacking > LACKING)
			return err_set(err, ERR_SYSTEM, "%s", last.text);
		if (strcmp(told, last.text)) {
			memcpy(told, last.text, sizeof(told));
			mover_notice(mover, "not yet: %s", last.text);
		}
		if (mover_wait(mover, MOVER_RETRY_NS, err))
			return -1;
	}
}

static bool vm_is_gone(const struct mover *mover)
{
	struct pollfd vm = {.fd = mover->vm.fd};

	return poll(&vm, 1, 0) > 0;
}

static int push_all(struct mover *mover, struct err *err)
{
	unsigned failures = 0;
	struct err why;

	while (!mover->postcopy.whole) {
		/* There is no link when the answer to COMMIT was lost. */
		bool linked = mover->sender.control->link != NULL;

		if (linked && !push(mover, &why)) {
			failures = 0;
			continue;
		}
		if (linked && mover_check_cancel(mover, err))
			return -1;
		if (linked && !link_broken(mover->link) && (vm_is_gone(mover) || ++failures > FAILURES))
			return err_set(err, why.kind, "%s", why.text);
		if (linked)
			mover_notice(
			    mover, "the link broke (%s); connecting again, the guest waits for what it lacks",
			    why.text);
		if (come_back(mover, err))
			return -1;
	}
	return 0;
}

/* The guest has gone over, and the sending has ended before its end. */
static int give_up(struct mover *mover, struct err *err)
{
	struct err why = *err, last;

	if (mover->postcopy.lost) {
		(void)mover_call(mover, json_pack("{s:s}", "cmd", "handover-lent"), &last);
		return -1;
	}
	if (!vm_is_gone(mover))
		return err_set(
		    err, ERR_STATE,
		    "%s; VM '%s' runs on %s, and %llu pages of its memory are still here: 'drover resolve "
		    "%s' sends them on",
		    why.text, mover->config.name, mover->peer,
		    (unsigned long long)pageset_count(&mover->sender.volume[0].todo), mover->config.name);
	err_set(err, ERR_STATE, "VM '%s' is down: memory that it needed on %s was lost with its process here",
		mover->config.name, mover->peer);
	if ((!mover->link || link_broken(mover->link)) && mover_rejoin_once(mover, &last))
		return -1;
	message_abort(mover->link, err);
	return -1;
}

static int finish(struct mover *mover, struct err *err)
{
	struct move_report *report = mover->report;
	uint64_t began = clock_mono_ns(), bytes = sender_bytes(&mover->sender);
	struct pages_stats stats;

	mover->switching = true;
	mover->committed = false; /* to go now loses nothing */
	mover->sender.volume[0].held = false;
	report->postcopy.owed = pageset_count(&mover->sender.volume[0].todo);
	mover_tell(mover, MOVE_POSTCOPY_PUSH);
	if (mover->sender.control->link) {
		mover_watch(mover, true);
		link_set_stall(mover->link, LINK_STALL_MS);
	}
	if (push_all(mover, err))
		return give_up(mover, err);
	answerer_stop(&mover->postcopy.answerer);
	sender_stats(&mover->sender, &stats);
	report->postcopy.ns = clock_mono_ns() - began;
	report->postcopy.bytes = sender_bytes(&mover->sender) - bytes;
	report->bytes_sent += report->postcopy.bytes;
	report->pages_sent = stats.pages;
	report->zero_pages = stats.zero_pages;
	report->delta_pages = stats.delta_pages;
	report->pages_again = mover->sender.repeated;
	report->total_ns = clock_mono_ns() - mover->started_ns;
	if (link_fault(mover->link, FAULT_POSTCOPY_MOVER_WHOLE, err))
		return -1;
	return mover_call(mover, json_pack("{s:s}", "cmd", "handover-lent"), err);
}

int postcopy_finish(struct mover *mover, struct err *err)
{
	/* PREPARED, or STARTED, said that all of the last epoch is there. */
	sender_acked(&mover->sender, &(struct message_ack){.epoch = mover->epoch});
	mover->epoch_open = false;
	if (resolve_tell(mover, true, err))
		return give_up(mover, err);
	if (link_fault(mover->link, FAULT_POSTCOPY_MOVER_LENDING, err))
		return -1;
	return finish(mover, err);
}

int postcopy_resume(struct mover *mover, struct err *err)
{
	struct mover_postcopy *postcopy = &mover->postcopy;

	postcopy->on = mover->resumed = true;
	if (mover_open_sender(mover, err) || mover_add_ram(mover, err))
		return -1;
	sender_skip_ids(&mover->sender);
	mover->switching = true;
	if (come_back(mover, err))
		return give_up(mover, err);
	if (!postcopy->whole &&
	    (answerer_start(&postcopy->answerer, &mover->sender, mover_join_requests, mover, err) ||
	     sender_start_workers(&mover->sender, 2, err)))
		return give_up(mover, err);
	return finish(mover, err);
}
