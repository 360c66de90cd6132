/* serve_epoch.c: epochs as they arrive, over any number of links.
 *
 * The control link's thread opens and seals epochs; each link's thread applies the pages that come over it.  A page of an
 * epoch that is not open yet waits; one of an epoch that is acknowledged is never applied: it comes from a link that the
 * sender has given up, and has sent it again since. */
#include "common/fault.h"
#include "common/io.h"
#include "common/log.h"
#include "migrate/serve_internal.h"

#include <poll.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <unistd.h>

void serve_set_state(struct serve *serve, enum serve_state state)
{
	pthread_mutex_lock(&serve->lock);
	serve->state = state;
	pthread_mutex_unlock(&serve->lock);
}

static int on_epoch(struct serve *serve, const struct frame *frame, struct err *err)
{
	struct message_epoch epoch;

	if (serve->state != SERVE_IDLE)
		return message_unexpected(serve->control.link, frame, err);
	if (message_epoch(frame, &epoch, err))
		return -1;
	if (epoch.term != serve->term || epoch.parent != serve->epoch.epoch ||
	    epoch.epoch != epoch.parent + 1)
		return err_set(err, ERR_INPUT,
			       "epoch %llu of term %llu does not follow epoch %llu of term %llu",
			       (unsigned long long)epoch.epoch, (unsigned long long)epoch.term,
			       (unsigned long long)serve->epoch.epoch, (unsigned long long)serve->term);
	/* Neither in an acknowledgement, from which the sender learns what a pause takes, nor in the pause itself. */
	if (!(epoch.flags & EPOCH_CONSISTENT))
		serve_disks_tidy(serve);
	pthread_mutex_lock(&serve->lock);
	serve->epoch = epoch;
	serve->state = SERVE_EPOCH;
	pthread_cond_broadcast(&serve->change);
	pthread_mutex_unlock(&serve->lock);
	return 0;
}

/* Until the frame's epoch is open.  false: it is over, or the session is.  With the lock. */
static bool await_epoch(struct serve *serve, uint64_t epoch)
{
	while (!serve->quit && epoch > serve->epoch.epoch)
		pthread_cond_wait(&serve->change, &serve->lock);
	return !serve->quit && epoch == serve->epoch.epoch && epoch > serve->acked.epoch;
}

/* What came over this link cannot be believed to fit what is here.  It counts as one that broke: so the sender sends again, and
 * whole, all that it has not been told is applied.  Nothing holds the channel open then: the sender hears of it at once. */
static void give_up(struct serve_link *of, const struct err *why)
{
	log_warning("a link is given up: %s", why->text);
	link_cut(of->link);
	io_close(&of->process_fd);
}

int serve_pages(struct serve_link *of, const struct frame *frame, struct err *err)
{
	enum { HEAD = 8 };
	struct serve *serve = of->serve;
	uint64_t epoch, applied;
	int64_t pages;
	bool open, early, running, awaited;

	if (frame->len < HEAD + PAGES_HEADER)
		return err_set(err, ERR_INPUT, "a PAGES message has %zu bytes", frame->len);
	epoch = le64_get(frame->payload);
	pthread_mutex_lock(&serve->lock);
	/* On the control link nothing overtakes anything. */
	if (of == &serve->control && epoch != serve->epoch.epoch)
		open = false;
	else
		open = await_epoch(serve, epoch);
	running = serve->owed.running;
	early = serve->target[0].place && !running && le16_get(frame->payload + HEAD) == 0;
	of->applying = open && !early;
	pthread_mutex_unlock(&serve->lock);
	if (early)
		return err_set(err, ERR_INPUT,
			       "pages came between those that are owed and the guest's start");
	if (!open)
		return err_set(err, of == &serve->control ? ERR_INPUT : ERR_LINK,
			       "pages of epoch %llu came outside of it", (unsigned long long)epoch);
	pages = pages_decode(of->decoder, serve->target, serve->targets, frame->payload + HEAD,
			     frame->len - HEAD, err);
	/* It was decoded, so it has a volume that there is. */
	if (pages >= 0 && serve_bounds_room(serve, err))
		pages = -1;
	if (pages >= 0 &&
	    serve_disks_written(serve, le16_get(frame->payload + HEAD), (uint64_t)pages * PAGES_SIZE, err))
		pages = -1;
	pthread_mutex_lock(&serve->lock);
	of->applying = false;
	applied = pages < 0 ? of->applied : ++of->applied;
	/* Who waits for frames is the main thread, and only behind a seal. */
	awaited = serve->state == SERVE_SEALED;
	pthread_mutex_unlock(&serve->lock);
	if (awaited)
		(void)eventfd_write(serve->wake_fd, 1);
	if (pages < 0 && err->kind == ERR_LINK)
		give_up(of, err);
	if (pages < 0)
		return -1;
	if (applied % SERVE_ACK_FRAMES == 0 &&
	    (message_send_number(of->link, MESSAGE_RECEIVED, applied, err) || link_flush(of->link, err)))
		return -1;
	if (of == &serve->control && applied == 1 && epoch == 1)
		return link_fault(of->link, FAULT_SERVE_ROUND_MIDDLE, err);
	return running ? link_fault(of->link, FAULT_POSTCOPY_SERVE_MIDDLE, err) : 0;
}

