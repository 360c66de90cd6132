/* resolve.c: a hand-over whose end is not known here: ask the destination, tell the VM process. */
#include "common/io.h"
#include "common/jobj.h"
#include "migrate/mover.h"

#include <poll.h>
#include <string.h>
#include <unistd.h>

enum { RETRY_MS = 500 };
#define ASK_FOR_NS 60000000000ull

int resolve_once(struct mover *mover, bool *started, uint64_t *owed, struct err *err)
{
	const char *outcome = "", *detail = "";
	json_t *hello, *answer;
	struct frame frame;
	int failed;

	*owed = 0;
	if (mover_connect(mover, err))
		return -1;
	mover_watch(mover, false);
	hello = mover_hello(mover, "outcome", err);
	if (!hello)
		return -1;
	json_object_set_new(hello, "term", json_integer((json_int_t)mover->term));
	if (message_send_json(mover->link, MESSAGE_HELLO, hello, err) ||
	    message_await(mover->link, MESSAGE_OUTCOME, MOVER_ANSWER_MS, &frame, err))
		return -1;
	answer = message_json(&frame, err);
	if (!answer)
		return -1;
	failed = jobj_string(answer, "outcome", true, 16, &outcome, err) ||
		 jobj_string(answer, "detail", false, 300, &detail, err) ||
		 jobj_u64(answer, "owed", false, 0, INT64_MAX, owed, err);
	*started = !strcmp(outcome, "started");
	if (!failed && !*started && strcmp(outcome, "never"))
		failed = err_set(err, ERR_INPUT, "%s gave an outcome that is neither 'started' nor 'never'",
				 mover->peer);
	json_decref(answer);
	return failed ? -1 : 0;
}

int resolve_ask(struct mover *mover, bool *started, struct err *err)
{
	uint64_t until = clock_mono_ns() + ASK_FOR_NS;

	mover_tell(mover, MOVE_ASK);
	for (;;) {
		struct pollfd tick = {.fd = -1};
		uint64_t owed;

		if (!resolve_once(mover, started, &owed, err))
			return 0;
		/* A refusal is an answer about this question, not about the link; asking again may mend it, too. */
		if (err->kind == ERR_CANCELLED || (mover->options->cancel && *mover->options->cancel) ||
		    clock_mono_ns() >= until)
			return -1;
		poll(&tick, 1, RETRY_MS);
	}
}

int resolve_tell(struct mover *mover, bool started, struct err *err)
{
	return mover_call(
	    mover,
	    json_pack("{s:s, s:s}", "cmd", "handover-outcome", "outcome", started ? "started" : "never"),
	    err);
}

struct adopted {
	bool lending;  /* the guest is known to run there */
	bool postcopy; /* if it does, it needs memory from here */
};

/* Take the pending hand-over on; the peer, term and session are the VM process's. */
static int adopt(struct mover *mover, struct adopted *adopted, struct err *err)
{
	const char *peer, *session;
	int fds[CONTROL_MAX_FDS], failed;
	json_t *reply;
	size_t nfds;

	if (control_connect(&mover->vm, mover->options->vm, err) ||
	    control_call(&mover->vm, json_pack("{s:s}", "cmd", "pending"), MOVER_VM_MS, &reply, fds, &nfds,
			 err))
		return -1;
	if (control_expect_fds(fds, nfds, 1, err)) {
		json_decref(reply);
		return -1;
	}
	failed = config_from_json(json_object_get(reply, "config"), &mover->config, err) ||
		 jobj_string(reply, "peer", true, LEDGER_PEER_MAX, &peer, err) ||
		 jobj_u64(reply, "term", true, 1, INT64_MAX, &mover->term, err) ||
		 jobj_string(reply, "session", true, LEDGER_SESSION_LEN, &session, err) ||
		 jobj_bool(reply, "lending", true, &adopted->lending, err) ||
		 jobj_bool(reply, "postcopy", true, &adopted->postcopy, err);
	if (failed) {
		io_close(&fds[0]);
	} else {
		mover->ram_fd = fds[0];
		strcpy(mover->session, session);
		if (!*mover->peer)
			failed = mover_set_peer(mover, peer, err);
	}
	json_decref(reply);
	return failed ? -1 : 0;
}

int move_resolve(const struct move_options *options, const struct move_observer *observer, bool *started,
		 struct err *err)
{
	struct move_report report = {0};
	struct adopted adopted = {false};
	struct mover mover;
	int status = mover_open(&mover, options, observer, &report, err);

	if (!status)
		status = adopt(&mover, &adopted, err);
	*started = true;
	if (!status && !adopted.lending) {
		status = resolve_ask(&mover, started, err);
		if (!status)
			status = resolve_tell(&mover, *started, err);
	}
	if (!status && *started && adopted.postcopy)
		status = postcopy_resume(&mover, err);
	mover_close(&mover);
	return status;
}
