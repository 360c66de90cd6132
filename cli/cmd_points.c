/* drover points: the recovery points of a VM that this host has. */
#include "cli/commands.h"
#include "cli/image.h"
#include "cli/output.h"
#include "cli/vms.h"
#include "common/io.h"
#include "common/units.h"
#include "vmm/snapshot_store.h"

#include <stdio.h>
#include <stdlib.h>
#include <time.h>

static json_t *point_json(const struct snapshot_record *record)
{
	const struct snapshot_point *point = &record->point;

	return json_pack("{s:o, s:I, s:s, s:s, s:s, s:I, s:I, s:I}", "point", image_id_json(record->id),
			 "taken_ns", (json_int_t)record->time_ns, "kind", record->ram ? "warm" : "cold",
			 "consistency", point->quiet ? "application" : "crash", "job", point->job,
			 "arrived_ns", (json_int_t)point->arrived_ns, "verified_ns",
			 (json_int_t)point->verified_ns, "disks", (json_int_t)record->ndisks);
}

static void print(const struct snapshot_record *record)
{
	char id[IMAGE_ID], when[32], age[24];
	time_t seconds = (time_t)(record->time_ns / 1000000000);
	uint64_t now = clock_real_ns();
	struct tm tm = {0};

	if (!localtime_r(&seconds, &tm) || !strftime(when, sizeof(when), "%F %T", &tm))
		snprintf(when, sizeof(when), "?");
	output_say("%-8s %-19s  %12s  %-4s  %-11s  %s", image_id(record->id, id), when,
		   units_format_duration(now > record->time_ns ? now - record->time_ns : 0, age),
		   record->ram ? "warm" : "cold", record->point.quiet ? "application" : "crash",
		   record->point.job);
}

int cmd_points(const struct args *args, struct err *err)
{
	const char *name = args->operand[0];
	struct snapshot_store store;
	struct vm_view view;
	struct dvol_id *ids;
	size_t count, shown = 0;
	json_t *list;

	vms_view(name, &view);
	if (!view.known)
		return vms_no_process(&view, err);
	if (snapshot_store_look(&store, name, err) || snapshot_store_ids(&store, "json", &ids, &count, err))
		return -1;
	list = json_array();
	for (size_t i = 0; i < count; i++) {
		struct snapshot_record record;

		/* One that cannot be read is among the snapshots. */
		if (snapshot_store_load(&store, ids[i], &record, NULL))
			continue;
		if (record.point.is && !shown++ && !args->json)
			printf("%-8s %-19s  %12s  %-4s  %-11s  %s\n", "POINT", "TAKEN", "AGE", "KIND",
			       "CONSISTENCY", "JOB");
		if (record.point.is && args->json)
			json_array_append_new(list, point_json(&record));
		else if (record.point.is)
			print(&record);
		snapshot_record_free(&record);
	}
	free(ids);
	if (args->json)
		output_json(json_pack("{s:s, s:O}", "name", name, "points", list));
	else if (!shown)
		output_say("no recovery points of VM '%s' on this host", name);
	json_decref(list);
	return 0;
}
