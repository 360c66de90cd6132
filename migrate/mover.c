#include "migrate/mover.h"

#include "common/io.h"

#include <poll.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/random.h>
#include <sys/timerfd.h>
#include <unistd.h>

enum { TICK_NS = 100000000, CHECK_FRAMES = 16 };

static void new_session(char session[LEDGER_SESSION_LEN + 1])
{
	uint8_t random[LEDGER_SESSION_LEN / 2];

	while (getrandom(random, sizeof(random), 0) != (ssize_t)sizeof(random))
		;
	for (size_t i = 0; i < sizeof(random); i++)
		snprintf(session + 2 * i, 3, "%02x", random[i]);
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
				.started_ns = clock_mono_ns()};
	/* Without a URL the peer is the one that a pending hand-over names. */
	if (options->url) {
		if (strlen(options->url) > LEDGER_PEER_MAX)
			return err_set(err, ERR_USAGE, "the destination's URL is longer than %d characters",
				       LEDGER_PEER_MAX);
		strcpy(mover->peer, options->url);
		if (ssh_url_parse(options->url, &mover->target, err))
			return -1;
	}
	mover->target.identity = options->identity;
	mover->target.known_hosts = options->known_hosts;
	mover->target.command = options->remote_command ? options->remote_command : "drover serve";
	new_session(mover->session);
	mover->timer_fd = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK);
	if (mover->timer_fd < 0 || timerfd_settime(mover->timer_fd, 0, &tick, NULL))
		return err_sys(err, "cannot make a timer");
	mover->encoder = pages_encoder_open(err);
	return mover->encoder ? 0 : -1;
}

void mover_close(struct mover *mover)
{
	link_close(mover->link);
	mover->link = NULL;
	if (mover->vm.fd >= 0)
		control_close(&mover->vm);
	pages_encoder_close(mover->encoder);
	pageset_close(&mover->dirty);
	io_close(&mover->ram_fd);
	io_close(&mover->timer_fd);
	config_free(&mover->config);
	json_decref(mover->cpu);
}

int mover_connect(struct mover *mover, struct err *err)
{
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

/* ---- epochs ---------------------------------------------------------------------------------------------------- */

int mover_epoch_begin(struct mover *mover, uint32_t flags, struct err *err)
{
	struct message_epoch epoch = {
	    .term = mover->term, .epoch = mover->epoch + 1, .parent = mover->epoch, .flags = flags};

	mover->epoch++;
	mover->frames = mover->pages = 0;
	return message_send_epoch(mover->link, &epoch, err);
}

/* After each frame: account, and look up now and then. */
static int sent_pages(struct mover *mover, uint64_t pages, struct err *err)
{
	struct frame frame;
	int waiting;

	if (link_send(mover->link, MESSAGE_PAGES, 0, err))
		return -1;
	mover->frames++;
	mover->pages += pages;
	mover->progress.pages_left =
	    pages < mover->progress.pages_left ? mover->progress.pages_left - pages : 0;
	if (mover->frames == 4 && mover->epoch == 1 && link_fault(mover->link, FAULT_MOVER_ROUND_MIDDLE, err))
		return -1;
	if (mover_check_cancel(mover, err))
		return -1;
	if (mover->frames % CHECK_FRAMES)
		return 0;
	mover->progress.bytes_sent = link_bytes_sent(mover->link);
	pages_encoder_link(mover->encoder, link_send_ns(mover->link), mover->progress.bytes_sent);
	mover_tell(mover, mover->progress.phase);
	if (link_check(mover->link, err))
		return -1;
	/* The receiver speaks inside an epoch only to give up. */
	waiting = link_readable(mover->link, err);
	if (waiting <= 0)
		return waiting;
	if (link_receive(mover->link, 0, &frame, err) < 0)
		return -1;
	return message_unexpected(mover->link, &frame, err);
}

int mover_send_range(struct mover *mover, uint64_t first, uint64_t count, struct err *err)
{
	struct pages_source source = {.fd = mover->ram_fd, .pages = mover->config.memory_bytes / PAGES_SIZE};

	while (count > 0) {
		int64_t n =
		    pages_encode_range(mover->encoder, &source, first, count, link_begin(mover->link), err);

		if (n < 0 || sent_pages(mover, (uint64_t)n, err))
			return -1;
		first += (uint64_t)n;
		count -= (uint64_t)n;
	}
	return 0;
}

int mover_send_dirty(struct mover *mover, struct err *err)
{
	struct pages_source source = {.fd = mover->ram_fd, .pages = mover->config.memory_bytes / PAGES_SIZE};
	uint64_t pages[1024], cursor = 0;
	size_t taken;

	while ((taken = pageset_take(&mover->dirty, &cursor, pages, sizeof(pages) / sizeof(pages[0]))) > 0) {
		for (size_t done = 0; done < taken;) {
			int n = pages_encode(mover->encoder, &source, pages + done, taken - done,
					     link_begin(mover->link), err);

			if (n < 0 || sent_pages(mover, (uint64_t)n, err))
				return -1;
			done += (size_t)n;
		}
	}
	return 0;
}

int mover_epoch_seal(struct mover *mover, struct err *err)
{
	struct message_seal seal = {.epoch = mover->epoch, .frames = mover->frames, .pages = mover->pages};

	return message_send_seal(mover->link, &seal, err) || link_flush(mover->link, err) ? -1 : 0;
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
