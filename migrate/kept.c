/* kept.c: see kept.h.
 *
 * There are two copies of the notes: the one that does not count is written, then it is made to count.  So a mover may be killed at
 * any instruction. */
#include "migrate/kept.h"

#include "common/io.h"
#include "migrate/mover.h"

#include <assert.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

/* Of the layout below: another drover may have begun the move. */
enum { VERSION = 1, BYTES = 4096 };

struct kept_page {
	uint32_t version;
	uint32_t current;
	struct kept_notes copy[2];
};

static_assert(sizeof(struct kept_page) <= BYTES, "the VM process has so much for it");

static int map(struct kept *kept, int fd, struct err *err)
{
	int seals = fcntl(fd, F_GET_SEALS);
	struct stat st;
	void *at;

	if (seals < 0 || !(seals & F_SEAL_SHRINK) || fstat(fd, &st) || st.st_size < BYTES)
		return err_set(err, ERR_INPUT, "what the VM process keeps for a mover is not fit for that");
	at = mmap(NULL, BYTES, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (at == MAP_FAILED)
		return err_sys(err, "cannot map what the VM process keeps for a mover");
	kept->page = at;
	kept->fd = fd;
	return 0;
}

void kept_close(struct kept *kept)
{
	if (kept->page)
		munmap(kept->page, BYTES);
	kept->page = NULL;
	io_close(&kept->fd);
}

static int ask(struct mover *mover, int fds[CONTROL_MAX_FDS], struct err *err)
{
	json_t *request = json_pack("{s:s, s:I, s:I, s:I, s:s, s:s}", "cmd", "keep", "ms",
				    (json_int_t)(mover->options->reconnect_ns / 1000000), "pages",
				    (json_int_t)sender_span(&mover->sender), "term", (json_int_t)mover->term,
				    "session", mover->session, "peer", mover->host.url);
	size_t nfds;

	if (control_call(&mover->vm, request, MOVER_VM_MS, NULL, fds, &nfds, err))
		return -1;
	if (nfds == 2)
		return 0;
	for (size_t i = 0; i < nfds; i++)
		close(fds[i]);
	return err_set(err, ERR_INPUT, "the VM process gave %zu descriptors instead of 2", nfds);
}

static int begin(struct mover *mover, struct err *err)
{
	int fds[CONTROL_MAX_FDS];
	struct pageset due;

	if (ask(mover, fds, err))
		return -1;
	if (pageset_map(&due, fds[0], sender_span(&mover->sender), err)) {
		io_close(&fds[0]);
		io_close(&fds[1]);
		return -1;
	}
	if (map(&mover->kept, fds[1], err)) {
		pageset_close(&due);
		io_close(&fds[1]);
		return -1;
	}
	mover->kept.page->version = VERSION;
	kept_note(mover);
	sender_keep(&mover->sender, &due);
	return 0;
}

void kept_begin(struct mover *mover)
{
	struct err err;

	if (mover->options->reconnect_ns >= 1000000 && begin(mover, &err))
		mover_notice(mover, "should this command be killed, the move cannot be gone on with: %s",
			     err.text);
}

int kept_end(struct mover *mover, struct err *err)
{
	if (!mover->kept.page)
		return 0;
	pageset_close(&mover->sender.due);
	kept_close(&mover->kept);
	return mover_call(mover, json_pack("{s:s, s:i}", "cmd", "keep", "ms", 0), err);
}

void kept_note(struct mover *mover)
{
	const struct mover_disks *disks = &mover->disks;
	struct kept_page *page = mover->kept.page;
	struct kept_notes *notes;
	uint32_t current;

	if (!page)
		return;
	current = page->current & 1; /* the VM process could write it, too */
	notes = &page->copy[1 - current];
	*notes = (struct kept_notes){.listed = mover->listed,
				     .deltas = mover->deltas,
				     .disks = disks->count,
				     .id = disks->id,
				     .common = disks->common};
	for (unsigned i = 0; i < disks->count; i++) {
		notes->disk[i].at = disks->disk[i].at;
		notes->disk[i].compares = disks->disk[i].compares;
		notes->disk[i].compared = disks->disk[i].compared;
	}
	__atomic_store_n(&page->current, 1 - current, __ATOMIC_RELEASE);
}

static bool make_sense(const struct kept_notes *notes)
{
	bool good = notes->disks <= CONFIG_MAX_DEVICES && notes->id.number <= INT64_MAX / 2 &&
		    (notes->disks == 0 || (notes->id.term > 0 && notes->id.term <= INT64_MAX));

	for (unsigned i = 0; good && i < notes->disks; i++)
		good = notes->disk[i].at.term <= INT64_MAX && notes->disk[i].at.number <= INT64_MAX &&
		       notes->disk[i].compared <= DVOL_SIZE_MAX / DVOL_BLOCK;
	return good;
}

int kept_map(struct kept *kept, int fd, struct kept_notes *notes, struct err *err)
{
	if (map(kept, fd, err))
		return -1;
	*notes = kept->page->copy[kept->page->current & 1];
	if (kept->page->version == VERSION && make_sense(notes))
		return 0;
	err_set(err, ERR_INPUT, "the mover before this one left nothing that can be understood");
	kept->fd = -1; /* the caller's */
	kept_close(kept);
	return -1;
}
