/* pager.c: see pager.h. */
#include "vmm/pager.h"
#include "common/io.h"
#include "common/log.h"
#include "common/thread.h"
#include "vmm/memory.h"
#include "vmm/uffd.h"
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

enum {
	CHUNK = 1 << 20, /* the filler's reads */
	AROUND =
	    1 << 16, /* with a page that somebody waits for come those around it: guests touch neighbours */
	EXTENTS = 4096,
};

static bool stopping(const struct pager *pager)
{
	return __atomic_load_n(&pager->stop, __ATOMIC_ACQUIRE);
}

bool pager_has_failed(const struct pager *pager)
{
	return __atomic_load_n(&pager->failed, __ATOMIC_ACQUIRE);
}

static bool is_zero(const uint8_t *page)
{
	return page[0] == 0 && memcmp(page, page + 1, MEMORY_PAGE - 1) == 0;
}

static int put(const struct pager *pager, uint64_t offset, const uint8_t *data, size_t len)
{
	if (pager->uffd >= 0)
		return uffd_place(pager->uffd, (uintptr_t)pager->base + offset, data, len);
	memcpy(pager->base + offset, data, len);
	return 0;
}

/* place: the pages of [offset, offset + len) that are not zeroes, and the page `wanted` in any case (UINT64_MAX: none). */
static int place(const struct pager *pager, uint64_t offset, const uint8_t *data, size_t len, uint64_t wanted)
{
	size_t from = 0;
	for (size_t at = 0; at <= len; at += MEMORY_PAGE) {
		if (at < len && (offset + at == wanted || !is_zero(data + at)))
			continue;
		if (at > from && put(pager, offset + from, data + from, at - from))
			return -1;
		from = at + MEMORY_PAGE;
	}
	return 0;
}

static void *memory(void)
{
	void *memory = aligned_alloc(MEMORY_PAGE, CHUNK);
	if (!memory)
		abort(); /* as in common/buf.h */
	return memory;
}

static int bring(struct pager *pager, uint64_t offset, uint64_t len, uint64_t wanted, uint8_t *data,
		 struct err *err)
{
	if (dvol_read_proven(pager->volume, data, len, offset, err))
		return -1;
	if (place(pager, offset, data, len, wanted))
		return err_sys(err, "cannot fill the guest's RAM");
	return 0;
}

/* The guest must never see anything else in place of that page: the process ends, by its main thread if that can. */
static void fail(struct pager *pager, const struct err *why)
{
	pager->err = *why;
	err_context(&pager->err, "the guest's memory cannot be restored, so it must end");
	__atomic_store_n(&pager->failed, true, __ATOMIC_RELEASE);
	(void)eventfd_write(pager->done_fd, 1);
	sleep(PAGER_GRACE_S);
	log_error("%s", pager->err.text);
	_exit(1);
}

static void *answer(void *arg)
{
	struct pager *pager = arg;
	uint8_t *data = memory();
	struct err err;
	uint64_t address;
	while (!stopping(pager)) {
		int waits = uffd_fault(pager->uffd, -1, pager->stop_fd, &address);
		if (waits < 0) {
			err_sys(&err, "userfaultfd");
			fail(pager, &err);
		}
		if (waits <= 0)
			continue;
		uint64_t offset = address - (uintptr_t)pager->base, first = offset & ~(uint64_t)(AROUND - 1);
		uint64_t len = pager->bytes - first < AROUND ? pager->bytes - first : AROUND;
		/* Where one around it is damaged the page itself may be whole. */
		if (bring(pager, first, len, offset, data, &err) &&
		    bring(pager, offset, MEMORY_PAGE, offset, data, &err))
			fail(pager, &err);
	}
	free(data);
	return NULL;
}

