/* sender_link.c: see sender_link.h. */
#include "migrate/sender_link.h"

#include "common/io.h"

#include <stdlib.h>
#include <string.h>
#include <time.h>

enum {
	UNIT = 512,          /* pages that a thread claims at a time: 2 MiB */
	LOOK_FRAMES = 8,     /* sent between two looks at what the receiver says */
	NAP_NS = 20000000,   /* of a limited sender, between two ticks */
	BURST_NS = 20000000, /* what a limited sender may catch up */
};

/* ---- the ledger ------------------------------------------------------------------------------------------------ */

static struct sender_frame *frame_of(struct sender_link *link, uint64_t number)
{
	return &link->window[number % SENDER_WINDOW];
}

static void no_longer_due(struct sender *sender, const struct sender_frame *frame)
{
	for (uint32_t i = 0; i < frame->nruns; i++) {
		const uint8_t *run = frame->runs + (size_t)i * PAGES_RUN;

		pageset_remove_range(&sender->due, sender->volume[frame->volume].base + le64_get(run),
				     le32_get(run + 8));
	}
}

void sender_link_release(struct sender_link *link, uint64_t received)
{
	if (link->sender->due.words)
		for (uint64_t number = link->received; number < received; number++)
			no_longer_due(link->sender, frame_of(link, number));
	sender_link_forget(link, received);
}

void sender_link_forget(struct sender_link *link, uint64_t received)
{
	for (; link->received < received; link->received++) {
		struct sender_frame *frame = frame_of(link, link->received);

		free(frame->runs);
		frame->runs = NULL;
	}
}

/* Note where the payload's pages were. */
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

/* What the receiver has of these pages is not known: they must go whole. */
static void forget(struct sender *sender, uint16_t volume, uint64_t first, uint64_t count)
{
	if (volume == 0 && sender->sent)
		sentpages_drop(sender->sent, first, count);
}

void sender_link_put_back(struct sender_link *link)
{
	struct sender *sender = link->sender;

	for (uint64_t number = link->received; number < link->frames; number++) {
		const struct sender_frame *frame = frame_of(link, number);

		for (uint32_t i = 0; i < frame->nruns; i++) {
			const uint8_t *run = frame->runs + (size_t)i * PAGES_RUN;
			uint64_t count = le32_get(run + 8);

			pageset_add_range(&sender->volume[frame->volume].again, le64_get(run), count);
			forget(sender, frame->volume, le64_get(run), count);
			__atomic_fetch_add(&sender->repeated, count, __ATOMIC_RELAXED);
		}
	}
	sender_link_forget(link, link->frames);
	link->frames = link->received = 0;
}

int sender_link_take(struct sender_link *link, const struct frame *frame, struct err *err)
{
	uint64_t received;

	if (frame->type != MESSAGE_RECEIVED)
		return message_unexpected(link->link, frame, err);
	if (message_number(frame, &received, err))
		return -1;
	/* It may come late: an epoch's ACK says it, too. */
	if (received > link->frames)
		return err_set(err, ERR_INPUT, "%s acknowledged %llu frames of %llu", link_peer(link->link),
			       (unsigned long long)received, (unsigned long long)link->frames);
	sender_link_release(link, received);
	return 0;
}

int sender_link_look(struct sender_link *link, struct err *err)
{
	struct frame frame;
	int got;

	while ((got = link_readable(link->link, err)) > 0)
		if (link_receive(link->link, 0, &frame, err) < 0 || sender_link_take(link, &frame, err))
			return -1;
	return got;
}

/* Until the window has room. */
static int await_room(struct sender_link *link, struct err *err)
{
	struct frame frame;

	while (link->frames - link->received >= SENDER_WINDOW)
		if (link_next(link->link, clock_mono_ns() + LINK_STALL_MS * 1000000ull, &frame, err,
			      "acknowledged nothing for %d s", LINK_STALL_MS / 1000) ||
		    sender_link_take(link, &frame, err))
			return -1;
	return 0;
}

/* ---- sending --------------------------------------------------------------------------------------------------- */

/* Workers have no tick: the owner's thread has it for all of them. */
static int tick(const struct sender_link *link, struct err *err)
{
	const struct sender_session *session = &link->sender->session;

	return link == link->sender->control ? session->tick(session->arg, err) : 0;
}

