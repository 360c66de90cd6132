#include "migrate/sender.h"

#include "common/io.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <time.h>
#include <unistd.h>

enum {
	UNIT = 512,         /* pages that a thread claims at a time: 2 MiB */
	TAKE = UNIT,        /* of these, at most, out of the set at a time */
	LOOK_FRAMES = 8,    /* sent between two looks at what the receiver says */
	WAIT_NS = 20000000, /* between two ticks while the others work */
	RETRY_NS = 1000000000,
	CONNECTING =
	    4, /* links made at a time: SSH servers drop some of many that are not authenticated yet */
	BURST_NS = 20000000, /* what a limited sender may catch up */
};

/* ---- the ledger ------------------------------------------------------------------------------------------------ */

static struct sender_frame *frame_of(struct sender_link *link, uint64_t number)
{
	return &link->window[number % SENDER_WINDOW];
}

static void release(struct sender_link *link, uint64_t received)
{
	for (; link->received < received; link->received++) {
		struct sender_frame *frame = frame_of(link, link->received);

		free(frame->runs);
		frame->runs = NULL;
	}
}

/* The payload begins at `payload`: note where its pages were. */
static void remember(struct sender_link *link, const uint8_t *payload)
{
	struct sender_frame *frame = frame_of(link, link->frames++);

	frame->volume = le16_get(payload);
	frame->nruns = le32_get(payload + 4);
	frame->runs = malloc((size_t)frame->nruns * PAGES_RUN);
	if (!frame->runs)
		abort(); /* small, as in common/buf.h */
	memcpy(frame->runs, payload + PAGES_HEADER, (size_t)frame->nruns * PAGES_RUN);
}

/* A link is gone: what it had in flight is to be sent once more. */
static void put_back(struct sender_link *link)
{
	struct sender *sender = link->sender;

	for (uint64_t number = link->received; number < link->frames; number++) {
		const struct sender_frame *frame = frame_of(link, number);

		for (uint32_t i = 0; i < frame->nruns; i++) {
			const uint8_t *run = frame->runs + (size_t)i * PAGES_RUN;
			uint64_t count = le32_get(run + 8);

			pageset_add_range(&sender->volume[frame->volume].again, le64_get(run), count);
			__atomic_fetch_add(&sender->repeated, count, __ATOMIC_RELAXED);
		}
	}
	release(link, link->frames);
	link->frames = link->received = 0;
}

static int take_received(struct sender_link *link, const struct frame *frame, struct err *err)
{
	uint64_t received;

	if (message_number(frame, &received, err))
		return -1;
	/* It may come late: an epoch's ACK says it, too. */
	if (received > link->frames)
		return err_set(err, ERR_INPUT, "%s acknowledged %llu frames of %llu", link_peer(link->link),
			       (unsigned long long)received, (unsigned long long)link->frames);
	release(link, received);
	return 0;
}

/* What the receiver has said.  Inside an epoch it only acknowledges, or gives up. */
static int look(struct sender_link *link, struct err *err)
{
	struct frame frame;
	int got;

	while ((got = link_readable(link->link, err)) > 0) {
		if (link_receive(link->link, 0, &frame, err) < 0)
			return -1;
		if (frame.type != MESSAGE_RECEIVED)
			return message_unexpected(link->link, &frame, err);
		if (take_received(link, &frame, err))
			return -1;
	}
	return got;
}

/* Until the window has room. */
static int await_room(struct sender_link *link, struct err *err)
{
	while (link->frames - link->received >= SENDER_WINDOW) {
		struct frame frame;
		int got = link_receive(link->link, clock_mono_ns() + LINK_STALL_MS * 1000000ull, &frame, err);

		if (got < 0)
			return -1;
		if (got == 0) {
			link_cut(link->link);
			return err_set(err, ERR_LINK, "%s acknowledged nothing for %d s",
				       link_peer(link->link), LINK_STALL_MS / 1000);
		}
		if (frame.type != MESSAGE_RECEIVED)
			return message_unexpected(link->link, &frame, err);
		if (take_received(link, &frame, err))
			return -1;
	}
	return 0;
}

/* ---- sending --------------------------------------------------------------------------------------------------- */

typedef int tick_fn(void *arg, struct err *err);

static bool stopped(const struct sender *sender)
{
	return __atomic_load_n(&sender->stop, __ATOMIC_ACQUIRE);
}

