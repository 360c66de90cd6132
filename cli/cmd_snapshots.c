/* drover snapshots: a VM's snapshots, and their end. */
#include "cli/commands.h"
#include "cli/image.h"
#include "cli/output.h"
#include "cli/vms.h"
#include "vmm/snapshot_delete.h"
#include "vmm/snapshot_store.h"

#include <stdio.h>
#include <stdlib.h>
#include <time.h>

static void print_text(const struct snapshot_record *record)
{
	char id[IMAGE_ID], when[32];
	time_t seconds = (time_t)(record->time_ns / 1000000000);
	struct tm tm = {0};

	if (!localtime_r(&seconds, &tm) || !strftime(when, sizeof(when), "%F %T", &tm))
		snprintf(when, sizeof(when), "?");
	output_say("%-8s %-19s  %-5s  %5zu  %s", image_id(record->id, id), when,
		   record->ram ? "ram" : "disks", record->ndisks, record->note);
}

static json_t *record_json(const struct snapshot_record *record)
{
	json_t *clones = json_array();

	for (size_t i = 0; i < record->nclones; i++)
		json_array_append_new(clones, json_pack("{s:s, s:o}", "vm", record->clones[i].vm, "disk",
							output_string(record->clones[i].disk)));
	return json_pack("{s:o, s:I, s:s, s:o, s:s, s:s, s:o}", "epoch", image_id_json(record->id), "time_ns",
			 (json_int_t)record->time_ns, "kind", record->ram ? "ram" : "disks", "disks",
			 snapshot_disks_to_json(record->disks, record->ndisks), "note", record->note,
			 "made_by", record->made_by, "clones", clones);
}

/* One that cannot be read is shown, too: that it is there matters. */
static void show(const struct snapshot_store *store, struct dvol_id id, json_t *list)
{
	struct snapshot_record record;
	struct err why = {0};
	char text[IMAGE_ID];

	if (snapshot_store_load(store, id, &record, &why)) {
		if (list)
			json_array_append_new(
			    list, json_pack("{s:o, s:s}", "epoch", image_id_json(id), "damaged", why.text));
		else
			output_say("%-8s %s", image_id(id, text), why.text);
		return;
	}
	if (list)
		json_array_append_new(list, record_json(&record));
	else
		print_text(&record);
	snapshot_record_free(&record);
}

static int list_all(const char *name, bool json, struct err *err)
{
	struct snapshot_store store;
	struct dvol_id *ids;
	size_t count;
	json_t *list = NULL;

	if (snapshot_store_look(&store, name, err) || snapshot_store_ids(&store, "json", &ids, &count, err))
		return -1;
	if (json)
		list = json_array();
	else if (count)
		printf("%-8s %-19s  %-5s  %5s  %s\n", "EPOCH", "TAKEN", "KIND", "DISKS", "NOTE");
	else
		output_say("no snapshots of VM '%s'", name);
	for (size_t i = 0; i < count; i++)
		show(&store, ids[i], list);
	free(ids);
	if (json)
		output_json(json_pack("{s:s, s:o}", "name", name, "snapshots", list));
	return 0;
}

static int delete_one(const char *name, struct dvol_id id, bool json, struct err *err)
{
	struct snapshot_store store;
	char text[IMAGE_ID];
	int status;

	if (snapshot_store_open(&store, name, err))
		return -1;
	status = snapshot_delete_one(&store, id, err);
	snapshot_store_close(&store);
	if (status)
		return -1;
	if (json)
		output_json(json_pack("{s:s, s:o}", "name", name, "deleted", image_id_json(id)));
	else
		output_say("snapshot %s of VM '%s' is deleted", image_id(id, text), name);
	return 0;
}

int cmd_snapshots(const struct args *args, struct err *err)
{
	const char *name = args->operand[0];
	struct vm_view view;

	vms_view(name, &view);
	if (!view.known)
		return vms_no_process(&view, err);
	return args->delete_epoch.number ? delete_one(name, args->delete_epoch, args->json, err)
					 : list_all(name, args->json, err);
}