static int on_pages(struct serve *serve, const struct frame *frame, struct err *err)
{
	return serve->state == SERVE_EPOCH ? serve_pages(&serve->control, frame, err)
					   : message_unexpected(serve->control.link, frame, err);
}

static int on_state(struct serve *serve, const struct frame *frame, struct err *err)
{
	if (serve->state != SERVE_EPOCH || !(serve->epoch.flags & EPOCH_CONSISTENT))
		return message_unexpected(serve->control.link, frame, err);
	if (serve->state_len + frame->len > STREAM_STATE_MAX)
		return err_set(err, ERR_INPUT, "the machine state is larger than %d MiB",
			       STREAM_STATE_MAX >> 20);
	if (serve->state_fd < 0)
		serve->state_fd = memfd_create("drover-state", MFD_CLOEXEC);
	if (serve->state_fd < 0 || io_write_full(serve->state_fd, frame->payload, frame->len))
		return err_sys(err, "cannot keep the machine state");
	serve->state_len += frame->len;
	return 0;
}

static struct serve_link *find(struct serve *serve, uint32_t id)
{
	if (serve->control.id == id)
		return &serve->control;
	for (size_t i = 0; i < SERVE_LINKS; i++)
		if (serve->joined[i].used && serve->joined[i].id == id)
			return &serve->joined[i];
	return NULL;
}

/* Whether all that the seal names has come, or never will (ack->lost); nothing else may still be at work.  With the lock. */
static bool is_there(struct serve *serve, struct message_ack *ack)
{
	*ack = (struct message_ack){.epoch = serve->seal.epoch};
	for (size_t i = 0; i < SERVE_LINKS; i++)
		if (serve->joined[i].used && serve->joined[i].applying)
			return false;
	for (unsigned i = 0; i < serve->seal.links; i++) {
		const struct serve_link *link = find(serve, serve->seal.link[i].id);

		if (link && link->applied >= serve->seal.link[i].frames)
			continue;
		if (link && !link->broken && link != &serve->control)
			return false;
		ack->lost[ack->links++] = serve->seal.link[i].id;
	}
	return true;
}

void serve_not_last(struct serve *serve)
{
	serve->epoch.flags &= ~(uint32_t)EPOCH_CONSISTENT;
	io_close(&serve->state_fd);
	serve->state_len = 0;
}

/* A device may wait for a page of RAM that is owed, and that never comes when the sender goes away meanwhile: a word of his, or the end of
 * the link, ends this.  Until PREPARED he has nothing else to say. */
static int load_state(struct serve *serve, struct err *err)
{
	enum { LOOK_MS = 50 };
	uint64_t id, until = clock_mono_ns() + SERVE_VM_MS * 1000000ull;
	struct pollfd answer = {.fd = serve->vm.fd, .events = POLLIN};
	struct frame frame;

	if (control_start(&serve->vm, json_pack("{s:s}", "cmd", "load-state"), serve->state_fd, &id, err))
		return -1;
	while (poll(&answer, 1, LOOK_MS) <= 0 && clock_mono_ns() < until) {
		int got = link_receive(serve->control.link, 0, &frame, err);

		if (got != 0)
			return got < 0 ? -1 : message_unexpected(serve->control.link, &frame, err);
	}
	return control_finish(&serve->vm, id, 0, NULL, NULL, NULL, err);
}

static int prepare(struct serve *serve, struct err *err)
{
	if (serve->state_len != serve->seal.state_bytes)
		return err_set(
		    err, ERR_INPUT,
		    "the consistent epoch came with %llu bytes of machine state, its seal says %llu",
		    (unsigned long long)serve->state_len, (unsigned long long)serve->seal.state_bytes);
	if (link_fault(serve->control.link, FAULT_SERVE_STATE, err) || serve_postcopy_settle(serve, err) ||
	    load_state(serve, err) || link_fault(serve->control.link, FAULT_SERVE_PREPARED, err))
		return -1;
	return message_send_number(serve->control.link, MESSAGE_PREPARED, serve->epoch.epoch, err);
}

