/* serve_postcopy.c: pages that come after the guest's start (docs/stream.md, Post-copy): which they are, and when all are there.
 *
 * A page goes from missing to there once, by UFFDIO_COPY, whoever brings it, and leaves the set of missing ones after that.  So what the set
 * does not have is there, or was never anything but zeroes. */
#include "common/fault.h"
#include "common/io.h"
#include "common/jobj.h"
#include "migrate/serve_internal.h"
#include "vmm/uffd.h"

#include <errno.h>
#include <unistd.h>

/* pages_target's.  Threads of all links. */
static int place(void *arg, uint64_t page, uint64_t count, const uint8_t *data, struct err *err)
{
	struct serve *serve = arg;
	struct serve_owed *owed = &serve->owed;

	if (uffd_place(owed->uffd, owed->base + page * PAGES_SIZE, data, count * PAGES_SIZE))
		return err_sys(err,
			       "cannot fill the guest's memory at page %llu (is the host out of memory?)",
			       (unsigned long long)page);
	pageset_remove_range(&owed->pages, page, count);
	serve_faults_came(serve, page, count);
	return serve_bounds_room(serve, err);
}

static int watch_ram(struct serve *serve, struct err *err)
{
	struct serve_owed *owed = &serve->owed;
	int fds[CONTROL_MAX_FDS], failed;
	uint64_t request;
	json_t *reply;
	size_t nfds;

	if (control_start(&serve->vm, json_pack("{s:s}", "cmd", "postcopy-begin"), owed->pages.fd, &request,
			  err) ||
	    control_finish(&serve->vm, request, SERVE_VM_MS, &reply, fds, &nfds, err))
		return -1;
	failed = jobj_hex64(reply, "ram_base", true, &owed->base, err);
	json_decref(reply);
	if (!failed && nfds != 1)
		failed = err_set(err, ERR_INPUT, "the VM process gave no userfaultfd");
	for (size_t i = failed ? 0 : 1; i < nfds; i++)
		io_close(&fds[i]);
	if (!failed)
		owed->uffd = fds[0];
	return failed ? -1 : 0;
}

int serve_postcopy_open(struct serve *serve, struct err *err)
{
	if (pageset_create(&serve->owed.pages, serve->target[0].pages, err))
		return -1;
	serve->target[0].place_arg = serve;
	if (watch_ram(serve, err))
		return err_context(err, "memory cannot come after the guest's start there");
	return serve_faults_start(serve, err);
}

void serve_postcopy_close(struct serve *serve)
{
	io_close(&serve->owed.uffd);
	pageset_close(&serve->owed.pages);
}

/* A part of a huge page that the kernel did not split is not a hole but zeroes, and would be taken for what the guest had. */
static int check_hole(const struct serve *serve, uint64_t first, uint64_t count, struct err *err)
{
	off_t data = lseek(serve->ram_fd, (off_t)(first * PAGES_SIZE), SEEK_DATA);

	if (data < 0 ? errno == ENXIO : (uint64_t)data >= (first + count) * PAGES_SIZE)
		return 0;
	return err_set(
	    err, ERR_SYSTEM,
	    "the guest's memory there has huge pages that cannot be divided, so that it cannot come later: "
	    "move it without post-copy, or write 'advise' to "
	    "/sys/kernel/mm/transparent_hugepage/shmem_enabled there");
}

int serve_postcopy_owed(struct serve *serve, const struct frame *frame, struct err *err)
{
	struct serve_owed *owed = &serve->owed;
	struct message_owed list;

	if (serve->state != SERVE_EPOCH || !owed->on || owed->running)
		return message_unexpected(serve->control.link, frame, err);
	if (message_owed(frame, &list, err))
		return -1;
	if (list.epoch != serve->epoch.epoch)
		return err_set(err, ERR_INPUT, "pages are owed to epoch %llu, not to %llu",
			       (unsigned long long)list.epoch, (unsigned long long)serve->epoch.epoch);
	/* The earlier epochs are acknowledged: no link's thread is at work, but that of the request link may be. */
	pthread_mutex_lock(&serve->lock);
	serve->target[0].place = place;
	pthread_mutex_unlock(&serve->lock);
	for (uint32_t i = 0; i < list.runs; i++) {
		uint64_t first, count;

		if (message_owed_run(&list, i, owed->pages.pages, &first, &count, err))
			return -1;
		/* In this order: once it is a hole, somebody may want it. */
		pageset_add_range(&owed->pages, first, count);
		if (pages_target_punch(&serve->target[0], first, count, err) ||
		    check_hole(serve, first, count, err))
			return -1;
	}
	return link_fault(serve->control.link, FAULT_POSTCOPY_SERVE_OWED, err);
}

static int unwatch_ram(struct serve *serve, struct err *err)
{
	return control_call(&serve->vm, json_pack("{s:s}", "cmd", "postcopy-end"), SERVE_VM_MS, NULL, NULL,
			    NULL, err);
}

int serve_postcopy_settle(struct serve *serve, struct err *err)
{
	if (!serve->owed.on || pageset_count(&serve->owed.pages) > 0)
		return 0;
	if (unwatch_ram(serve, err))
		return -1;
	serve->owed.on = false;
	return 0;
}

void serve_postcopy_started(struct serve *serve)
{
	pthread_mutex_lock(&serve->lock);
	serve->owed.running = true;
	serve->state = SERVE_IDLE;
	pthread_mutex_unlock(&serve->lock);
}

/* How long the guest waited for pages. */
static json_t *faults_json(struct serve *serve)
{
	json_t *buckets = json_array();
	struct histogram faults;

	pthread_mutex_lock(&serve->lock);
	faults = serve->owed.faults;
	pthread_mutex_unlock(&serve->lock);
	for (size_t i = 0; i < HISTOGRAM_BUCKETS; i++)
		json_array_append_new(buckets, json_integer((json_int_t)faults.bucket[i]));
	return json_pack("{s:{s:I, s:I, s:o}}", "faults", "count", (json_int_t)faults.count, "max_us",
			 (json_int_t)faults.max_us, "buckets", buckets);
}

int serve_postcopy_rest(struct serve *serve, struct err *err)
{
	struct link *link = serve->control.link;

	if (pageset_count(&serve->owed.pages) > 0)
		return message_send_owed(link, serve->epoch.epoch, &serve->owed.pages, err) ||
			       link_flush(link, err)
			   ? -1
			   : 0;
	if (link_fault(link, FAULT_POSTCOPY_SERVE_WHOLE, err) || unwatch_ram(serve, err))
		return -1;
	/* Whatever becomes of this word: the guest needs nobody any more, and who asks is told so. */
	serve_set_state(serve, SERVE_STARTED);
	if (link_fault(link, FAULT_POSTCOPY_SERVE_TOLD, err) ||
	    message_send_json(link, MESSAGE_WHOLE, faults_json(serve), err))
		return -1;
	return link_flush(link, err);
}
