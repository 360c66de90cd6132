/* fence.c: see fence.h. */
#include "replicate/fence.h"

#include "common/jobj.h"
#include "common/names.h"
#include "migrate/preflight.h"
#include "replicate/job.h"
#include "vmm/definition_store.h"
#include "vmm/ledger.h"
#include "vmm/snapshot_take.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* The term under which the VM ran there last; 0: it never did, or there is no answer. */
static uint64_t ask_host(const struct job *job, void (*note)(const char *sentence))
{
	const struct preflight_ask ask = {.vm = job->vm, .uuid = job->uuid, .only_ask = true};
	struct preflight there = {.facts = NULL};
	char text[2 * ERR_TEXT];
	uint64_t term = 0;
	struct peer peer;
	struct err why;
	int failed = peer_find(job->host, &peer, &why);

	if (!failed)
		failed = preflight_run(&peer, &ask, &there, &why);
	peer_free(&peer);
	if (failed) {
		snprintf(text, sizeof(text), "%s cannot be asked whether it has taken VM '%s' over (%s)",
			 job->host, job->vm, why.text);
		note(text);
	} else if (json_is_object(there.there)) {
		(void)jobj_u64(there.there, "ran_term", false, 0, INT64_MAX - 1, &term, NULL);
	}
	preflight_free(&there);
	return term;
}

/* Whether one of the disks holds what is in no epoch. */
static int has_changed(const struct snapshot_volumes *volumes, bool *changed, struct err *err)
{
	*changed = false;
	for (size_t i = 0; i < volumes->count && !*changed; i++) {
		struct dvol_extent *list = NULL;
		struct dvol_epoch *epochs;
		size_t count, extents = 0;

		if (dvol_epochs(volumes->vol[i], &epochs, &count, err))
			return -1;
		int status = count == 0 ? 0
					: dvol_changed(volumes->vol[i], epochs[count - 1].id,
						       (struct dvol_id){0}, &list, &extents, err);
		free(epochs);
		free(list);
		if (status)
			return -1;
		*changed = count == 0 || extents > 0;
	}
	return 0;
}

/* What was written here after the last point is a snapshot from now on: points that come take the disks' heads. */
static int keep_diverged(const struct job *job, const struct ledger_record *standby, struct err *err)
{
	struct snapshot_take take = {.made_by = "drover " DROVER_VERSION};
	struct definition definition = {.yaml = NULL};
	struct snapshot_volumes volumes;
	struct snapshot_store store;
	char note[SNAPSHOT_NOTE_MAX + 1];
	bool changed = false;
	int status;

	snprintf(note, sizeof(note), "what it wrote here before %.64s had taken it over under term %llu",
		 job->host, (unsigned long long)standby->term);
	status = definition_load(job->vm, &definition, err) || snapshot_store_open(&store, job->vm, err);
	if (!status) {
		snapshot_volumes_of(&definition.config, &volumes);
		status = snapshot_volumes_open(&volumes, err);
		if (!status) {
			status = has_changed(&volumes, &changed, err);
			if (!status && changed)
				status = snapshot_take_stopped(&store, &definition.config, &volumes, note,
							       &take, err);
			status = snapshot_volumes_close(&volumes, status, err);
		}
		snapshot_store_close(&store);
	}
	definition_free(&definition);
	return status;
}

static int stand_back(const struct job *job, uint64_t term, struct err *err)
{
	struct ledger_record record;
	struct ledger ledger;
	int status;

	if (ledger_open(&ledger, job->vm, err))
		return -1;
	record = ledger_standby(&ledger.now, job->uuid, term, job->host);
	status = keep_diverged(job, &record, err) || ledger_write(&ledger, &record, err);
	ledger_close(&ledger);
	if (status)
		return -1;
	job_event(job->name, "fenced", job->host);
	return err_set(err, ERR_STATE,
		       "%s has taken VM '%s' over (term %llu), so it does not start here; what only this "
		       "host has of it is "
		       "a snapshot now",
		       job->host, job->vm, (unsigned long long)term);
}

int fence_check(const char *vm, const char *uuid, void (*note)(const char *sentence), struct err *err)
{
	struct ledger_record record;
	int status = 0;
	bool locked;
	size_t count;
	char **names;

	if (ledger_peek(vm, &record, &locked, err) || job_list(&names, &count, err))
		return -1;
	for (size_t i = 0; i < count && !status; i++) {
		struct job job;
		uint64_t term;

		if (job_load(names[i], &job, NULL) || strcmp(job.vm, vm) || strcmp(job.uuid, uuid))
			continue;
		term = ask_host(&job, note);
		if (term >= ledger_start_term(&record, uuid) && term > record.ran_term)
			status = stand_back(&job, term, err);
	}
	names_free(names, count);
	return status;
}