/* With a limit, each frame waits until those before it, of all links, have had their time. */
static int pay(struct sender_link *link, size_t bytes, struct err *err)
{
	struct sender *sender = link->sender;
	uint64_t cost = (uint64_t)((double)bytes * 1e9 / (double)sender->bytes_per_s), at, base;

	at = __atomic_load_n(&sender->paid_ns, __ATOMIC_RELAXED);
	do {
		uint64_t now = clock_mono_ns();

		base = at + BURST_NS < now ? now - BURST_NS : at;
	} while (!__atomic_compare_exchange_n(&sender->paid_ns, &at, base + cost, false, __ATOMIC_RELAXED,
					      __ATOMIC_RELAXED));
	for (uint64_t now = clock_mono_ns(); now < base && !sender_stopped(sender); now = clock_mono_ns()) {
		struct timespec nap = clock_timespec(base - now < NAP_NS ? base - now : NAP_NS);

		nanosleep(&nap, NULL);
		if (tick(link, err))
			return -1;
	}
	return 0;
}

void sender_link_count_bytes(struct sender_link *link)
{
	uint64_t sent = link_bytes_sent(link->link);

	__atomic_fetch_add(&link->sender->bytes, sent - link->told, __ATOMIC_RELAXED);
	link->told = sent;
}

/* One frame with the first so many of n pages: *taken, if they are in the window from now on. */
static int send_frame(struct sender_link *link, const struct sender_volume *volume, const uint64_t *pages,
		      size_t n, size_t *taken, struct err *err)
{
	struct sender *sender = link->sender;
	struct message_pages frame;

	*taken = 0;
	if (await_room(link, err) || message_begin_pages(link->link, sender->epoch, link->encoder,
							 &volume->source, pages, n, &frame, err))
		return -1;
	if (sender->bytes_per_s && pay(link, frame.len, err)) {
		link_drop(link->link);
		return -1;
	}
	remember(link, frame.payload);
	*taken = frame.pages;
	__atomic_fetch_add(&sender->pages, (uint64_t)frame.pages, __ATOMIC_RELAXED);
	if (link_send(link->link, MESSAGE_PAGES, 0, err))
		return -1;
	sender_link_count_bytes(link);
	if (link->frames % LOOK_FRAMES == 0) {
		pages_encoder_link(link->encoder, link_send_ns(link->link), link_bytes_sent(link->link));
		if (sender_link_look(link, err) < 0)
			return -1;
	}
	return tick(link, err);
}

/* The pages of one claimed range.  Those that were not sent are in todo again. */
static int send_range(struct sender_link *link, struct sender_volume *volume, uint64_t first, uint64_t end,
		      struct err *err)
{
	struct sender *sender = link->sender;
	uint64_t pages[UNIT];
	size_t found;
	int status = 0;

	while (!status && (found = pageset_take_below(&volume->todo, &first, end, pages, UNIT)) > 0) {
		size_t done = 0, taken;

		for (; done < found && !status && !sender_stopped(sender); done += taken)
			status = send_frame(link, volume, pages + done, found - done, &taken, err);
		for (size_t i = done; i < found; i++)
			pageset_add(&volume->todo, pages[i]);
		if (done == found)
			continue;
		/* A frame may have been made of them that was not sent. */
		forget(sender, volume->source.volume, pages[done], pages[found - 1] - pages[done] + 1);
		break;
	}
	return status;
}

int sender_link_work(struct sender_link *link, struct err *err)
{
	struct sender *sender = link->sender;
	uint64_t first, end;

	/* Of the disks first, as what waits longest of RAM is likelier to be written again. */
	for (unsigned i = sender->volumes; i-- > 0;) {
		struct sender_volume *volume = &sender->volume[i];

		while (!volume->held && !sender_stopped(sender) &&
		       pageset_claim(&volume->todo, &volume->cursor, UNIT, &first, &end))
			if (send_range(link, volume, first, end, err))
				return -1;
	}
	if (link_flush(link->link, err))
		return -1;
	sender_link_count_bytes(link);
	return 0;
}
