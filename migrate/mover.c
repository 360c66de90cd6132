#include "migrate/mover.h"

#include "common/io.h"
#include "common/jobj.h"
#include "common/text.h"

#include <errno.h>
#include <poll.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/random.h>
#include <sys/timerfd.h>
#include <unistd.h>

enum { TICK_NS = 100000000, LOOK_NS = 10000000 };

static void new_session(char session[LEDGER_SESSION_LEN + 1])
{
	uint8_t random[LEDGER_SESSION_LEN / 2];

	while (getrandom(random, sizeof(random), 0) != (ssize_t)sizeof(random))
		;
	text_hex(random, sizeof(random), session);
}

int mover_set_peer(struct mover *mover, const char *word, struct err *err)
{
	const struct move_options *options = mover->options;

	if (strlen(word) > LEDGER_PEER_MAX)
		return err_set(err, ERR_USAGE, "the destination's URL is longer than %d characters",
			       LEDGER_PEER_MAX);
	strcpy(mover->peer, word);
	peer_free(&mover->host);
	if (peer_find(word, &mover->host, err))
		return -1;
	peer_override(&mover->host, options->identity, options->known_hosts, options->remote_command);
	return peer_target(&mover->host, &mover->target, err);
}

int mover_open(struct mover *mover, const struct move_options *options, const struct move_observer *observer,
	       struct move_report *report, struct err *err)
{
	struct itimerspec tick = {.it_interval.tv_nsec = TICK_NS, .it_value.tv_nsec = TICK_NS};

	*mover = (struct mover){.options = options,
				.observer = observer,
				.report = report,
				.vm.fd = -1,
				.ram_fd = -1,
				.timer_fd = -1,
				.dirty.fd = -1,
				.postcopy = {.fresh.fd = -1},
				.kept = {.fd = -1},
				.started_ns = clock_mono_ns()};
	/* Without one the peer is the one that a pending hand-over names. */
	if (options->peer && mover_set_peer(mover, options->peer, err))
		return -1;
	new_session(mover->session);
	mover->timer_fd = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK);
	if (mover->timer_fd < 0 || timerfd_settime(mover->timer_fd, 0, &tick, NULL))
		return err_sys(err, "cannot make a timer");
	return 0;
}

void mover_let_go(struct mover *mover)
{
	struct err ignored;
	uint64_t id;

	if (mover->vm.fd < 0)
		return;
	/* Where the VM process has nothing to keep, or must not let go, it says so to nobody. */
	if (mover->kept.page && !mover->kept.stays)
		(void)control_start(&mover->vm, json_pack("{s:s}", "cmd", "leave"), -1, &id, &ignored);
	control_close(&mover->vm);
}

void mover_close(struct mover *mover)
{
	/* First of all the guest: its VM process does what is right for its phase.  Links may take their time. */
	mover_let_go(mover);
	answerer_stop(&mover->postcopy.answerer);
	sender_close(&mover->sender);
	mover_disks_close(mover);
	link_close(mover->link);
	mover->link = NULL;
	pageset_close(&mover->dirty);
	pageset_close(&mover->postcopy.fresh);
	kept_close(&mover->kept);
	io_close(&mover->ram_fd);
	io_close(&mover->timer_fd);
	peer_free(&mover->host);
	buf_free(&mover->command);
	config_free(&mover->config);
	json_decref(mover->cpu);
}

int mover_connect(struct mover *mover, struct err *err)
{
	/* The sender must not look at a link that is gone. */
	if (mover->sender.control && mover->sender.control->link)
		sender_set_control(&mover->sender, NULL, 0);
	link_close(mover->link);
	mover->link = link_open_ssh(&mover->target, err);
	return mover->link ? 0 : -1;
}

int mover_check_cancel(struct mover *mover, struct err *err)
{
	if (!mover->committed && mover->options->cancel && *mover->options->cancel)
		return err_set(err, ERR_CANCELLED, "cancelled");
	return 0;
}

static int on_tick(void *arg, short revents, struct err *err)
{
	struct mover *mover = arg;
	uint64_t ticks;

	(void)revents;
	(void)!read(mover->timer_fd, &ticks, sizeof(ticks));
	mover_tell(mover, mover->progress.phase);
	return mover_check_cancel(mover, err);
}

static bool is_cancel(const json_t *event)
{
	const char *name = json_string_value(json_object_get(event, "event"));

	return name && !strcmp(name, "cancel");
}