static int fill_extent(struct pager *pager, const struct dvol_map_extent *extent, uint8_t *data,
		       struct err *err)
{
	if (extent->kind == DVOL_MAP_HOLE || extent->kind == DVOL_MAP_ZERO)
		return 0;
	for (uint64_t at = 0, some; at < extent->len && !stopping(pager); at += some) {
		some = extent->len - at < CHUNK ? extent->len - at : CHUNK;
		if (bring(pager, extent->offset + at, some, UINT64_MAX, data, err))
			return -1;
	}
	return 0;
}

static int fill_all(struct pager *pager, struct err *err)
{
	uint8_t *data = memory();
	uint64_t at = 0;
	int status = 0;
	while (at < pager->bytes && !status && !stopping(pager)) {
		struct dvol_map_extent *list = NULL;
		size_t count = 0;
		status = dvol_map(pager->volume, at, pager->bytes - at, EXTENTS, &list, &count, err);
		for (size_t i = 0; i < count && !status; i++) {
			status = fill_extent(pager, &list[i], data, err);
			at = list[i].offset + list[i].len;
		}
		free(list);
	}
	free(data);
	return status;
}

static void *fill(void *arg)
{
	struct pager *pager = arg;
	struct err err;
	if (fill_all(pager, &err))
		fail(pager, &err);
	else if (!stopping(pager))
		(void)eventfd_write(pager->done_fd, 1);
	return NULL;
}

/* ---- beginning and end ------------------------------------------------------------------------------------------- */

static int open_volume(struct pager *pager, const char *path, struct dvol_id id, struct err *err)
{
	struct dvol_open_options options = {.epoch = id};
	pager->volume = dvol_open(path, &options, err);
	if (!pager->volume)
		return -1;
	if (dvol_size(pager->volume) >= pager->bytes)
		return 0;
	return err_set(err, ERR_INPUT, "%s: the snapshot has %llu bytes of RAM, the VM %llu", path,
		       (unsigned long long)dvol_size(pager->volume), (unsigned long long)pager->bytes);
}

int pager_run(struct pager *pager, struct err *err)
{
	if (!pager->volume)
		return 0;
	pager->has_answerer = !thread_start(&pager->answerer, answer, pager);
	pager->has_filler = pager->has_answerer && !thread_start(&pager->filler, fill, pager);
	return pager->has_filler ? 0 : err_sys(err, "cannot prepare the guest's RAM");
}

int pager_open(struct pager *pager, const char *path, struct dvol_id id, void *base, uint64_t bytes,
	       int device, struct err *err)
{
	*pager = (struct pager){.base = base, .bytes = bytes, .uffd = -1, .stop_fd = -1, .done_fd = -1};
	int failed = open_volume(pager, path, id, err);
	if (!failed) {
		pager->stop_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
		pager->done_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
		if (pager->stop_fd < 0 || pager->done_fd < 0)
			failed = err_sys(err, "cannot prepare the guest's RAM");
	}
	if (!failed)
		pager->uffd = uffd_open(device, base, bytes, UFFD_MISSING, &pager->err);
	if (!failed && pager->uffd >= 0)
		return 0;
	if (!failed)
		failed = fill_all(pager, err);
	struct err why = pager->err;
	pager_stop(pager);
	pager->err = why;
	return failed ? -1 : 0;
}

void pager_stop(struct pager *pager)
{
	if (!pager->base)
		return;
	__atomic_store_n(&pager->stop, true, __ATOMIC_RELEASE);
	if (pager->stop_fd >= 0)
		(void)eventfd_write(pager->stop_fd, 1);
	if (pager->has_filler)
		pthread_join(pager->filler, NULL);
	if (pager->has_answerer)
		pthread_join(pager->answerer, NULL);
	if (pager->uffd >= 0)
		(void)uffd_unwatch(pager->uffd, pager->base, pager->bytes);
	io_close(&pager->uffd);
	io_close(&pager->stop_fd);
	io_close(&pager->done_fd);
	(void)dvol_close(pager->volume, NULL);
	*pager = (struct pager){.uffd = -1, .stop_fd = -1, .done_fd = -1};
}