int serve_settle(struct serve *serve, struct err *err)
{
	struct message_ack ack;
	bool there;

	if (serve->state != SERVE_SEALED)
		return 0;
	pthread_mutex_lock(&serve->lock);
	there = is_there(serve, &ack);
	if (there) {
		serve->acked = ack;
		serve->state = SERVE_IDLE;
	}
	pthread_mutex_unlock(&serve->lock);
	if (!there)
		return 0;
	if (serve->owed.running && serve->epoch.flags & EPOCH_CONSISTENT)
		return err_set(err, ERR_INPUT, "a consistent epoch came after the guest's start");
	if (serve->epoch.flags & EPOCH_CONSISTENT && serve->seal.state_bytes > 0 && ack.links == 0) {
		/* Volumes are handed over once, and a state is loaded once: whatever becomes of this, no sender comes back. */
		serve_set_state(serve, SERVE_PREPARED);
		return serve_disks_close_epoch(serve, true, err) || prepare(serve, err) ? -1 : 0;
	}
	serve_not_last(serve);
	/* What the lost links did not bring comes in the next epoch, and closes with it. */
	if (ack.links == 0 &&
	    (serve->points.on ? serve_points_commit(serve, err) : serve_disks_close_epoch(serve, false, err)))
		return -1;
	if (ack.epoch == 1 && link_fault(serve->control.link, FAULT_SERVE_ROUND_ACK, err))
		return -1;
	if (message_send_ack(serve->control.link, &ack, err))
		return -1;
	return serve->owed.running ? serve_postcopy_rest(serve, err) : 0;
}

static int on_seal(struct serve *serve, const struct frame *frame, struct err *err)
{
	if (serve->state != SERVE_EPOCH)
		return message_unexpected(serve->control.link, frame, err);
	if (message_seal(frame, &serve->seal, err))
		return -1;
	if (serve->seal.epoch != serve->epoch.epoch)
		return err_set(err, ERR_INPUT, "the seal is of epoch %llu, not of %llu",
			       (unsigned long long)serve->seal.epoch, (unsigned long long)serve->epoch.epoch);
	serve_set_state(serve, SERVE_SEALED);
	return serve_settle(serve, err);
}

static int on_commit(struct serve *serve, const struct frame *frame, struct err *err)
{
	struct link *link = serve->control.link;
	struct message_commit commit;

	if (serve->state != SERVE_PREPARED)
		return message_unexpected(link, frame, err);
	if (message_commit(frame, &commit, err) || link_fault(link, FAULT_SERVE_COMMIT, err) ||
	    control_call(&serve->vm,
			 json_pack("{s:s, s:I, s:s}", "cmd", "commit", "term", (json_int_t)commit.term,
				   "session", commit.session),
			 SERVE_VM_MS, NULL, NULL, NULL, err))
		return -1;
	if (serve->owed.on)
		serve_postcopy_started(serve);
	else
		serve_set_state(serve, SERVE_STARTED);
	if (link_fault(link, FAULT_SERVE_STARTED, err) ||
	    message_send_number(link, MESSAGE_STARTED, serve->term, err) || link_flush(link, err))
		return -1;
	return link_fault(link, FAULT_SERVE_STARTED_SENT, err);
}

static const struct {
	enum message_type type;
	int (*handle)(struct serve *serve, const struct frame *frame, struct err *err);
} handlers[] = {
    {MESSAGE_PAGES, on_pages},         {MESSAGE_EPOCH, on_epoch},
    {MESSAGE_SEAL, on_seal},           {MESSAGE_STATE, on_state},
    {MESSAGE_COMMIT, on_commit},       {MESSAGE_OWED, serve_postcopy_owed},
    {MESSAGE_COMPARE, serve_compare},  {MESSAGE_POINT, serve_points_frame},
    {MESSAGE_WHOLE, serve_points_end},
};

int serve_frame(struct serve *serve, const struct frame *frame, struct err *err)
{
	for (size_t i = 0; i < sizeof(handlers) / sizeof(handlers[0]); i++)
		if (handlers[i].type == frame->type && !frame->flags)
			return handlers[i].handle(serve, frame, err);
	return message_unexpected(serve->control.link, frame, err);
}