/* With a limit, each frame waits until those before it, of all links, have had their time. */
static int pay(struct sender *sender, size_t bytes, tick_fn *tick, void *arg, struct err *err)
{
	uint64_t cost = (uint64_t)((double)bytes * 1e9 / (double)sender->bytes_per_s), at, base;

	at = __atomic_load_n(&sender->paid_ns, __ATOMIC_RELAXED);
	do {
		uint64_t now = clock_mono_ns();

		base = at + BURST_NS < now ? now - BURST_NS : at;
	} while (!__atomic_compare_exchange_n(&sender->paid_ns, &at, base + cost, false, __ATOMIC_RELAXED,
					      __ATOMIC_RELAXED));
	for (uint64_t now = clock_mono_ns(); now < base && !stopped(sender); now = clock_mono_ns()) {
		uint64_t ns = base - now < WAIT_NS ? base - now : WAIT_NS;

		nanosleep(&(struct timespec){.tv_nsec = (long)ns}, NULL);
		if (tick && tick(arg, err))
			return -1;
	}
	return 0;
}

static void count_bytes(struct sender_link *link)
{
	uint64_t sent = link_bytes_sent(link->link);

	__atomic_fetch_add(&link->sender->bytes, sent - link->told, __ATOMIC_RELAXED);
	link->told = sent;
}

/* One frame with the first so many of n pages: *taken, if they are in the window from now on. */
static int send_frame(struct sender_link *link, const struct sender_volume *volume, const uint64_t *pages,
		      size_t n, size_t *taken, tick_fn *tick, void *arg, struct err *err)
{
	struct sender *sender = link->sender;
	size_t start, payload;
	struct buf *out;
	int64_t encoded;

	*taken = 0;
	if (await_room(link, err))
		return -1;
	out = link_begin(link->link);
	start = out->len - FRAME_HEADER;
	buf_put_u64(out, sender->epoch);
	payload = out->len;
	encoded = pages_encode(link->encoder, &volume->source, pages, n, out, err);
	if (encoded < 0 || (sender->bytes_per_s && pay(sender, out->len - start, tick, arg, err))) {
		out->len = start;
		return -1;
	}
	remember(link, out->data + payload);
	*taken = (size_t)encoded;
	__atomic_fetch_add(&sender->pages, (uint64_t)encoded, __ATOMIC_RELAXED);
	if (link_send(link->link, MESSAGE_PAGES, 0, err))
		return -1;
	count_bytes(link);
	if (link->frames % LOOK_FRAMES == 0) {
		pages_encoder_link(link->encoder, link_send_ns(link->link), link_bytes_sent(link->link));
		if (look(link, err) < 0)
			return -1;
	}
	return tick ? tick(arg, err) : 0;
}

/* The pages of one claimed range.  Those that were not sent are in todo again. */
static int send_range(struct sender_link *link, struct sender_volume *volume, uint64_t first, uint64_t end,
		      tick_fn *tick, void *arg, struct err *err)
{
	struct sender *sender = link->sender;
	uint64_t pages[TAKE];
	size_t found;
	int status = 0;

	while (!status && (found = pageset_take_below(&volume->todo, &first, end, pages, TAKE)) > 0) {
		size_t done = 0, taken;

		for (; done < found && !status && !stopped(sender); done += taken)
			status = send_frame(link, volume, pages + done, found - done, &taken, tick, arg, err);
		for (size_t i = done; i < found; i++)
			pageset_add(&volume->todo, pages[i]);
		if (done < found)
			break;
	}
	return status;
}

/* This link's part of a round: of the disks first, as what waits longest of RAM is likelier to be written again. */
static int work(struct sender_link *link, tick_fn *tick, void *arg, struct err *err)
{
	struct sender *sender = link->sender;
	uint64_t first, end;

	for (unsigned i = sender->volumes; i-- > 0;) {
		struct sender_volume *volume = &sender->volume[i];

		while (!volume->held && !stopped(sender) &&
		       pageset_claim(&volume->todo, &volume->cursor, UNIT, &first, &end))
			if (send_range(link, volume, first, end, tick, arg, err))
				return -1;
	}
	if (link_flush(link->link, err))
		return -1;
	count_bytes(link);
	return 0;
}

/* ---- workers --------------------------------------------------------------------------------------------------- */

static void note(struct sender *sender, const char *what, const struct err *why)
{
	pthread_mutex_lock(&sender->lock);
	sender->note = *why;
	err_context(&sender->note, "%s", what);
	pthread_mutex_unlock(&sender->lock);
}

static void stop_all(struct sender *sender)
{
	__atomic_store_n(&sender->stop, true, __ATOMIC_RELEASE);
	(void)eventfd_write(sender->stop_fd, 1);
}

