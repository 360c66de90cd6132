/* serve_faults.c: what the guest touches before it has come is asked for, over a link of its own.
 *
 * One thread, which alone reads the userfaultfd and uses the request link.  Without a link (none yet, or it broke) it still answers what
 * needs no sender: pages that are zeroes. */
#include "common/fault.h"
#include "common/io.h"
#include "common/thread.h"
#include "migrate/serve_internal.h"
#include "vmm/uffd.h"

#include <errno.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <unistd.h>

static const uint8_t zeroes[PAGES_SIZE];

/* ---- who waits ---------------------------------------------------------------------------------------------------- */

/* Somebody waits for a page: false: it was asked for already. */
static bool remember(struct serve *serve, uint64_t page)
{
	struct serve_owed *owed = &serve->owed;
	bool known = false;

	pthread_mutex_lock(&serve->lock);
	for (size_t i = 0; i < owed->nwaiting && !known; i++)
		known = owed->waiting[i].page == page;
	/* Where there is no room it is asked for all the same. */
	if (!known && owed->nwaiting < SERVE_WAITING) {
		owed->waiting[owed->nwaiting].page = page;
		owed->waiting[owed->nwaiting++].since_ns = clock_mono_ns();
	}
	pthread_mutex_unlock(&serve->lock);
	return !known;
}

void serve_faults_came(struct serve *serve, uint64_t page, uint64_t count)
{
	struct serve_owed *owed = &serve->owed;
	uint64_t now = clock_mono_ns();

	pthread_mutex_lock(&serve->lock);
	for (size_t i = owed->nwaiting; i-- > 0;) {
		if (owed->waiting[i].page - page >= count)
			continue;
		histogram_add(&owed->faults, (now - owed->waiting[i].since_ns) / 1000);
		owed->waiting[i] = owed->waiting[--owed->nwaiting];
	}
	pthread_mutex_unlock(&serve->lock);
}

static bool is_over(struct serve *serve)
{
	bool quit;

	pthread_mutex_lock(&serve->lock);
	quit = serve->quit;
	pthread_mutex_unlock(&serve->lock);
	return quit;
}

/* ---- asking --------------------------------------------------------------------------------------------------------- */

static int on_wake(void *arg, short revents, struct err *err)
{
	bool *woken = arg;

	(void)revents;
	*woken = true;
	return err_set(err, ERR_LINK, "woken");
}

/* While it sends only the session's end may disturb. */
static void watch_quit(struct serve *serve, struct link *link, bool *woken)
{
	const struct link_watch watch = {
	    .fd = serve->quit_fd, .events = POLLIN, .ready = on_wake, .arg = woken};

	link_watch(link, &watch, 1);
}

static void watch_all(struct serve *serve, struct link *link, bool *woken)
{
	const struct link_watch watches[] = {
	    {.fd = serve->quit_fd, .events = POLLIN, .ready = on_wake, .arg = woken},
	    {.fd = serve->owed.offer_fd, .events = POLLIN, .ready = on_wake, .arg = woken},
	    {.fd = serve->owed.uffd, .events = POLLIN, .ready = on_wake, .arg = woken},
	};

	link_watch(link, watches, sizeof(watches) / sizeof(watches[0]));
}

/* A link that breaks is none: its successor is asked again. */
static void ask(struct serve *serve, struct serve_link *of, const uint64_t *pages, size_t count)
{
	bool woken = false;
	struct err err;
	struct buf *out;

	if (!of->link || count == 0)
		return;
	watch_quit(serve, of->link, &woken);
	out = link_begin(of->link);
	for (size_t i = 0; i < count; i++)
		buf_put_u64(out, pages[i]);
	if (link_send(of->link, MESSAGE_REQUEST, 0, &err) || link_flush(of->link, &err) ||
	    link_fault(of->link, FAULT_POSTCOPY_SERVE_REQUEST, &err))
		serve_link_end(of);
}

static void ask_again(struct serve *serve, struct serve_link *of)
{
	uint64_t pages[SERVE_WAITING];
	size_t count;

	pthread_mutex_lock(&serve->lock);
	count = serve->owed.nwaiting;
	for (size_t i = 0; i < count; i++)
		pages[i] = serve->owed.waiting[i].page;
	pthread_mutex_unlock(&serve->lock);
	for (size_t at = 0; at < count; at += REQUEST_PAGES)
		ask(serve, of, pages + at, count - at < REQUEST_PAGES ? count - at : REQUEST_PAGES);
}

static void take_offer(struct serve *serve, struct serve_link *of)
{
	struct serve_link offered;
	eventfd_t ignored;

	(void)eventfd_read(serve->owed.offer_fd, &ignored);
	pthread_mutex_lock(&serve->lock);
	offered = serve->owed.offered;
	serve->owed.offered = (struct serve_link){.process_fd = -1};
	pthread_mutex_unlock(&serve->lock);
	if (!offered.link)
		return;
	serve_link_end(of);
	*of = offered;
	ask_again(serve, of);
}

