#include "common/io.h"
#include "common/jobj.h"
#include "migrate/mover.h"
#include "migrate/plan.h"
#include "migrate/preflight.h"

#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

const char *const move_if_busy_words[] = {"throttle", "postcopy", "wait", "cancel", NULL};

/* Who the VM is, before anything is disturbed: a wrong name must fail before a connection is made. */
int mover_find_vm(struct mover *mover, struct err *err)
{
	const char *name, *uuid;
	json_t *status;
	int failed;

	if (control_connect(&mover->vm, mover->options->vm, err) ||
	    control_call(&mover->vm, json_pack("{s:s}", "cmd", "status"), MOVER_VM_MS, &status, NULL, NULL,
			 err))
		return -1;
	failed = jobj_string(status, "name", true, CONFIG_NAME_MAX, &name, err) ||
		 jobj_string(status, "uuid", true, CONFIG_UUID_LEN, &uuid, err);
	if (!failed) {
		strcpy(mover->config.name, name);
		strcpy(mover->config.uuid, uuid);
		mover_name_images(mover, status);
	}
	json_decref(status);
	return failed ? -1 : 0;
}

/* HELLO and WELCOME: versions, and which terms the other host has promised away. */
static int greet(struct mover *mover, uint64_t *promised, struct err *err)
{
	json_t *hello = mover_hello(mover, "move", err), *welcome;
	struct frame frame;
	int failed;

	if (!hello)
		return -1;
	if (message_send_json(mover->link, MESSAGE_HELLO, hello, err) ||
	    link_fault(mover->link, FAULT_MOVER_HELLO_SENT, err) ||
	    message_await(mover->link, MESSAGE_WELCOME, MOVER_ANSWER_MS, &frame, err))
		return -1;
	welcome = message_json(&frame, err);
	if (!welcome)
		return -1;
	failed = message_chosen(welcome, mover->link, err) ||
		 jobj_u64(welcome, "promised_term", true, 0, INT64_MAX - 1, promised, err) ||
		 jobj_bool(welcome, "deltas", false, &mover->deltas, err);
	json_decref(welcome);
	return failed ? err_context(err, "the greeting of %s", link_peer(mover->link)) : 0;
}

int mover_take_memory(struct mover *mover, int *ram_fd, int *dirty_fd, struct err *err)
{
	struct stat st;

	mover->ram_fd = *ram_fd;
	*ram_fd = -1;
	if (fstat(mover->ram_fd, &st))
		return err_sys(err, "cannot look at the guest's RAM");
	mover->touched = (uint64_t)st.st_blocks * 512 / PAGES_SIZE;
	if (pageset_map(&mover->dirty, *dirty_fd, mover->config.memory_bytes / PAGES_SIZE, err))
		return -1;
	*dirty_fd = -1;
	return 0;
}

int mover_attach(struct mover *mover, struct err *err)
{
	enum { RAM, DIRTY, FDS };
	int fds[CONTROL_MAX_FDS], failed;
	json_t *reply;
	size_t nfds;

	if (control_call(&mover->vm, json_pack("{s:s}", "cmd", "migrate"), MOVER_VM_MS, &reply, fds, &nfds,
			 err))
		return -1;
	if (control_expect_fds(fds, nfds, FDS, err)) {
		json_decref(reply);
		return -1;
	}
	config_free(&mover->config);
	failed = config_from_json(json_object_get(reply, "config"), &mover->config, err) ||
		 jobj_u64(reply, "term", true, 1, INT64_MAX - 1, &mover->term, err) ||
		 jobj_bool(reply, "paused", true, &mover->paused, err) ||
		 jobj_object(reply, "cpu", true, &mover->cpu, err);
	json_incref(mover->cpu);
	json_decref(reply);
	failed = failed || mover_take_memory(mover, &fds[RAM], &fds[DIRTY], err);
	io_close(&fds[RAM]);
	io_close(&fds[DIRTY]);
	return failed ? -1 : 0;
}

static int prepare(struct mover *mover, uint64_t promised, struct err *err)
{
	char host[256] = "unknown";
	bool postcopy = mover->options->postcopy || mover->options->if_busy == MOVE_POSTCOPY, can = false;
	struct frame frame;
	json_t *begin, *ready, *disks = mover_disks_learn(mover, err);
	int failed;

	if (!disks)
		return -1;
	mover->term = (promised > mover->term ? promised : mover->term) + 1;
	(void)gethostname(host, sizeof(host) - 1);
	begin = json_pack("{s:O, s:o, s:I, s:o, s:I, s:b, s:s, s:I, s:b, s:b}", "cpu", mover->cpu, "disks",
			  disks, "term", (json_int_t)mover->term, "config", config_to_json(&mover->config),
			  "touched_bytes", (json_int_t)(mover->touched * PAGES_SIZE), "paused", mover->paused,
			  "from", host, "reconnect_ms", (json_int_t)(mover->options->reconnect_ns / 1000000),
			  "postcopy", postcopy, "compare", true);
	if (!begin)
		return err_set(err, ERR_SYSTEM, "out of memory for the BEGIN message");
	if (message_send_json(mover->link, MESSAGE_BEGIN, begin, err) ||
	    message_await(mover->link, MESSAGE_READY, MOVER_ANSWER_MS, &frame, err))
		return -1;
	ready = message_json(&frame, err);
	failed =
	    !ready || jobj_bool(ready, "postcopy", false, &can, err) || mover_disks_ready(mover, ready, err);
	json_decref(ready);
	if (!failed && postcopy && !can)
		failed = err_set(err, ERR_REFUSED, "drover on %s is too old for post-copy", mover->peer);
	return failed ? -1 : link_fault(mover->link, FAULT_MOVER_ACCEPTED, err);
}