static int on_vm(void *arg, short revents, struct err *err)
{
	struct mover *mover = arg;
	json_t *event = control_event(&mover->vm, 0, err);
	bool cancel = is_cancel(event);

	(void)revents;
	if (!event && err->kind != ERR_NONE)
		return err_set(err, ERR_LINK, "the process of VM '%s' has ended", mover->options->vm);
	json_decref(event);
	return cancel ? err_set(err, ERR_CANCELLED, "cancelled by 'drover cancel'") : 0;
}

void mover_watch(struct mover *mover, bool vm)
{
	struct link_watch watches[2] = {
	    {.fd = mover->timer_fd, .events = POLLIN, .ready = on_tick, .arg = mover},
	    {.fd = mover->vm.fd, .events = POLLIN, .ready = on_vm, .arg = mover},
	};

	link_watch(mover->link, watches, vm ? 2 : 1);
}

void mover_tell(struct mover *mover, enum move_phase phase)
{
	uint64_t now = clock_mono_ns();

	if (mover->progress.phase == phase && now - mover->progress_told_ns < TICK_NS)
		return;
	mover->progress.phase = phase;
	mover->progress_told_ns = now;
	if (mover->observer && mover->observer->progress)
		mover->observer->progress(mover->observer->arg, &mover->progress);
}

void mover_notice(struct mover *mover, const char *format, ...)
{
	char text[512];
	va_list args;

	if (!mover->observer || !mover->observer->notice)
		return;
	va_start(args, format);
	vsnprintf(text, sizeof(text), format, args);
	va_end(args);
	mover->observer->notice(mover->observer->arg, text);
}

int mover_call(struct mover *mover, json_t *request, struct err *err)
{
	return mover_ask(mover, request, NULL, err);
}

int mover_ask(struct mover *mover, json_t *request, json_t **reply, struct err *err)
{
	if (!control_call(&mover->vm, request, MOVER_VM_MS, reply, NULL, NULL, err))
		return 0;
	/* A cancelled VM process refuses what the mover still asks of it; its event says why. */
	for (size_t i = 0; i < json_array_size(mover->vm.events); i++)
		if (is_cancel(json_array_get(mover->vm.events, i)))
			return err_set(err, ERR_CANCELLED, "cancelled by 'drover cancel'");
	return -1;
}

int mover_touched(const struct mover *mover, struct pageset *set, uint64_t *count, struct err *err)
{
	off_t size = (off_t)mover->config.memory_bytes, data = 0, hole;

	*count = 0;
	while (data < size && (data = lseek(mover->ram_fd, data, SEEK_DATA)) >= 0) {
		hole = lseek(mover->ram_fd, data, SEEK_HOLE);
		if (hole < 0)
			break;
		*count +=
		    pageset_add_range(set, (uint64_t)data / PAGES_SIZE, (uint64_t)(hole - data) / PAGES_SIZE);
		data = hole;
	}
	return data < 0 && errno != ENXIO ? err_sys(err, "cannot read the guest's RAM") : 0;
}

void mover_tell_note(struct mover *mover)
{
	struct err note;

	if (sender_note(&mover->sender, &note))
		mover_notice(mover, "%s", note.text);
}

/* ---- epochs ---------------------------------------------------------------------------------------------------- */

/* Between frames, and while others send: account, and look up now and then. */
static int tick(void *arg, struct err *err)
{
	struct mover *mover = arg;
	uint64_t now, pages;

	mover->frames++;
	if (mover->frames == 4 && mover->postcopy.on &&
	    link_fault(mover->link, FAULT_POSTCOPY_MOVER_MIDDLE, err))
		return -1;
	if (mover->frames == 1 && mover->epoch == 1 && link_fault(mover->link, FAULT_MOVER_ROUND_MIDDLE, err))
		return -1;
	if (mover_check_cancel(mover, err))
		return -1;
	now = clock_mono_ns();
	if (now - mover->looked_ns < LOOK_NS)
		return 0;
	mover->looked_ns = now;
	pages = __atomic_load_n(&mover->sender.pages, __ATOMIC_RELAXED);
	if (mover->copy_ns && mover->report->rounds == 0 && !mover->switching &&
	    precopy_look(mover, pages, err))
		return -1;
	mover->progress.pages_left =
	    pages < mover->progress.pages_total ? mover->progress.pages_total - pages : 0;
	mover->progress.bytes_sent = sender_bytes(&mover->sender);
	mover_tell(mover, mover->progress.phase);
	mover_tell_note(mover);
	return link_check(mover->link, err);
}

