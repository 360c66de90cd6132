/* snapshot_ram.c: see snapshot_ram.h. */
#include "vmm/snapshot_ram.h"
#include "common/buf.h"
#include "common/fault.h"
#include "common/io.h"
#include "common/thread.h"
#include "vmm/memory.h"
#include "vmm/uffd.h"
#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

enum { CHUNK = 1 << 20, CHUNK_PAGES = CHUNK / MEMORY_PAGE, EXTENTS = 1024 };

/* Pages that were copied for faults and are not in the volume yet. */
struct kept {
	uint64_t page[SNAPSHOT_FAULTS];
	size_t count;
	uint8_t *data;
};

struct copier {
	struct snapshot_ram *ram;
	struct dvol *vol;
	uint8_t *chunk;
	uint64_t total, done;
	int stop_fd;
	pthread_mutex_t lock; /* of what follows */
	pthread_cond_t room;
	uint64_t *settled; /* a bit a page: it was copied, or is none of those that are to be */
	struct kept *kept, *spare;
	int failure; /* errno of the other thread */
	bool stop;
};

static void *must(void *memory)
{
	if (!memory)
		abort(); /* as in common/buf.h */
	return memory;
}

static bool is_settled(const struct copier *copier, uint64_t page)
{
	return copier->settled[page / 64] >> (page % 64) & 1;
}

static void settle(struct copier *copier, uint64_t page)
{
	copier->settled[page / 64] |= 1ull << (page % 64);
}

static int read_ram(const struct snapshot_ram *ram, uint8_t *data, uint64_t len, uint64_t offset)
{
	for (uint64_t at = 0; at < len;) {
		ssize_t got = pread(ram->ram_fd, data + at, len - at, (off_t)(offset + at));
		if (got <= 0 && errno != EINTR) {
			errno = got ? errno : EIO;
			return -1;
		}
		at += got > 0 ? (uint64_t)got : 0;
	}
	return 0;
}

/* ---- the thread that answers faults ------------------------------------------------------------------------------- */

/* keep_page: the page's content, before the guest may change it. */
static int keep_page(struct copier *copier, uint64_t page)
{
	int status = 0;
	pthread_mutex_lock(&copier->lock);
	while (copier->kept->count == SNAPSHOT_FAULTS && !is_settled(copier, page) && !copier->stop)
		pthread_cond_wait(&copier->room, &copier->lock);
	if (!is_settled(copier, page) && !copier->stop) {
		struct kept *kept = copier->kept;
		status = read_ram(copier->ram, kept->data + kept->count * MEMORY_PAGE, MEMORY_PAGE,
				  page * MEMORY_PAGE);
		kept->page[kept->count++] = page;
		settle(copier, page);
		copier->ram->faults++;
	}
	pthread_mutex_unlock(&copier->lock);
	return status;
}

static void *answer(void *arg)
{
	struct copier *copier = arg;
	const struct snapshot_ram *ram = copier->ram;
	uint64_t address;
	int waits;
	while ((waits = uffd_fault(ram->uffd, -1, copier->stop_fd, &address)) > 0) {
		uint64_t page = (address - ram->base) / MEMORY_PAGE;
		if ((page < ram->bytes / MEMORY_PAGE && keep_page(copier, page)) ||
		    uffd_protect(ram->uffd, address, MEMORY_PAGE, false)) {
			waits = -1;
			break;
		}
	}
	if (waits < 0) {
		pthread_mutex_lock(&copier->lock);
		copier->failure = errno ? errno : EIO;
		pthread_mutex_unlock(&copier->lock);
	}
	return NULL;
}

/* ---- the caller's ------------------------------------------------------------------------------------------------- */

/* write_kept: what the other thread has kept so far. */
static int write_kept(struct copier *copier, struct err *err)
{
	pthread_mutex_lock(&copier->lock);
	struct kept *kept = copier->kept;
	copier->kept = copier->spare;
	copier->spare = kept;
	int failure = copier->failure;
	pthread_cond_signal(&copier->room);
	pthread_mutex_unlock(&copier->lock);
	for (size_t i = 0; i < kept->count; i++)
		if (dvol_write_differing(copier->vol, kept->data + i * MEMORY_PAGE, MEMORY_PAGE,
					 kept->page[i] * MEMORY_PAGE, &copier->ram->written_bytes, err))
			return -1;
	kept->count = 0;
	if (!failure)
		return 0;
	errno = failure;
	return failure == ESRCH ? err_set(err, ERR_LINK, "the VM process ended")
				: err_sys(err, "cannot copy the guest's RAM");
}

/* copy_chunk: the pages of [offset, offset + len) of which the other thread was not first. */
static int copy_chunk(struct copier *copier, uint64_t offset, uint64_t len, struct err *err)
{
	struct snapshot_ram *ram = copier->ram;
	uint64_t first = offset / MEMORY_PAGE, count = len / MEMORY_PAGE;
	bool theirs[CHUNK_PAGES];
	if (read_ram(ram, copier->chunk, len, offset))
		return err_sys(err, "cannot read the guest's RAM");
	pthread_mutex_lock(&copier->lock);
	for (uint64_t i = 0; i < count; i++) {
		theirs[i] = is_settled(copier, first + i);
		settle(copier, first + i);
	}
	pthread_cond_signal(&copier->room);
	pthread_mutex_unlock(&copier->lock);
	if (ram->uffd >= 0 && uffd_protect(ram->uffd, ram->base + offset, len, false))
		return errno == ESRCH ? err_set(err, ERR_LINK, "the VM process ended")
				      : err_sys(err, "cannot let the guest write to its RAM");
	for (uint64_t i = 0, some; i < count; i += some) {
		for (some = 1; i + some < count && theirs[i + some] == theirs[i];)
			some++;
		if (!theirs[i] &&
		    dvol_write_differing(copier->vol, copier->chunk + i * MEMORY_PAGE, some * MEMORY_PAGE,
					 (first + i) * MEMORY_PAGE, &ram->written_bytes, err))
			return -1;
	}
	ram->copied_bytes += len;
	return write_kept(copier, err);
}

