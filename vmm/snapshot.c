/* snapshot.c: see snapshot.h. */
#include "vmm/snapshot.h"
#include "common/io.h"
#include "common/thread.h"
#include "vmm/snapshot_disks.h"
#include "vmm/uffd.h"
#include <errno.h>
#include <string.h>
#include <sys/eventfd.h>

/* Ranges of touched RAM with less than that between them are protected in one call: each call flushes the guest's
 * translations, and protecting a page that is not there costs next to nothing. */
enum { PROTECT_GAP = 1 << 20 };

int snapshot_init(struct snapshot *snapshot, struct machine *machine, const char *vm, struct err *err)
{
	*snapshot = (struct snapshot){.machine = machine, .vm = vm};
	snapshot->done_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (snapshot->done_fd < 0)
		return err_sys(err, "cannot prepare for snapshots");
	return disk_jobs_init(&snapshot->closing, err);
}

/* ---- the disks' epochs ---------------------------------------------------------------------------------------- */

static int close_epoch(void *arg, struct dvol *volume, const struct dvol_cut *cut, struct err *err)
{
	const struct snapshot *snapshot = arg;
	return snapshot_disk_close(volume, snapshot->id, snapshot->vm, cut, err);
}

/* On return what the guest writes belongs to the next epoch, on all disks. */
static int cut_epochs(struct snapshot *snapshot, struct err *err)
{
	if (disk_jobs_begin(&snapshot->closing, snapshot->machine, close_epoch, snapshot, err))
		return -1;
	disk_jobs_await_cut(&snapshot->closing);
	return 0;
}

/* ---- RAM -------------------------------------------------------------------------------------------------------- */

static int protect(int uffd, uint64_t base, const struct buf *touched)
{
	uint64_t first = 0, end = 0;
	for (size_t at = 0; at < touched->len; at += 16) {
		uint64_t from = le64_get(touched->data + at), to = from + le64_get(touched->data + at + 8);
		if (end > first && from - end > PROTECT_GAP) {
			if (uffd_protect(uffd, base + first, end - first, true))
				return -1;
			first = from;
		} else if (end == first) {
			first = from;
		}
		end = to;
	}
	return end > first ? uffd_protect(uffd, base + first, end - first, true) : 0;
}

/* No userfaultfd is no failure: then the guest stands still while its RAM is copied. */
static void protect_ram(struct snapshot *snapshot, int device, struct snapshot_boundary *boundary)
{
	uint64_t bytes;
	void *base = machine_ram(snapshot->machine, &bytes);
	boundary->uffd = uffd_open(device, base, bytes, UFFD_PROTECT, &boundary->why_standing);
	if (boundary->uffd < 0 || !protect(boundary->uffd, (uintptr_t)base, &boundary->touched))
		return;
	err_sys(&boundary->why_standing, "userfaultfd: cannot protect the guest's RAM");
	io_close(&boundary->uffd);
}

static int take(struct snapshot *snapshot, bool ram, int device, struct snapshot_boundary *boundary,
		struct err *err)
{
	if (ram && (machine_save(snapshot->machine, &boundary->state, err) ||
		    machine_touched_ram(snapshot->machine, &boundary->touched, err)))
		return -1;
	if (cut_epochs(snapshot, err))
		return -1;
	if (ram)
		protect_ram(snapshot, device, boundary);
	return 0;
}

int snapshot_begin(struct snapshot *snapshot, struct dvol_id id, bool ram, int device, bool let_run,
		   struct snapshot_boundary *boundary, struct err *err)
{
	uint64_t began = clock_mono_ns();
	*boundary = (struct snapshot_boundary){.uffd = -1};
	snapshot->id = id;
	machine_pause(snapshot->machine);
	if (take(snapshot, ram, device, boundary, err)) {
		(void)disk_jobs_end(&snapshot->closing, NULL);
		buf_free(&boundary->state);
		buf_free(&boundary->touched);
		if (let_run)
			machine_resume(snapshot->machine);
		return -1;
	}
	snapshot->active = true;
	snapshot->standing = ram && boundary->uffd < 0;
	if (ram)
		machine_keep_ram(snapshot->machine, true);
	if (let_run && !snapshot->standing) {
		machine_resume(snapshot->machine);
		boundary->paused_ns = clock_mono_ns() - began;
	}
	return 0;
}

int snapshot_end(struct snapshot *snapshot, bool let_run, struct err *err)
{
	if (!snapshot->active)
		return err_set(err, ERR_STATE, "no snapshot of this VM is being made");
	machine_keep_ram(snapshot->machine, false);
	if (snapshot->standing && let_run)
		machine_resume(snapshot->machine);
	snapshot->active = snapshot->standing = false;
	return disk_jobs_end(&snapshot->closing, err);
}

/* ---- deleting ----------------------------------------------------------------------------------------------------- */

static void *delete_epochs(void *arg)
{
	struct snapshot *snapshot = arg;
	struct dvol *volumes[CONFIG_MAX_DEVICES];
	unsigned count = machine_volumes(snapshot->machine, volumes, NULL);
	snapshot->delete_status = 0;
	for (unsigned i = 0; i < count && !snapshot->delete_status; i++)
		snapshot->delete_status =
		    snapshot_disk_delete(volumes[i], snapshot->doomed, snapshot->vm, &snapshot->delete_err);
	(void)eventfd_write(snapshot->done_fd, 1);
	return NULL;
}

int snapshot_delete(struct snapshot *snapshot, struct dvol_id id, struct err *err)
{
	if (snapshot->deleting)
		return err_set(err, ERR_STATE,
			       "an epoch of VM '%s' is being deleted already; try again when that is over",
			       snapshot->vm);
	snapshot->doomed = id;
	if (thread_start(&snapshot->deleter, delete_epochs, snapshot))
		return err_sys(err, "cannot delete an epoch");
	snapshot->deleting = true;
	return 0;
}

int snapshot_delete_end(struct snapshot *snapshot, struct err *err)
{
	eventfd_t times;
	pthread_join(snapshot->deleter, NULL);
	(void)eventfd_read(snapshot->done_fd, &times);
	snapshot->deleting = false;
	if (snapshot->delete_status)
		*err = snapshot->delete_err;
	return snapshot->delete_status;
}

void snapshot_destroy(struct snapshot *snapshot)
{
	struct err ignored;
	if (!snapshot->machine)
		return;
	disk_jobs_destroy(&snapshot->closing);
	if (snapshot->deleting)
		(void)snapshot_delete_end(snapshot, &ignored);
	io_close(&snapshot->done_fd);
	*snapshot = (struct snapshot){.done_fd = -1};
}
