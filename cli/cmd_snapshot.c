/* drover snapshot: keep a VM as it is now. */
#include "cli/commands.h"
#include "cli/image.h"
#include "cli/output.h"
#include "cli/terminal.h"
#include "cli/vms.h"
#include "cli/work.h"
#include "common/units.h"
#include "vmm/definition_store.h"
#include "vmm/snapshot_delete.h"
#include "vmm/snapshot_restore.h"
#include "vmm/snapshot_take.h"

#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>

static void say_standing(void *context, const char *why)
{
	struct work *work = context;

	if (work->drawn)
		terminal_line_end();
	output_note("the guest stands still while its memory is copied: %s", why);
}

/* A VM without a process: its disks, as its definition names them. */
static int take_stopped(const struct snapshot_store *store, const struct vm_view *view,
			struct snapshot_take *take, struct err *err)
{
	struct definition definition = {.yaml = NULL};
	struct snapshot_volumes volumes;
	int status;

	if (view->locked || !strcmp(view->state, "pending") || !strcmp(view->state, "handed-over"))
		return vms_no_process(view, err);
	if (definition_load(store->vm, &definition, err)) {
		definition_free(&definition);
		return err_context(err, "VM '%s' does not run", store->vm);
	}
	snapshot_volumes_of(&definition.config, &volumes);
	status = snapshot_volumes_open(&volumes, err);
	if (!status) {
		status = snapshot_take_stopped(store, &definition.config, &volumes, "", take, err);
		status = snapshot_volumes_close(&volumes, status, err);
		if (status)
			(void)snapshot_clean(store, NULL);
	}
	definition_free(&definition);
	return status;
}

static int take(const char *name, struct snapshot_take *take, struct err *err)
{
	struct snapshot_store store;
	struct vm_view view;
	int status;

	vms_view(name, &view);
	if (!view.known)
		return vms_no_process(&view, err);
	if ((!view.locked && snapshot_restore_finish(name, err)) || snapshot_store_open(&store, name, err))
		return -1;
	/* What an earlier one left goes, where it can; what cannot waits for the next time. */
	(void)snapshot_clean(&store, NULL);
	status =
	    view.answered ? snapshot_take_running(&store, take, err) : take_stopped(&store, &view, take, err);
	snapshot_store_close(&store);
	return status;
}

static void say(const char *name, const struct snapshot_take *take, bool json)
{
	char id[IMAGE_ID], copied[16], written[16], paused[24];

	if (json) {
		output_json(json_pack("{s:s, s:o, s:s, s:I, s:o, s:I, s:I, s:I}", "name", name, "epoch",
				      image_id_json(take->id), "kind", take->ram ? "ram" : "disks", "disks",
				      (json_int_t)take->disks, "paused_ms", output_ms(take->paused_ns),
				      "copied_bytes", (json_int_t)take->copied_bytes, "written_bytes",
				      (json_int_t)take->written_bytes, "faults", (json_int_t)take->faults));
		return;
	}
	output_say("snapshot %s of VM '%s': %s%zu %s", image_id(take->id, id), name,
		   take->ram ? "RAM, machine state, " : "", take->disks, take->disks == 1 ? "disk" : "disks");
	if (take->paused_ns)
		output_say("  the guest stood still for %s", units_format_duration(take->paused_ns, paused));
	if (take->ram)
		output_say("  memory %s, of which %s had changed",
			   units_format_size(take->copied_bytes, copied),
			   units_format_size(take->written_bytes, written));
}

/* While a guest may wait for its memory to be copied, this process must not be stopped by the terminal. */
static void hold_stop(void)
{
	sigset_t stop;

	sigemptyset(&stop);
	sigaddset(&stop, SIGTSTP);
	sigprocmask(SIG_BLOCK, &stop, NULL);
}

int cmd_snapshot(const struct args *args, struct err *err)
{
	const char *name = args->operand[0];
	struct work work;
	struct snapshot_take what = {.disks_only = args->disks_only,
				     .made_by = "drover " DROVER_VERSION,
				     .tick = work_tick,
				     .tick_context = &work,
				     .standing = say_standing};

	hold_stop();
	work_begin(&work, NULL, "snapshot of VM '%s'", name);
	if (work_end(&work, take(name, &what, err), "nothing was kept", err) < 0)
		return -1;
	say(name, &what, args->json);
	return 0;
}