/* empty_range: RAM that nothing was behind, which is zeroes.  Costs what the volume has there. */
static int empty_range(struct copier *copier, uint64_t from, uint64_t to, struct err *err)
{
	int status = 0;
	while (from < to && !status) {
		struct dvol_map_extent *list = NULL;
		size_t count = 0;
		status = dvol_map(copier->vol, from, to - from, EXTENTS, &list, &count, err);
		for (size_t i = 0; i < count && !status; i++) {
			from = list[i].offset + list[i].len;
			if (list[i].kind == DVOL_MAP_HOLE || list[i].kind == DVOL_MAP_ZERO)
				continue;
			status = dvol_write_zeroes(copier->vol, list[i].offset, list[i].len, err);
			copier->ram->written_bytes += list[i].len;
		}
		free(list);
	}
	return status;
}

static int copy_range(struct copier *copier, uint64_t from, uint64_t len, struct err *err)
{
	const struct snapshot_ram *ram = copier->ram;
	for (uint64_t at = 0, some; at < len; at += some) {
		some = len - at < CHUNK ? len - at : CHUNK;
		if (ram->tick && !ram->tick(ram->tick_context, copier->done, copier->total))
			return err_set(err, ERR_CANCELLED, "cancelled");
		if (copy_chunk(copier, from + at, some, err))
			return -1;
		copier->done += some;
		if (fault_point(FAULT_SNAPSHOT_MIDDLE))
			return err_set(err, ERR_SYSTEM, "injected failure");
	}
	return 0;
}

static int copy_all(struct copier *copier, struct err *err)
{
	const struct snapshot_ram *ram = copier->ram;
	uint64_t end = 0;
	for (size_t at = 0; at < ram->touched_len; at += 16) {
		uint64_t from = le64_get(ram->touched + at), len = le64_get(ram->touched + at + 8);
		if (empty_range(copier, end, from, err) || copy_range(copier, from, len, err))
			return -1;
		end = from + len;
	}
	return empty_range(copier, end, dvol_size(copier->vol), err);
}

/* ---- beginning and end ---------------------------------------------------------------------------------------------- */

/* check_touched: rising ranges of whole pages within RAM; which pages are to be copied, and how many. */
static int check_touched(struct copier *copier, struct err *err)
{
	const struct snapshot_ram *ram = copier->ram;
	uint64_t end = 0;
	memset(copier->settled, 0xff, (ram->bytes / MEMORY_PAGE + 63) / 64 * 8);
	for (size_t at = 0; at < ram->touched_len; at += 16) {
		uint64_t from = ram->touched_len - at < 16 ? UINT64_MAX : le64_get(ram->touched + at);
		uint64_t len = from == UINT64_MAX ? 0 : le64_get(ram->touched + at + 8);
		if (from < end || from > ram->bytes || len == 0 || len > ram->bytes - from ||
		    from % MEMORY_PAGE || len % MEMORY_PAGE)
			return err_set(err, ERR_INPUT, "the VM process's list of pages makes no sense");
		for (uint64_t page = from / MEMORY_PAGE; page < (from + len) / MEMORY_PAGE; page++)
			copier->settled[page / 64] &= ~(1ull << (page % 64));
		end = from + len;
		copier->total += len;
	}
	return 0;
}

static int with_thread(struct copier *copier, struct err *err)
{
	pthread_t thread;
	if (thread_start(&thread, answer, copier))
		return err_sys(err, "cannot copy the guest's RAM");
	int status = copy_all(copier, err);
	pthread_mutex_lock(&copier->lock);
	copier->stop = true; /* all is settled, or it does not matter any more */
	pthread_cond_signal(&copier->room);
	pthread_mutex_unlock(&copier->lock);
	(void)eventfd_write(copier->stop_fd, 1);
	pthread_join(thread, NULL);
	return status || write_kept(copier, err) ? -1 : 0;
}

static struct kept *make_kept(void)
{
	struct kept *kept = must(calloc(1, sizeof(*kept)));
	kept->data = must(malloc((size_t)SNAPSHOT_FAULTS * MEMORY_PAGE));
	return kept;
}

static void free_kept(struct kept *kept)
{
	free(kept->data);
	free(kept);
}

int snapshot_ram_copy(struct snapshot_ram *ram, struct dvol *vol, struct err *err)
{
	struct copier copier = {.ram = ram, .vol = vol, .kept = make_kept(), .spare = make_kept()};
	copier.settled = must(calloc(ram->bytes / MEMORY_PAGE / 64 + 1, 8));
	copier.chunk = must(aligned_alloc(MEMORY_PAGE, CHUNK));
	copier.stop_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	pthread_mutex_init(&copier.lock, NULL);
	pthread_cond_init(&copier.room, NULL);
	int status = check_touched(&copier, err);
	if (!status)
		status = ram->uffd >= 0 ? with_thread(&copier, err) : copy_all(&copier, err);
	pthread_cond_destroy(&copier.room);
	pthread_mutex_destroy(&copier.lock);
	io_close(&copier.stop_fd);
	free(copier.chunk);
	free(copier.settled);
	free_kept(copier.kept);
	free_kept(copier.spare);
	return status;
}