static int on_stop(void *arg, short revents, struct err *err)
{
	(void)arg, (void)revents;
	return err_set(err, ERR_CANCELLED, "the round was left");
}

static void lose(struct sender_link *link)
{
	put_back(link);
	link_close(link->link);
	link->link = NULL;
	link->retry_ns = clock_mono_ns() + RETRY_NS;
	__atomic_fetch_add(&link->sender->broken, 1, __ATOMIC_RELAXED);
}

static void worker_round(struct sender_link *link)
{
	struct sender *sender = link->sender;
	struct err err;

	if (!work(link, NULL, NULL, &err) || (err.kind == ERR_CANCELLED && stopped(sender)))
		return;
	if (link_broken(link->link)) {
		lose(link);
		note(sender, "one of the links broke, the others go on", &err);
		return;
	}
	pthread_mutex_lock(&sender->lock);
	if (sender->failed.kind == ERR_NONE)
		sender->failed = err;
	pthread_mutex_unlock(&sender->lock);
	stop_all(sender);
}

static void worker_connect(struct sender_link *link)
{
	struct sender *sender = link->sender;
	struct link_watch watch = {.fd = sender->stop_fd, .events = POLLIN, .ready = on_stop};
	uint32_t id = sender_take_id(sender);
	struct link *made;
	struct err err;

	made = sender->session.join(sender->session.arg, id, &err);
	if (!made) {
		if (link->retry_ns == 0)
			note(sender, "a further link could not be had", &err);
		link->retry_ns = clock_mono_ns() + RETRY_NS;
		return;
	}
	link_watch(made, &watch, 1);
	pthread_mutex_lock(&sender->lock);
	link->id = id;
	link->told = 0;
	link->link = made;
	pthread_mutex_unlock(&sender->lock);
}

/* Until there is a round to take part in, a link to make, or the end.  Entered with the lock. */
static void worker_wait(struct sender_link *link)
{
	struct sender *sender = link->sender;

	while (!sender->quit) {
		if (link->link && sender->open && link->round != sender->round)
			return;
		if (!link->link && clock_mono_ns() >= link->retry_ns && sender->connecting < CONNECTING)
			return;
		if (link->link || clock_mono_ns() >= link->retry_ns) {
			pthread_cond_wait(&sender->change, &sender->lock);
		} else {
			struct timespec until = {.tv_sec = (time_t)(link->retry_ns / 1000000000),
						 .tv_nsec = (long)(link->retry_ns % 1000000000)};

			pthread_cond_timedwait(&sender->change, &sender->lock, &until);
		}
	}
}

static void *worker(void *arg)
{
	struct sender_link *link = arg;
	struct sender *sender = link->sender;

	pthread_mutex_lock(&sender->lock);
	for (;;) {
		bool round;

		worker_wait(link);
		if (sender->quit)
			break;
		round = link->link != NULL;
		if (round) {
			link->round = sender->round;
			sender->busy++;
		} else {
			sender->connecting++;
		}
		pthread_mutex_unlock(&sender->lock);
		if (round)
			worker_round(link);
		else
			worker_connect(link);
		pthread_mutex_lock(&sender->lock);
		if (round)
			sender->busy--;
		else
			sender->connecting--;
		pthread_cond_broadcast(&sender->change);
	}
	pthread_mutex_unlock(&sender->lock);
	return NULL;
}

int sender_start_workers(struct sender *sender, unsigned links, struct err *err)
{
	sigset_t all, before;
	int failed = 0;

	/* Signals are the main thread's. */
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &before);
	while (!failed && sender->links < links && sender->links < STREAM_LINKS) {
		struct sender_link *link = &sender->link[sender->links];

		link->sender = sender;
		link->encoder = pages_encoder_open(sender->packing, err);
		if (!link->encoder || pthread_create(&link->thread, NULL, worker, link)) {
			failed = link->encoder ? err_set(err, ERR_SYSTEM, "cannot start a thread") : -1;
			break;
		}
		link->threaded = true;
		sender->links++;
	}
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	return failed;
}

/* ---- the owner's side ------------------------------------------------------------------------------------------- */

static int open_volume(struct sender *sender, const struct pages_source *source, struct err *err)
{
	struct sender_volume *volume = &sender->volume[sender->volumes];

	*volume = (struct sender_volume){.todo.fd = -1, .again.fd = -1, .source = *source};
	if (pageset_create(&volume->todo, source->pages, err) ||
	    pageset_create(&volume->again, source->pages, err)) {
		pageset_close(&volume->todo);
		return -1;
	}
	volume->source.volume = (uint16_t)sender->volumes++;
	return 0;
}

