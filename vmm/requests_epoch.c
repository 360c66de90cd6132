/* requests_epoch.c: the disks' part in a move (docs/stream.md, Disks): their epochs are closed for the mover, on the source;
 * on the destination, once the guest runs, what the move made is tidied up. */
#include "common/fault.h"
#include "common/jobj.h"
#include "common/log.h"
#include "vmm/move_epochs.h"
#include "vmm/vmproc.h"

#include <stdlib.h>
#include <string.h>

static bool same(struct dvol_id a, struct dvol_id b)
{
	return a.term == b.term && a.number == b.number;
}

/* One disk's, in its thread. */
static int close_epoch(void *arg, struct dvol *volume, const struct dvol_cut *cut, struct err *err)
{
	const struct move_epoch *epoch = arg;

	if (!epoch->last) {
		if (epoch->unmarked.number)
			(void)move_epochs_mark(volume, epoch->unmarked, epoch->vm, NULL);
		if (epoch->keep.number)
			move_epochs_drop(volume, epoch->keep, true, epoch->vm);
	}
	if (dvol_epoch_close_cut(volume, &epoch->id, cut, NULL, err))
		return -1;
	/* The last one is left to who knows how the move ended: the guest stands still. */
	return epoch->last ? 0 : move_epochs_mark(volume, epoch->id, epoch->vm, err);
}

static int begin(struct vmproc *vm, struct dvol_id id, struct dvol_id keep, bool last, struct err *err)
{
	struct move_epoch *epoch = &vm->move_epoch;

	if (fault_point(FAULT_DISKS_CUT))
		return err_set(err, ERR_SYSTEM, "injected failure");
	/* Of one whose mover is gone, or of a move before. */
	(void)disk_jobs_end(&epoch->jobs, NULL);
	epoch->unmarked = epoch->last ? epoch->id : (struct dvol_id){0};
	epoch->id = id;
	epoch->keep = keep;
	epoch->last = last;
	epoch->vm = vm->config.name;
	epoch->waiting = false;
	epoch->result = (struct err){.kind = ERR_NONE};
	epoch->active = !disk_jobs_begin(&epoch->jobs, vm->machine, close_epoch, epoch, err);
	if (epoch->active)
		return 0;
	/* Some disks may have it: it is no epoch of this name, and the next attempt takes another one. */
	(void)disk_jobs_end(&epoch->jobs, NULL);
	epoch->id = (struct dvol_id){0};
	return -1;
}

static int take_id(const json_t *request, const char *term, const char *number, bool required,
		   struct dvol_id *id, struct err *err)
{
	*id = (struct dvol_id){0};
	return jobj_u64(request, term, required, 1, INT64_MAX, &id->term, err) ||
		       jobj_u64(request, number, required, 1, INT64_MAX, &id->number, err)
		   ? -1
		   : 0;
}

int requests_last_epoch(struct vmproc *vm, const json_t *request, struct err *err)
{
	struct dvol_id id;

	if (take_id(request, "disks_term", "disks_epoch", false, &id, err))
		return -1;
	return id.number ? begin(vm, id, (struct dvol_id){0}, true, err) : 0;
}

int do_epoch_close(struct vmproc *vm, struct client *client, const json_t *request, int fd,
		   struct answer *answer, struct err *err)
{
	struct move_epoch *epoch = &vm->move_epoch;
	struct dvol_id id, keep;

	(void)fd;
	if (take_id(request, "term", "epoch", true, &id, err) ||
	    take_id(request, "keep_term", "keep_epoch", false, &keep, err))
		return -1;
	if (same(id, epoch->id) && !epoch->active) {
		if (epoch->result.kind == ERR_NONE)
			return 0;
		*err = epoch->result;
		return -1;
	}
	if (!same(id, epoch->id) && begin(vm, id, keep, false, err))
		return -1;
	epoch->waiting = true;
	epoch->client = (size_t)(client - vm->client);
	epoch->client_serial = client->serial;
	epoch->request_id = (uint64_t)json_integer_value(json_object_get(request, "id"));
	answer->later = true;
	return 0;
}

void requests_epoch_closed(struct vmproc *vm)
{
	struct move_epoch *epoch = &vm->move_epoch;
	struct err err = {.kind = ERR_NONE};
	int status = disk_jobs_end(&epoch->jobs, &err);

	if (status)
		log_warning("the disks' epoch %llu.%llu: %s", (unsigned long long)epoch->id.term,
			    (unsigned long long)epoch->id.number, err.text);
	epoch->active = false;
	epoch->result = err;
	if (epoch->waiting)
		vmproc_answer(vm, epoch->client, epoch->client_serial, epoch->request_id, NULL,
			      status ? &err : NULL);
	epoch->waiting = false;
}

/* ---- on the destination ------------------------------------------------------------------------------------------ */

static int settle(void *arg, struct dvol *volume, const struct dvol_cut *cut, struct err *err)
{
	const struct vmproc *vm = arg;
	struct dvol_epoch *list;
	size_t count;

	(void)cut;
	if (dvol_epochs(volume, &list, &count, err))
		return -1;
	/* The newest one is what the guest began with here. */
	struct dvol_id id = count > 0 ? list[count - 1].id : (struct dvol_id){0};
	free(list);
	return id.number ? move_epochs_settle(volume, id, vm->config.name, vm->ledger.now.peer, err) : 0;
}

void requests_settle_disks(struct vmproc *vm)
{
	struct err err;

	vm->move_epoch.active = true;
	if (disk_jobs_begin(&vm->move_epoch.jobs, vm->machine, settle, vm, &err))
		log_warning("%s", err.text);
}