/* Those that are waiting now.  -1: the guest's memory cannot be looked after. */
static int take_faults(struct serve *serve, struct serve_link *of, struct err *err)
{
	struct serve_owed *owed = &serve->owed;
	uint64_t pages[REQUEST_PAGES], address;
	size_t count = 0;
	int got = 0;

	while (count < REQUEST_PAGES && (got = uffd_fault(owed->uffd, 0, -1, &address)) > 0) {
		uint64_t page = (address - owed->base) / PAGES_SIZE;

		if (address < owed->base || page >= owed->pages.pages)
			continue;
		if (pageset_has(&owed->pages, page)) {
			if (remember(serve, page))
				pages[count++] = page;
			continue;
		}
		/* Nothing was ever there on the source either; or it came just now, and then that stays. */
		if (uffd_place(owed->uffd, address, zeroes, PAGES_SIZE))
			return err_sys(err, "cannot fill the guest's memory (is the host out of memory?)");
	}
	if (got < 0)
		return err_sys(err, "userfaultfd");
	ask(serve, of, pages, count);
	return 0;
}

static int take_pages(struct serve *serve, struct serve_link *of, const struct frame *frame, struct err *err)
{
	enum { HEAD = 8 };
	bool on;

	pthread_mutex_lock(&serve->lock);
	on = serve->target[0].place != NULL;
	pthread_mutex_unlock(&serve->lock);
	if (frame->type != MESSAGE_PAGES || frame->flags || frame->len < HEAD || !on)
		return message_unexpected(of->link, frame, err);
	return pages_decode(serve->owed.decoder, &serve->target[0], 1, frame->payload + HEAD,
			    frame->len - HEAD, err) < 0
		   ? -1
		   : 0;
}

/* Until something is to be done; what comes over the link is done here. */
static int wait_for_work(struct serve *serve, struct serve_link *of, struct err *err)
{
	struct pollfd fds[] = {{.fd = serve->quit_fd, .events = POLLIN},
			       {.fd = serve->owed.offer_fd, .events = POLLIN},
			       {.fd = serve->owed.uffd, .events = POLLIN}};
	bool woken = false;
	struct frame frame;
	struct err broken;

	if (!of->link)
		return poll(fds, 3, -1) < 0 && errno != EINTR ? err_sys(err, "cannot wait for the guest") : 0;
	watch_all(serve, of->link, &woken);
	while (link_receive(of->link, UINT64_MAX, &frame, &broken) > 0)
		if (take_pages(serve, of, &frame, err))
			return -1;
	if (!woken)
		serve_link_end(of);
	return 0;
}

static void *answer(void *arg)
{
	struct serve *serve = arg;
	struct serve_link of = {.process_fd = -1};
	struct err err;
	int failed = 0;

	while (!failed && !is_over(serve)) {
		failed = wait_for_work(serve, &of, &err);
		if (failed || is_over(serve))
			break;
		take_offer(serve, &of);
		failed = take_faults(serve, &of, &err);
	}
	serve_link_end(&of);
	if (!failed)
		return NULL;
	pthread_mutex_lock(&serve->lock);
	if (serve->failed.kind == ERR_NONE)
		serve->failed = err;
	pthread_mutex_unlock(&serve->lock);
	(void)eventfd_write(serve->wake_fd, 1);
	return NULL;
}

/* ---- the main thread's side ------------------------------------------------------------------------------------------ */

int serve_faults_start(struct serve *serve, struct err *err)
{
	struct serve_owed *owed = &serve->owed;

	owed->offered.process_fd = -1;
	owed->offer_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (owed->offer_fd < 0)
		return err_sys(err, "cannot make an eventfd");
	owed->decoder = pages_decoder_open(err);
	if (!owed->decoder)
		return -1;
	owed->threaded = !thread_start(&owed->thread, answer, serve);
	return !owed->threaded ? err_sys(err, "cannot start a thread for the guest's faults") : 0;
}

void serve_faults_stop(struct serve *serve)
{
	struct serve_owed *owed = &serve->owed;

	if (owed->threaded)
		pthread_join(owed->thread, NULL);
	owed->threaded = false;
	if (owed->offered.link)
		serve_link_end(&owed->offered);
	pages_decoder_close(owed->decoder);
	owed->decoder = NULL;
	io_close(&owed->offer_fd);
}

void serve_faults_offer(struct serve *serve, const struct serve_link *link)
{
	struct serve_link before;

	pthread_mutex_lock(&serve->lock);
	before = serve->owed.offered;
	serve->owed.offered = *link;
	pthread_mutex_unlock(&serve->lock);
	serve_link_end(&before);
	(void)eventfd_write(serve->owed.offer_fd, 1);
}
