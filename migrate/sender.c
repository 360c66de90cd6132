#include "migrate/sender.h"

#include "common/io.h"
#include "common/thread.h"
#include "migrate/sender_link.h"

#include <poll.h>
#include <sys/eventfd.h>
#include <sys/random.h>

enum {
	WAIT_NS = 20000000, /* between two ticks while the others work */
	RETRY_NS = 1000000000,
	/* Links made at a time: of more than ten that are not let in yet OpenSSH drops some (MaxStartups), of whomever they are. */
	CONNECTING = 8,
};

/* ---- workers --------------------------------------------------------------------------------------------------- */

/* With the lock. */
static void note(struct sender *sender, const char *what, const struct err *why)
{
	sender->note = *why;
	err_context(&sender->note, "%s", what);
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

/* With the lock, as the note. */
static void lose(struct sender_link *link, const struct err *why)
{
	sender_link_put_back(link);
	link_close(link->link);
	link->link = NULL;
	link->retry_ns = clock_mono_ns() + RETRY_NS;
	__atomic_fetch_add(&link->sender->broken, 1, __ATOMIC_RELAXED);
	note(link->sender, "one of the links broke, the others go on", why);
}

static void worker_round(struct sender_link *link)
{
	struct sender *sender = link->sender;
	struct err err;

	if (!sender_link_work(link, &err) || (err.kind == ERR_CANCELLED && sender_stopped(sender)))
		return;
	pthread_mutex_lock(&sender->lock);
	if (link_broken(link->link)) {
		lose(link, &err);
		pthread_mutex_unlock(&sender->lock);
		return;
	}
	if (sender->failed.kind == ERR_NONE)
		sender->failed = err;
	pthread_mutex_unlock(&sender->lock);
	stop_all(sender);
}

static void failed_to_make(struct sender_link *link, const struct err *why)
{
	link->retry_ns = clock_mono_ns() + RETRY_NS;
	/* A busy SSH server drops one now and then that it lets in the next time. */
	if (++link->failures == 2) {
		pthread_mutex_lock(&link->sender->lock);
		note(link->sender, "a further link could not be had", why);
		pthread_mutex_unlock(&link->sender->lock);
	}
	ssh_attempt_end(&link->attempt);
}

static void worker_connect(struct sender_link *link)
{
	struct sender *sender = link->sender;
	struct err err;

	link->connected = sender->session.connect(sender->session.arg, &link->attempt, &err);
	if (!link->connected)
		failed_to_make(link, &err);
}

static void worker_join(struct sender_link *link)
{
	struct sender *sender = link->sender;
	struct link_watch watch = {.fd = sender->stop_fd, .events = POLLIN, .ready = on_stop};
	uint32_t id = sender_take_id(sender);
	struct link *made = link->connected;
	struct err err;

	link->connected = NULL;
	if (sender->session.join(sender->session.arg, made, id, &err)) {
		link_close(made);
		failed_to_make(link, &err);
		return;
	}
	ssh_attempt_end(&link->attempt);
	link->failures = 0;
	link_watch(made, &watch, 1);
	pthread_mutex_lock(&sender->lock);
	link->id = id;
	link->told = 0;
	link->link = made;
	pthread_mutex_unlock(&sender->lock);
}

enum job { JOB_QUIT, JOB_ROUND, JOB_JOIN, JOB_CONNECT };

/* Until there is a round to take part in, a link to make, or the end.  With the lock. */
static enum job worker_wait(struct sender_link *link)
{
	struct sender *sender = link->sender;

	while (!sender->quit) {
		bool linked = link->link || link->connected;

		if (link->link && sender->open && link->round != sender->round)
			return JOB_ROUND;
		if (link->connected && sender->session_there)
			return JOB_JOIN;
		if (!linked && clock_mono_ns() >= link->retry_ns && sender->connecting < CONNECTING)
			return JOB_CONNECT;
		if (linked || clock_mono_ns() >= link->retry_ns)
			pthread_cond_wait(&sender->change, &sender->lock);
		else
			thread_cond_wait_until(&sender->change, &sender->lock, link->retry_ns);
	}
	return JOB_QUIT;
}

static void work(struct sender_link *link, enum job job)
{
	if (job == JOB_ROUND)
		worker_round(link);
	else if (job == JOB_JOIN)
		worker_join(link);
	else
		worker_connect(link);
}

static void *worker(void *arg)
{
	struct sender_link *link = arg;
	struct sender *sender = link->sender;
	enum job job;

	pthread_mutex_lock(&sender->lock);
	while ((job = worker_wait(link)) != JOB_QUIT) {
		sender->busy += job == JOB_ROUND;
		sender->connecting += job == JOB_CONNECT;
		if (job == JOB_ROUND)
			link->round = sender->round;
		pthread_mutex_unlock(&sender->lock);
		work(link, job);
		pthread_mutex_lock(&sender->lock);
		sender->busy -= job == JOB_ROUND;
		sender->connecting -= job == JOB_CONNECT;
		pthread_cond_broadcast(&sender->change);
	}
	pthread_mutex_unlock(&sender->lock);
	return NULL;
}

int sender_start_workers(struct sender *sender, unsigned links, struct err *err)
{
	while (sender->links < links && sender->links < STREAM_LINKS) {
		struct sender_link *link = &sender->link[sender->links];

		link->sender = sender;
		link->encoder = pages_encoder_open(sender->packing, err);
		if (!link->encoder)
			return -1;
		ssh_attempt_open(&link->attempt);
		if (thread_start(&link->thread, worker, link)) {
			ssh_attempt_close(&link->attempt);
			pages_encoder_close(link->encoder);
			return err_sys(err, "cannot start a thread for a link");
		}
		sender->links++;
	}
	return 0;
}

/* ---- the owner's side ------------------------------------------------------------------------------------------- */

uint64_t sender_span(const struct sender *sender)
{
	const struct sender_volume *last;

	if (sender->volumes == 0)
		return 0;
	last = &sender->volume[sender->volumes - 1];
	return last->base + (last->source.pages + 63) / 64 * 64;
}

static int open_volume(struct sender *sender, const struct pages_source *source, struct err *err)
{
	struct sender_volume *volume = &sender->volume[sender->volumes];

	*volume = (struct sender_volume){.todo.fd = -1, .again.fd = -1, .source = *source};
	if (pageset_create(&volume->todo, source->pages, err) ||
	    pageset_create(&volume->again, source->pages, err)) {
		pageset_close(&volume->todo);
		return -1;
	}
	volume->base = sender_span(sender);
	volume->source.volume = (uint16_t)sender->volumes++;
	return 0;
}

int sender_open(struct sender *sender, const struct sender_session *session, enum packer_mode packing,
		struct err *err)
{
	*sender = (struct sender){.session = *session,
				  .control = &sender->link[0],
				  .links = 1,
				  .packing = packing,
				  .next_id = 1,
				  .due = {.fd = -1},
				  .stop_fd = -1};
	pthread_mutex_init(&sender->lock, NULL);
	thread_cond_init(&sender->change);
	sender->control->sender = sender;
	sender->control->encoder = pages_encoder_open(packing, err);
	sender->stop_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (sender->stop_fd < 0)
		return err_sys(err, "cannot make an eventfd");
	return sender->control->encoder ? 0 : -1;
}

int sender_add_ram(struct sender *sender, uint64_t pages, int ram_fd, struct err *err)
{
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

void sender_keep(struct sender *sender, const struct pageset *due)
{
	sender->due = *due;
}

void sender_keep_todo(struct sender *sender, const struct sender_volume *volume, uint64_t first,
		      uint64_t count)
{
	if (sender->due.words)
		pageset_add_copy(&sender->due, volume->base + first, &volume->todo, first, count);
}

void sender_take_dirty(struct sender *sender, struct pageset *dirty)
{
	struct sender_volume *ram = &sender->volume[0];

	if (!sender->due.words) {
		pageset_add_all(&ram->todo, dirty);
		return;
	}
	/* Never in neither of them.  Nothing is on its way, so all that is due is to do. */
	pageset_add_all(&sender->due, dirty);
	pageset_add_copy(&ram->todo, 0, &sender->due, ram->base, ram->source.pages);
}

void sender_take_due(struct sender *sender)
{
	for (unsigned i = 0; i < sender->volumes; i++) {
		struct sender_volume *volume = &sender->volume[i];

		pageset_add_copy(&volume->todo, 0, &sender->due, volume->base, volume->source.pages);
	}
}

int sender_send_deltas(struct sender *sender, struct err *err)
{
	struct sender_volume *ram = &sender->volume[0];

	sender->sent = ram->source.sent = sentpages_open(ram->source.pages, SENTPAGES_BYTES, err);
	return sender->sent ? 0 : -1;
}

void sender_end_deltas(struct sender *sender)
{
	sentpages_close(sender->sent);
	sender->sent = sender->volume[0].source.sent = NULL;
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
	/* The end of a move waits for no link that is not there yet. */
	for (unsigned i = 1; i < sender->links; i++)
		ssh_attempt_give_up(&sender->link[i].attempt);
	for (unsigned i = 0; i < sender->links; i++) {
		struct sender_link *link = &sender->link[i];

		if (i > 0) {
			pthread_join(link->thread, NULL);
			ssh_attempt_close(&link->attempt);
			link_close(link->connected);
			link_close(link->link);
		}
		sender_link_forget(link, link->frames);
		pages_encoder_close(link->encoder);
	}
	pageset_close(&sender->due);
	for (unsigned i = 0; i < sender->volumes; i++) {
		pageset_close(&sender->volume[i].todo);
		pageset_close(&sender->volume[i].again);
	}
	sender_end_deltas(sender);
	io_close(&sender->stop_fd);
	pthread_cond_destroy(&sender->change);
	pthread_mutex_destroy(&sender->lock);
	sender->control = NULL;
}

uint32_t sender_take_id(struct sender *sender)
{
	return __atomic_fetch_add(&sender->next_id, 1, __ATOMIC_RELAXED);
}

void sender_skip_ids(struct sender *sender)
{
	uint32_t random = 0;

	(void)!getrandom(&random, sizeof(random), 0);
	sender->next_id = (random >> 1) + 4096;
}

void sender_set_control(struct sender *sender, struct link *link, uint32_t id)
{
	struct sender_link *control = sender->control;

	if (!link)
		__atomic_fetch_add(&sender->broken, 1, __ATOMIC_RELAXED);
	sender_link_put_back(control);
	control->link = link;
	control->id = id;
	control->told = 0;
	pthread_mutex_lock(&sender->lock);
	sender->session_there = sender->session_there || link;
	pthread_cond_broadcast(&sender->change);
	pthread_mutex_unlock(&sender->lock);
}

/* The workers are out of the round on return; the tick goes on meanwhile. */
static int await_workers(struct sender *sender, bool leave, struct err *err)
{
	int status = 0;

	if (leave)
		stop_all(sender);
	pthread_mutex_lock(&sender->lock);
	sender->open = false;
	while (sender->busy > 0) {
		thread_cond_wait_until(&sender->change, &sender->lock, clock_mono_ns() + WAIT_NS);
		pthread_mutex_unlock(&sender->lock);
		if (!leave && !status &&
		    (sender->session.tick(sender->session.arg, err) ||
		     sender_link_look(sender->control, err) < 0)) {
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

int sender_round(struct sender *sender, uint64_t epoch, struct err *err)
{
	eventfd_t ignored;
	int status;

	if (epoch != sender->epoch)
		sender->pages = 0;
	sender->epoch = epoch;
	if (sender->sent)
		sentpages_round(sender->sent, &sender->volume[0].todo);
	for (unsigned i = 0; i < sender->volumes; i++) {
		sender->volume[i].cursor = 0;
		sender_keep_todo(sender, &sender->volume[i], 0, sender->volume[i].source.pages);
	}
	pthread_mutex_lock(&sender->lock);
	sender->round++;
	sender->open = true;
	pthread_cond_broadcast(&sender->change);
	pthread_mutex_unlock(&sender->lock);
	status = sender_link_work(sender->control, err);
	if (await_workers(sender, status != 0, err))
		status = -1;
	__atomic_store_n(&sender->stop, false, __ATOMIC_RELEASE);
	(void)eventfd_read(sender->stop_fd, &ignored);
	return status;
}

void sender_seal_short(struct sender *sender, struct message_seal *seal)
{
	seal->link[seal->links].id = sender_take_id(sender);
	seal->link[seal->links++].frames = 1;
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
	/* What links that broke may not have brought is missing in the disks' epoch, which is not to be closed then. */
	for (unsigned i = 1; i < sender->volumes; i++)
		if (pageset_count(&sender->volume[i].again) > 0)
			return sender_seal_short(sender, seal);
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
	struct err why;

	pthread_mutex_lock(&sender->lock);
	for (unsigned i = 0; i < sender->links; i++) {
		struct sender_link *link = &sender->link[i];

		if (!link->link || link->frames == 0)
			continue;
		if (i > 0 && is_lost(ack, link->id)) {
			/* What it said last, if it is here already. */
			if (sender_link_look(link, &why) >= 0)
				err_set(&why, ERR_LINK, "its other end is gone");
			lose(link, &why);
		} else {
			sender_link_release(link, link->frames);
		}
	}
	pthread_mutex_unlock(&sender->lock);
}

void sender_look(struct sender *sender)
{
	struct err err;

	pthread_mutex_lock(&sender->lock);
	for (unsigned i = 1; i < sender->links; i++) {
		struct sender_link *link = &sender->link[i];

		if (link->link && sender_link_look(link, &err) < 0 && link_broken(link->link))
			lose(link, &err);
	}
	pthread_mutex_unlock(&sender->lock);
}

int sender_next(struct sender *sender, int timeout_ms, struct frame *frame, struct err *err)
{
	uint64_t until = clock_mono_ns() + (uint64_t)timeout_ms * 1000000;

	do {
		if (link_next(sender->control->link, until, frame, err, "did not answer within %d s",
			      timeout_ms / 1000))
			return -1;
		if (frame->type != MESSAGE_RECEIVED)
			return 0;
	} while (!sender_link_take(sender->control, frame, err));
	return -1;
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
		stats->delta_pages += of->delta_pages;
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
		sender_link_count_bytes(sender->control);
	return __atomic_load_n(&sender->bytes, __ATOMIC_RELAXED);
}
