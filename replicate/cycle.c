/* cycle.c: see cycle.h. */
#include "replicate/cycle.h"

#include "common/io.h"
#include "common/log.h"
#include "vmm/control.h"
#include "vmm/definition_store.h"
#include "vmm/ledger.h"
#include "vmm/points.h"
#include "vmm/snapshot_delete.h"
#include "vmm/snapshot_restore.h"
#include "vmm/snapshot_take.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

enum { RECONNECT_S = 60 };

struct cycle {
	const struct job *job;
	struct job_state state;
};

/* ---- the boundary ------------------------------------------------------------------------------------------------ */

static struct snapshot_take what(const struct job *job)
{
	struct snapshot_take take = {
	    .disks_only = true, .made_by = "drover " DROVER_VERSION, .point = {.is = true}};

	strcpy(take.point.job, job->name);
	(void)gethostname(take.point.from, sizeof(take.point.from) - 1);
	return take;
}

static int take_stopped(const struct snapshot_store *store, struct snapshot_take *take, struct err *err)
{
	struct definition definition = {.yaml = NULL};
	struct snapshot_volumes volumes;
	int status = definition_load(store->vm, &definition, err);

	if (!status) {
		snapshot_volumes_of(&definition.config, &volumes);
		status = snapshot_volumes_open(&volumes, err);
		if (!status) {
			status = snapshot_take_stopped(store, &definition.config, &volumes, "", take, err);
			status = snapshot_volumes_close(&volumes, status, err);
		}
	}
	definition_free(&definition);
	return status;
}

/* Whether the VM has a process, and under which term it runs, or ran.  Only the host that may run it makes points of it. */
static int look(const struct job *job, bool *runs, uint64_t *term, struct err *err)
{
	struct ledger_record record;
	struct control control;
	bool locked;

	*runs = !control_connect(&control, job->vm, NULL);
	if (*runs)
		control_close(&control);
	if (ledger_peek(job->vm, &record, &locked, err))
		return -1;
	*term = record.term ? record.term : 1;
	if (record.state != LEDGER_NONE && strcmp(record.uuid, job->uuid))
		return err_set(err, ERR_STATE,
			       "VM '%s' on this host is another one now (%s) than the job's (%s)", job->vm,
			       record.uuid, job->uuid);
	if (record.state == LEDGER_HANDED_OVER || record.state == LEDGER_STANDBY)
		return err_set(err, ERR_STATE, "VM '%s' is not this host's any more: %s has it", job->vm,
			       record.peer[0] ? record.peer : "another host");
	if (locked && !*runs)
		return err_set(err, ERR_STATE, "the process of VM '%s' does not answer", job->vm);
	return 0;
}

static int make(const struct job *job, struct snapshot_record *record, uint64_t *term, struct err *err)
{
	struct snapshot_take take = what(job);
	struct snapshot_store store;
	bool runs;
	int status;

	if (look(job, &runs, term, err) || (!runs && snapshot_restore_finish(job->vm, err)) ||
	    snapshot_store_open(&store, job->vm, err))
		return -1;
	/* What an earlier one left goes, where it can; what cannot waits for the next time. */
	(void)snapshot_clean(&store, NULL);
	status = runs ? snapshot_take_running(&store, &take, err) : take_stopped(&store, &take, err);
	if (!status)
		status = snapshot_store_load(&store, take.id, record, err);
	snapshot_store_close(&store);
	return status;
}

static int cut(void *arg, struct snapshot_record *record, uint64_t *term, struct err *err)
{
	const struct cycle *cycle = arg;

	if (make(cycle->job, record, term, err))
		return err_context(err, "the boundary of VM '%s'", cycle->job->vm);
	return 0;
}

/* ---- afterwards -------------------------------------------------------------------------------------------------- */

/* The next cycle sends what differs from this point: those before it are of no use any more. */
static void leave_one(const struct job *job, struct dvol_id id)
{
	struct snapshot_store store;
	struct err err;

	if (snapshot_store_open(&store, job->vm, &err) || points_leave(&store, job->name, id, &err))
		log_warning("older points of job '%s' are still here: %s", job->name, err.text);
	snapshot_store_close(&store);
}

static void note_point(struct job_state *state, const struct replica_report *report)
{
	state->acked = report->point;
	state->boundary_ns = report->boundary_ns;
	memmove(state->took_ns, state->took_ns + 1, sizeof(state->took_ns) - sizeof(state->took_ns[0]));
	state->took_ns[SCHEDULE_HISTORY - 1] = report->total_ns;
	state->bytes = report->bytes;
	state->total_bytes += report->bytes;
	state->cycles++;
	state->in_a_row = 0;
	state->why[0] = 0;
}

static void note_failure(struct job_state *state, const struct err *why)
{
	state->failures++;
	state->in_a_row++;
	snprintf(state->why, sizeof(state->why), "%s", why->text);
}

int cycle_run(const struct job *job, const volatile sig_atomic_t *cancel,
	      const struct move_observer *observer, struct replica_report *report, struct err *err)
{
	struct cycle cycle = {.job = job};
	char keep[RETENTION_TEXT];
	const struct replica_options options = {
	    .move = {.vm = job->vm,
		     .peer = job->host,
		     .reconnect_ns = RECONNECT_S * 1000000000ull,
		     .links = job->links,
		     .packing = job->packing,
		     .bytes_per_s = job->bytes_per_s,
		     .cancel = cancel},
	    .uuid = job->uuid,
	    .job = job->name,
	    .keep = retention_format(&job->keep, keep),
	    .cut = cut,
	    .arg = &cycle,
	};
	struct err ignored;
	uint64_t term;
	bool runs;
	int status;

	*report = (struct replica_report){0};
	if (job_load_state(job->name, &cycle.state, err))
		return -1;
	status = look(job, &runs, &term, err) || replica_send(&options, observer, report, err) ? -1 : 0;
	cycle.state.ended_ns = clock_real_ns();
	if (status) {
		note_failure(&cycle.state, err);
		job_event(job->name, err->kind == ERR_CANCELLED ? "cancelled" : "failed", err->text);
		(void)job_save_state(job->name, &cycle.state, &ignored);
		return -1;
	}
	note_point(&cycle.state, report);
	if (job_save_state(job->name, &cycle.state, err))
		return -1;
	leave_one(job, report->point);
	return 0;
}