int mover_epoch_begin(struct mover *mover, uint32_t flags, struct err *err)
{
	struct message_epoch epoch = {.term = mover->term, .flags = flags};
	/* In the switch-over disks have their own place (mover_disks_rest), and behind it none. */
	bool disks = mover->disks.count > 0 && !mover->switching;

	if (disks && mover_disks_begin(mover, mover->epoch_open, err))
		return -1;
	if (!mover->epoch_open) {
		mover->epoch++;
		mover->epoch_open = true;
	}
	epoch.epoch = mover->epoch;
	epoch.parent = mover->epoch - 1;
	if (disks || (flags & EPOCH_CONSISTENT && mover->disks.count > 0))
		epoch.disks = mover->disks.id;
	if (mover->their_epoch == mover->epoch)
		return 0;
	mover->their_epoch = mover->epoch;
	return message_send_epoch(mover->link, &epoch, err);
}

int mover_epoch_pages(struct mover *mover, uint32_t flags, struct err *err)
{
	/* A page may go out once in an epoch: one that goes on takes no more of them in. */
	if (!mover->epoch_open) {
		sender_take_again(&mover->sender);
		if (mover->dirty.words)
			sender_take_dirty(&mover->sender, &mover->dirty);
	}
	if (mover_epoch_begin(mover, flags, err))
		return -1;
	mover->frames = 0;
	mover->progress.pages_total = mover->progress.pages_left = sender_todo(&mover->sender);
	return mover_epoch_more(mover, err);
}

int mover_epoch_more(struct mover *mover, struct err *err)
{
	return sender_round(&mover->sender, mover->epoch, err);
}

int mover_epoch_seal(struct mover *mover, uint64_t state_bytes, struct err *err)
{
	struct message_seal seal;

	sender_seal(&mover->sender, &seal);
	seal.state_bytes = state_bytes;
	return message_send_seal(mover->link, &seal, err) || link_flush(mover->link, err) ? -1 : 0;
}

static void take_ack(struct mover *mover, const struct message_ack *ack)
{
	sender_acked(&mover->sender, ack);
	mover_disks_acked(mover, ack);
	mover->epoch_open = false;
}

int mover_epoch_acked(struct mover *mover, const struct frame *frame, struct err *err)
{
	struct message_ack ack;

	if (message_ack(frame, &ack, err))
		return -1;
	if (ack.epoch != mover->epoch)
		return err_set(err, ERR_INPUT, "%s acknowledged epoch %llu instead of %llu",
			       link_peer(mover->link), (unsigned long long)ack.epoch,
			       (unsigned long long)mover->epoch);
	take_ack(mover, &ack);
	return 0;
}

/* ---- joining --------------------------------------------------------------------------------------------------- */

struct whereabouts {
	uint64_t epoch;         /* the last one that the receiver has begun */
	struct message_ack ack; /* the last one that it gave */
};

static int read_ack(const json_t *welcome, struct message_ack *ack, struct err *err)
{
	const json_t *lost = json_object_get(welcome, "lost");

	ack->links = (unsigned)json_array_size(lost);
	if (!json_is_array(lost) || ack->links > SEAL_LINKS)
		return err_set(err, ERR_INPUT, "'lost' is not a list of links");
	for (unsigned i = 0; i < ack->links; i++)
		ack->lost[i] = (uint32_t)json_integer_value(json_array_get(lost, i));
	return jobj_u64(welcome, "complete", true, 0, INT64_MAX - 1, &ack->epoch, err);
}

enum join_as { JOIN_PAGES, JOIN_CONTROL, JOIN_REQUESTS };

/* HELLO and WELCOME of a link that joins. */
static int join(const struct mover *mover, struct link *link, uint32_t id, enum join_as as,
		struct whereabouts *there, struct err *err)
{
	json_t *hello = mover_hello(mover, "join", err), *welcome;
	struct frame frame;
	int failed;

	if (!hello)
		return -1;
	json_object_set_new(hello, "link", json_integer((json_int_t)id));
	json_object_set_new(hello, "control", json_boolean(as == JOIN_CONTROL));
	json_object_set_new(hello, "requests", json_boolean(as == JOIN_REQUESTS));
	if (message_send_json(link, MESSAGE_HELLO, hello, err) ||
	    message_await(link, MESSAGE_WELCOME, MOVER_ANSWER_MS, &frame, err))
		return -1;
	welcome = message_json(&frame, err);
	if (!welcome)
		return -1;
	failed = message_chosen(welcome, link, err) ||
		 jobj_u64(welcome, "epoch", true, 0, INT64_MAX - 1, &there->epoch, err) ||
		 read_ack(welcome, &there->ack, err);
	json_decref(welcome);
	return failed ? err_context(err, "the greeting of %s", link_peer(link)) : 0;
}

