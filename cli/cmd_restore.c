/* drover restore: a VM goes on where a snapshot was taken; or another one does. */
#include "cli/commands.h"
#include "cli/image.h"
#include "cli/output.h"
#include "cli/start.h"
#include "cli/vms.h"
#include "vmm/machine.h"
#include "vmm/snapshot_restore.h"
#include "vmm/spawn.h"

#include <stdio.h>
#include <string.h>

struct restore {
	const struct args *args;
	const char *name; /* of the VM that there will be */
	struct snapshot_store store;
	struct snapshot_record record;
	struct vm_config config; /* with --as: the new VM's */
	struct buf state;
	char ram[PATHS_MAX];
	struct dvol *held; /* RAM's epoch, which cannot be deleted meanwhile */
	struct snapshot_take before;
	pid_t pid; /* 0: nothing was started */
	char why_read[ERR_TEXT];
};

static int check_stopped(const struct restore *restore, struct err *err)
{
	const char *name = restore->args->operand[0];
	struct vm_view view;

	vms_view_settled(name, &view);
	if (!view.known)
		return vms_no_process(&view, err);
	if (restore->args->as)
		return start_check_free(restore->args->as, err);
	if (view.locked && strcmp(view.state, "pending"))
		return err_set(
		    err, ERR_STATE,
		    "VM '%s' lives on this host (%s): 'drover stop %s' first, or make a second VM of "
		    "the snapshot with --as",
		    name, view.state, name);
	return start_check_name(name, err);
}

/* prepare: whatever can be found wrong before anything is changed. */
static int prepare(struct restore *restore, struct err *err)
{
	const struct snapshot_record *record = &restore->record;
	struct dvol_open_options options;

	if (snapshot_store_load(&restore->store, restore->args->epoch, &restore->record, err))
		return -1;
	options = (struct dvol_open_options){.epoch = record->id};
	if (!record->ram)
		return 0;
	if (machine_check_host(err) || snapshot_store_ram(&restore->store, restore->ram, err) ||
	    snapshot_store_load_state(&restore->store, record, &restore->state, err))
		return -1;
	restore->held = dvol_open(restore->ram, &options, err);
	return restore->held ? 0 : err_context(err, "the snapshot's RAM");
}

/* Cards of a second VM with the same addresses must not meet those of the first. */
static int connect_nets(struct restore *restore, struct err *err)
{
	const struct args_list *nets = &restore->args->nets;
	size_t used = 0;

	for (unsigned i = 0; i < restore->config.ndevices; i++) {
		struct device_config *device = &restore->config.devices[i];
		const char *tap = used < nets->count ? nets->item[used] : "";

		if (device->kind != DEVICE_NET)
			continue;
		if (strlen(tap) > CONFIG_TAP_MAX)
			return err_set(err, ERR_USAGE, "restore: --net: '%.40s' is no name of an interface",
				       tap);
		snprintf(device->net.tap, sizeof(device->net.tap), "%s", tap);
		used++;
	}
	if (used < nets->count)
		return err_set(err, ERR_USAGE,
			       "restore: --net is given %zu times, and the VM has %zu network cards",
			       nets->count, used);
	return 0;
}

static int make_other(struct restore *restore, struct err *err)
{
	json_t *json = config_to_json(&restore->record.config);
	int status = config_from_json(json, &restore->config, err);

	json_decref(json);
	if (status)
		return -1;
	snprintf(restore->config.name, sizeof(restore->config.name), "%s", restore->args->as);
	if (connect_nets(restore, err) || config_check(&restore->config, err))
		return -1;
	return snapshot_restore_as(&restore->store, &restore->record, &restore->config, err);
}

static int start(struct restore *restore, struct err *err)
{
	const struct spawn_restore what = {.ram = restore->ram,
					   .epoch = restore->record.id,
					   .cpu = restore->record.cpu,
					   .paused = restore->record.paused,
					   .state = &restore->state};
	struct control control;

	if (!restore->record.ram)
		return 0;
	if (spawn_restored(restore->args->as ? &restore->config : &restore->record.config, &what, &control,
			   &restore->pid, restore->why_read, err))
		return -1;
	control_close(&control);
	return 0;
}

static int run(struct restore *restore, struct err *err)
{
	const struct args *args = restore->args;

	if (prepare(restore, err))
		return -1;
	if (args->as ? make_other(restore, err)
		     : snapshot_restore_disks(&restore->store, &restore->record, !args->discard_current,
					      &restore->before, err))
		return -1;
	if (!start(restore, err))
		return 0;
	if (args->as)
		snapshot_restore_undo(&restore->config);
	return -1;
}

static void say(const struct restore *restore)
{
	const struct snapshot_record *record = &restore->record;
	char id[IMAGE_ID], before[IMAGE_ID];

	if (restore->args->json) {
		output_json(json_pack("{s:s, s:o, s:s, s:o, s:o, s:b}", "name", restore->name, "epoch",
				      image_id_json(record->id), "kind", record->ram ? "ram" : "disks", "pid",
				      restore->pid ? json_integer(restore->pid) : json_null(), "before",
				      image_id_json(restore->before.id), "ram_read_first",
				      restore->why_read[0] != 0));
		return;
	}
	image_id(record->id, id);
	if (restore->pid)
		output_say("VM '%s' %s since snapshot %s (pid %d)", restore->name,
			   record->paused ? "is as it was, paused," : "goes on as it was", id,
			   (int)restore->pid);
	else
		output_say("the disks of VM '%s' are those of snapshot %s; 'drover start %s' boots it",
			   restore->name, id, restore->name);
	if (restore->before.id.number)
		output_say("  what they were before is snapshot %s", image_id(restore->before.id, before));
	if (restore->why_read[0])
		output_note("all of the guest's memory was read before it could run: %s", restore->why_read);
}

int cmd_restore(const struct args *args, struct err *err)
{
	static struct restore restore; /* too large for comfort on a stack */
	int status;

	restore = (struct restore){.args = args,
				   .name = args->as ? args->as : args->operand[0],
				   .before = {.made_by = "drover " DROVER_VERSION}};
	if (!args->as && args->nets.count)
		return err_set(err, ERR_USAGE, "restore: --net goes with --as; see 'drover help restore'");
	if (args->as && args->discard_current)
		return err_set(
		    err, ERR_USAGE,
		    "restore: --discard-current does not go with --as, which changes nothing of '%s'; "
		    "see 'drover help restore'",
		    args->operand[0]);
	if (check_stopped(&restore, err) || snapshot_store_open(&restore.store, args->operand[0], err))
		return -1;
	status = run(&restore, err);
	if (!status)
		say(&restore);
	dvol_close(restore.held, NULL);
	buf_free(&restore.state);
	snapshot_record_free(&restore.record);
	config_free(&restore.config);
	snapshot_store_close(&restore.store);
	return status;
}