int sender_open(struct sender *sender, const struct sender_session *session, uint64_t pages, int ram_fd,
		enum packer_mode packing, struct err *err)
{
	pthread_condattr_t attributes;

	*sender = (struct sender){.session = *session,
				  .control = &sender->link[0],
				  .links = 1,
				  .packing = packing,
				  .next_id = 1,
				  .stop_fd = -1};
	pthread_mutex_init(&sender->lock, NULL);
	pthread_condattr_init(&attributes);
	pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
	pthread_cond_init(&sender->change, &attributes);
	pthread_condattr_destroy(&attributes);
	sender->control->sender = sender;
	sender->control->encoder = pages_encoder_open(packing, err);
	sender->stop_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (sender->stop_fd < 0)
		return err_sys(err, "cannot make an eventfd");
	if (!sender->control->encoder)
		return -1;
	return open_volume(sender, &(struct pages_source){.fd = ram_fd, .pages = pages}, err);
}

struct sender_volume *sender_add_disk(struct sender *sender, uint64_t pages, struct err *err)
{
	if (sender->volumes == STREAM_VOLUMES) {
		err_set(err, ERR_STATE, "more than %d disks move with a VM", STREAM_VOLUMES - 1);
		return NULL;
	}
	if (open_volume(sender, &(struct pages_source){.fd = -1, .pages = pages}, err))
		return NULL;
	return &sender->volume[sender->volumes - 1];
}

uint64_t sender_todo(const struct sender *sender)
{
	uint64_t pages = 0;

	for (unsigned i = 0; i < sender->volumes; i++)
		pages += pageset_count(&sender->volume[i].todo);
	return pages;
}

uint64_t sender_again(const struct sender *sender)
{
	uint64_t pages = 0;

	for (unsigned i = 0; i < sender->volumes; i++)
		pages += pageset_count(&sender->volume[i].again);
	return pages;
}

void sender_take_again(struct sender *sender)
{
	for (unsigned i = 0; i < sender->volumes; i++)
		pageset_add_all(&sender->volume[i].todo, &sender->volume[i].again);
}

void sender_close(struct sender *sender)
{
	if (!sender->control)
		return; /* never opened */
	pthread_mutex_lock(&sender->lock);
	sender->quit = true;
	pthread_cond_broadcast(&sender->change);
	pthread_mutex_unlock(&sender->lock);
	stop_all(sender);
	for (unsigned i = 0; i < sender->links; i++) {
		struct sender_link *link = &sender->link[i];

		if (link->threaded)
			pthread_join(link->thread, NULL);
		if (i > 0)
			link_close(link->link);
		release(link, link->frames);
		pages_encoder_close(link->encoder);
	}
	for (unsigned i = 0; i < sender->volumes; i++) {
		pageset_close(&sender->volume[i].todo);
		pageset_close(&sender->volume[i].again);
	}
	io_close(&sender->stop_fd);
	pthread_cond_destroy(&sender->change);
	pthread_mutex_destroy(&sender->lock);
	sender->control = NULL;
}

uint32_t sender_take_id(struct sender *sender)
{
	return __atomic_fetch_add(&sender->next_id, 1, __ATOMIC_RELAXED);
}

void sender_set_control(struct sender *sender, struct link *link, uint32_t id)
{
	struct sender_link *control = sender->control;

	if (!link)
		__atomic_fetch_add(&sender->broken, 1, __ATOMIC_RELAXED);
	put_back(control);
	control->link = link;
	control->id = id;
	control->told = 0;
}

/* The workers are out of the round on return; `tick` goes on being called meanwhile. */
static int await_workers(struct sender *sender, bool leave, tick_fn *tick, void *arg, struct err *err)
{
	int status = 0;

	if (leave)
		stop_all(sender);
	pthread_mutex_lock(&sender->lock);
	sender->open = false;
	while (sender->busy > 0) {
		uint64_t at = clock_mono_ns() + WAIT_NS;
		struct timespec until = {.tv_sec = (time_t)(at / 1000000000),
					 .tv_nsec = (long)(at % 1000000000)};

		pthread_cond_timedwait(&sender->change, &sender->lock, &until);
		pthread_mutex_unlock(&sender->lock);
		if (!leave && !status && (tick(arg, err) || look(sender->control, err) < 0)) {
			status = -1;
			stop_all(sender);
		}
		pthread_mutex_lock(&sender->lock);
	}
	if (!leave && !status && sender->failed.kind != ERR_NONE)
		status = err_set(err, sender->failed.kind, "%s", sender->failed.text);
	pthread_mutex_unlock(&sender->lock);
	return status;
}

