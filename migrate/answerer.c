#include "migrate/answerer.h"

#include "common/io.h"
#include "common/thread.h"
#include "migrate/message.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <sys/eventfd.h>

enum {
	AROUND =
	    16, /* pages: with one that somebody waits for come those behind it: guests touch neighbours */
	RETRY_MS = 500,
};

static int on_stop(void *arg, short revents, struct err *err)
{
	(void)arg, (void)revents;
	return err_set(err, ERR_CANCELLED, "all is sent");
}

static void connect_link(struct answerer *answerer, struct err *err)
{
	struct link_watch watch = {.fd = answerer->stop_fd, .events = POLLIN, .ready = on_stop};

	answerer->link =
	    answerer->join(answerer->join_arg, sender_take_id(answerer->sender), &answerer->attempt, err);
	ssh_attempt_end(&answerer->attempt);
	if (answerer->link)
		link_watch(answerer->link, &watch, 1);
}

static int send_pages(struct answerer *answerer, const uint64_t *pages, size_t count, struct err *err)
{
	const struct sender *sender = answerer->sender;
	uint64_t before = link_bytes_sent(answerer->link);

	while (count > 0) {
		struct message_pages frame;

		if (message_begin_pages(answerer->link, sender->epoch, answerer->encoder,
					&sender->volume[0].source, pages, count, &frame, err) ||
		    link_send(answerer->link, MESSAGE_PAGES, 0, err))
			return -1;
		pages += frame.pages;
		count -= frame.pages;
	}
	if (link_flush(answerer->link, err))
		return -1;
	__atomic_fetch_add(&answerer->sender->bytes, link_bytes_sent(answerer->link) - before,
			   __ATOMIC_RELAXED);
	return 0;
}

/* Those behind a page that are still owed. */
static size_t neighbours(struct answerer *answerer, uint64_t page, uint64_t pages[AROUND])
{
	size_t count = 0;

	for (uint64_t next = page + 1; next < page + AROUND; next++)
		if (pageset_remove_range(&answerer->sender->volume[0].todo, next, 1))
			pages[count++] = next;
	return count;
}

/* First all that somebody waits for, each in a frame of its own; then what he may want next. */
static int answer(struct answerer *answerer, const struct frame *frame, struct err *err)
{
	uint64_t asked[REQUEST_PAGES], behind[AROUND];
	size_t count, more;

	if (frame->type != MESSAGE_REQUEST)
		return message_unexpected(answerer->link, frame, err);
	if (message_request(frame, asked, &count, err))
		return -1;
	for (size_t i = 0; i < count; i++) {
		if (asked[i] >= answerer->sender->volume[0].source.pages)
			return err_set(err, ERR_INPUT, "a page past the end of the memory was asked for");
		/* Whether it was sent before does not matter: there it is not. */
		pageset_remove_range(&answerer->sender->volume[0].todo, asked[i], 1);
		if (send_pages(answerer, &asked[i], 1, err))
			return -1;
	}
	for (size_t i = 0; i < count; i++) {
		more = neighbours(answerer, asked[i], behind);
		if (more > 0 && send_pages(answerer, behind, more, err))
			return -1;
	}
	return 0;
}

static bool stopped(const struct answerer *answerer, int wait_ms)
{
	struct pollfd stop = {.fd = answerer->stop_fd, .events = POLLIN};

	return poll(&stop, 1, wait_ms) > 0;
}

/* What was on its way on a link that broke is still missing there: who waits asks again, and the rest is in the list that the sender
 * is given in the end. */
static void *answerer_thread(void *arg)
{
	struct answerer *answerer = arg;
	struct frame frame;
	struct err err;

	while (!stopped(answerer, 0)) {
		if (!answerer->link)
			connect_link(answerer, &err);
		while (answerer->link && link_receive(answerer->link, UINT64_MAX, &frame, &err) > 0)
			if (answer(answerer, &frame, &err))
				break;
		link_close(answerer->link);
		answerer->link = NULL;
		if (stopped(answerer, RETRY_MS))
			break;
	}
	return NULL;
}

int answerer_start(struct answerer *answerer, struct sender *sender,
		   struct link *(*join)(void *arg, uint32_t id, struct ssh_attempt *attempt, struct err *err),
		   void *arg, struct err *err)
{
	*answerer = (struct answerer){.sender = sender, .join = join, .join_arg = arg, .stop_fd = -1};
	ssh_attempt_open(&answerer->attempt);
	/* For one page nothing is fast that takes long; a link may be slow, though. */
	answerer->encoder =
	    pages_encoder_open(sender->packing == PACKER_NONE ? PACKER_NONE : PACKER_LZ4, err);
	if (!answerer->encoder)
		return -1;
	answerer->stop_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (answerer->stop_fd < 0)
		return err_sys(err, "cannot make an eventfd");
	connect_link(answerer, err);
	if (!answerer->link && err->kind == ERR_REFUSED)
		return -1;
	answerer->threaded = !thread_start(&answerer->thread, answerer_thread, answerer);
	return answerer->threaded ? 0 : err_set(err, ERR_SYSTEM, "cannot start a thread");
}

void answerer_stop(struct answerer *answerer)
{
	if (!answerer->sender)
		return;
	if (answerer->threaded) {
		(void)eventfd_write(answerer->stop_fd, 1);
		ssh_attempt_give_up(&answerer->attempt);
		pthread_join(answerer->thread, NULL);
	}
	link_close(answerer->link);
	ssh_attempt_close(&answerer->attempt);
	pages_encoder_close(answerer->encoder);
	io_close(&answerer->stop_fd);
	*answerer = (struct answerer){.stop_fd = -1};
}