static struct link *connect_further(void *arg, struct ssh_attempt *attempt, struct err *err)
{
	const struct mover *mover = arg;
	struct ssh_target target = mover->target;

	target.attempt = attempt;
	target.further = true;
	return link_open_ssh(&target, err);
}

static int join_further(void *mover, struct link *link, uint32_t id, struct err *err)
{
	struct whereabouts there;

	return join(mover, link, id, JOIN_PAGES, &there, err);
}

struct link *mover_join_requests(void *mover, uint32_t id, struct ssh_attempt *attempt, struct err *err)
{
	struct link *link = connect_further(mover, attempt, err);
	struct whereabouts there;

	if (link && join(mover, link, id, JOIN_REQUESTS, &there, err)) {
		link_close(link);
		link = NULL;
	}
	return link;
}

int mover_open_sender(struct mover *mover, struct err *err)
{
	const struct sender_session session = {
	    .arg = mover, .connect = connect_further, .join = join_further, .tick = tick};

	if (sender_open(&mover->sender, &session, mover->options->packing, err))
		return -1;
	mover->sender.bytes_per_s = mover->options->bytes_per_s;
	return 0;
}

int mover_add_ram(struct mover *mover, struct err *err)
{
	return sender_add_ram(&mover->sender, mover->config.memory_bytes / PAGES_SIZE, mover->ram_fd, err);
}

int mover_wait(struct mover *mover, uint64_t ns, struct err *err)
{
	struct pollfd fds[] = {{.fd = mover->timer_fd, .events = POLLIN},
			       {.fd = mover->vm.fd, .events = POLLIN}};

	for (uint64_t now = clock_mono_ns(), until = now + ns; now < until; now = clock_mono_ns()) {
		if (poll(fds, 2, (int)((until - now + 999999) / 1000000)) < 0)
			continue;
		if ((fds[0].revents && on_tick(mover, 0, err)) || (fds[1].revents && on_vm(mover, 0, err)))
			return -1;
	}
	return 0;
}

int mover_rejoin_once(struct mover *mover, struct err *err)
{
	uint32_t id = sender_take_id(&mover->sender);
	struct whereabouts there;

	if (mover_connect(mover, err) || join(mover, mover->link, id, JOIN_CONTROL, &there, err))
		return -1;
	if (mover->resumed) {
		mover->epoch = there.epoch;
		mover->epoch_open = there.ack.epoch != there.epoch;
		mover->resumed = false;
	}
	if (there.epoch > mover->epoch || there.epoch + 1 < mover->epoch)
		return err_set(err, ERR_INPUT, "%s is in epoch %llu instead of %llu", mover->peer,
			       (unsigned long long)there.epoch, (unsigned long long)mover->epoch);
	mover->their_epoch = there.epoch;
	/* Its acknowledgement was lost with the link. */
	if (there.ack.epoch == mover->epoch && mover->epoch_open)
		take_ack(mover, &there.ack);
	sender_set_control(&mover->sender, mover->link, id);
	mover_watch(mover, true);
	return 0;
}

int mover_rejoin(struct mover *mover, const struct err *why, struct err *err)
{
	uint64_t until = clock_mono_ns() + mover->options->reconnect_ns;
	struct err last;

	mover_notice(mover, "the link broke (%s); connecting again, the guest runs on here", why->text);
	while (mover_rejoin_once(mover, &last)) {
		if (last.kind == ERR_INPUT)
			return err_set(err, ERR_INPUT, "%s", last.text);
		if (last.kind == ERR_REFUSED)
			return err_set(err, ERR_LINK, "%s; before that, the link broke: %s", last.text,
				       why->text);
		if (clock_mono_ns() >= until)
			return err_set(err, ERR_LINK, "%s, and did not come back: %s", why->text, last.text);
		if (mover_wait(mover, MOVER_RETRY_NS, err))
			return -1;
	}
	mover->report->reconnects++;
	return 0;
}

json_t *mover_hello(const struct mover *mover, const char *purpose, struct err *err)
{
	json_t *hello =
	    json_pack("{s:i, s:i, s:s, s:s, s:s, s:{s:s, s:s}}", "protocol", STREAM_PROTOCOL, "protocol_min",
		      STREAM_PROTOCOL_MIN, "drover", DROVER_VERSION, "purpose", purpose, "session",
		      mover->session, "vm", "name", mover->config.name, "uuid", mover->config.uuid);

	if (!hello)
		err_set(err, ERR_SYSTEM, "out of memory for the greeting");
	return hello;
}