int sender_round(struct sender *sender, uint64_t epoch, tick_fn *tick, void *arg, struct err *err)
{
	eventfd_t ignored;
	int status;

	if (epoch != sender->epoch)
		sender->pages = 0;
	sender->epoch = epoch;
	for (unsigned i = 0; i < sender->volumes; i++)
		sender->volume[i].cursor = 0;
	pthread_mutex_lock(&sender->lock);
	sender->round++;
	sender->open = true;
	pthread_cond_broadcast(&sender->change);
	pthread_mutex_unlock(&sender->lock);
	status = work(sender->control, tick, arg, err);
	if (await_workers(sender, status != 0, tick, arg, err))
		status = -1;
	__atomic_store_n(&sender->stop, false, __ATOMIC_RELEASE);
	(void)eventfd_read(sender->stop_fd, &ignored);
	return status;
}

void sender_seal(struct sender *sender, struct message_seal *seal)
{
	*seal = (struct message_seal){.epoch = sender->epoch};
	pthread_mutex_lock(&sender->lock);
	for (unsigned i = 0; i < sender->links; i++) {
		const struct sender_link *link = &sender->link[i];

		if (!link->link || link->frames == 0)
			continue;
		seal->link[seal->links].id = link->id;
		seal->link[seal->links++].frames = link->frames;
	}
	pthread_mutex_unlock(&sender->lock);
}

static bool is_lost(const struct message_ack *ack, uint32_t id)
{
	for (unsigned i = 0; i < ack->links; i++)
		if (ack->lost[i] == id)
			return true;
	return false;
}

void sender_acked(struct sender *sender, const struct message_ack *ack)
{
	pthread_mutex_lock(&sender->lock);
	for (unsigned i = 0; i < sender->links; i++) {
		struct sender_link *link = &sender->link[i];

		if (!link->link || link->frames == 0)
			continue;
		if (i > 0 && is_lost(ack, link->id))
			lose(link);
		else
			release(link, link->frames);
	}
	pthread_mutex_unlock(&sender->lock);
}

int sender_next(struct sender *sender, int timeout_ms, struct frame *frame, struct err *err)
{
	struct sender_link *control = sender->control;
	uint64_t until = clock_mono_ns() + (uint64_t)timeout_ms * 1000000;

	for (;;) {
		int got = link_receive(control->link, until, frame, err);

		if (got < 0)
			return -1;
		if (got == 0) {
			/* A link on which an answer is that late is one on which it will not come. */
			link_cut(control->link);
			return err_set(err, ERR_LINK, "%s did not answer within %d s",
				       link_peer(control->link), timeout_ms / 1000);
		}
		if (frame->type != MESSAGE_RECEIVED)
			return 0;
		if (take_received(control, frame, err))
			return -1;
	}
}

int sender_await(struct sender *sender, enum message_type type, int timeout_ms, struct frame *frame,
		 struct err *err)
{
	if (sender_next(sender, timeout_ms, frame, err))
		return -1;
	return frame->type == type ? 0 : message_unexpected(sender->control->link, frame, err);
}

void sender_stats(const struct sender *sender, struct pages_stats *stats)
{
	*stats = (struct pages_stats){0};
	for (unsigned i = 0; i < sender->links; i++) {
		const struct pages_stats *of = pages_encoder_stats(sender->link[i].encoder);

		stats->pages += of->pages;
		stats->zero_pages += of->zero_pages;
		stats->raw_bytes += of->raw_bytes;
		stats->encoded_bytes += of->encoded_bytes;
		stats->frames += of->frames;
		stats->frames_raw += of->frames_raw;
	}
}

bool sender_note(struct sender *sender, struct err *note)
{
	pthread_mutex_lock(&sender->lock);
	*note = sender->note;
	sender->note = (struct err){.kind = ERR_NONE};
	pthread_mutex_unlock(&sender->lock);
	return note->kind != ERR_NONE;
}

unsigned sender_live_links(struct sender *sender)
{
	unsigned live = 0;

	pthread_mutex_lock(&sender->lock);
	for (unsigned i = 0; i < sender->links; i++)
		live += sender->link[i].link != NULL;
	pthread_mutex_unlock(&sender->lock);
	return live;
}

uint64_t sender_bytes(struct sender *sender)
{
	if (sender->control->link)
		count_bytes(sender->control);
	return __atomic_load_n(&sender->bytes, __ATOMIC_RELAXED);
}