int mover_send_deltas(struct mover *mover, struct err *err)
{
	/* Who wants pages sent as they are wants no work on them. */
	if (!mover->deltas || mover->options->packing == PACKER_NONE)
		return 0;
	return sender_send_deltas(&mover->sender, err);
}

static int fill_sender(struct mover *mover, struct err *err)
{
	if (mover_add_ram(mover, err) || mover_send_deltas(mover, err))
		return -1;
	sender_set_control(&mover->sender, mover->link, 0);
	if (mover_disks_add(mover, err))
		return -1;
	kept_begin(mover);
	return 0;
}

int mover_start_workers(struct mover *mover, struct err *err)
{
	return sender_start_workers(&mover->sender,
				    preflight_links(mover->options->links, link_rtt_ns(mover->link)), err);
}

uint64_t mover_pause_limit(const struct move_options *options)
{
	/* Who chose post-copy goes over in any case. */
	return options->postcopy || options->if_busy == MOVE_POSTCOPY ? UINT64_MAX : options->downtime_ns;
}

/* What cannot fit is said before anything is disturbed.  A busy host may answer late once. */
static int check_way(struct mover *mover, struct err *err)
{
	enum { TRIES = 5 };
	uint64_t rtt_ns = link_rtt_ns(mover->link), limit_ns = mover_pause_limit(mover->options);

	for (unsigned i = 0; i < TRIES && plan_way_fits(rtt_ns, limit_ns, err); i++)
		rtt_ns = link_measure(mover->link);
	return plan_way_fits(rtt_ns, limit_ns, err)
		   ? err_context(err, "the way to %s", link_peer(mover->link))
		   : 0;
}

/* A session, and a sender for it. */
static int begin(struct mover *mover, struct err *err)
{
	uint64_t promised;

	if (mover_find_vm(mover, err))
		return -1;
	mover_tell(mover, MOVE_CONNECT);
	if (mover_connect(mover, err))
		return -1;
	mover_watch(mover, true);
	if (link_fault(mover->link, FAULT_MOVER_CONNECTED, err))
		return -1;
	if (check_way(mover, err))
		return -1;
	mover_tell(mover, MOVE_PREPARE);
	/* Beside the greeting: a connection takes ten round trips until it carries anything. */
	if (mover_open_sender(mover, err) || mover_start_workers(mover, err))
		return -1;
	if (greet(mover, &promised, err) || mover_attach(mover, err) || prepare(mover, promised, err))
		return -1;
	mover_tell(mover, MOVE_COPY);
	return fill_sender(mover, err);
}

static int track(struct mover *mover, struct err *err)
{
	if (mover->tracked)
		return 0;
	return mover_call(mover, json_pack("{s:s}", "cmd", "track"), err) ||
		       link_fault(mover->link, FAULT_MOVER_ATTACHED, err)
		   ? -1
		   : 0;
}

static int run(struct mover *mover, struct err *err)
{
	bool moved = false, begun = false;

	if (mover->options->resume && resume_begin(mover, &begun, err))
		return -1;
	if (!begun && begin(mover, err))
		return -1;
	if (!mover->listed &&
	    (mover_disks_seed(mover, err) || track(mover, err) || precopy_begin(mover, err)))
		return -1;
	while (!moved)
		if ((!mover->postcopy.on && precopy_run(mover, err)) || postcopy_prepare(mover, err) ||
		    switchover_run(mover, &moved, err))
			return -1;
	return 0;
}

struct move_round *move_report_round(struct move_report *report)
{
	if (report->listed == MOVE_MAX_ROUNDS) {
		memmove(report->round + 1, report->round + 2, (MOVE_MAX_ROUNDS - 2) * sizeof(*report->round));
		report->listed--;
	}
	report->rounds++;
	report->round[report->listed] = (struct move_round){0};
	return &report->round[report->listed++];
}

int move_vm(const struct move_options *options, const struct move_observer *observer,
	    struct move_report *report, struct err *err)
{
	struct mover mover;
	int status;

	memset(report, 0, sizeof(*report));
	status = mover_open(&mover, options, observer, report, err);
	if (!status) {
		status = run(&mover, err);
		/* Without a word the receiver would keep what it has, and wait for this sender to come back. */
		if (status && mover.link && !mover.switching)
			message_abort(mover.link, err);
	}
	if (!status) {
		mover_tell_note(&mover);
		report->term = mover.term;
		mover_tell(&mover, MOVE_DONE);
	}
	mover_close(&mover);
	return status;
}
