/* drover protect, unprotect: a VM is to have recovery points on another host, or not any more. */
#include "cli/commands.h"
#include "cli/output.h"
#include "cli/vms.h"
#include "common/io.h"
#include "common/units.h"
#include "migrate/peer.h"
#include "replicate/job.h"
#include "vmm/definition_store.h"
#include "vmm/points.h"

#include <stdio.h>
#include <string.h>

static int find_uuid(const char *vm, char uuid[CONFIG_UUID_LEN + 1], struct err *err)
{
	struct definition definition = {.yaml = NULL};
	struct vm_view view;
	int status = 0;

	vms_view(vm, &view);
	if (view.answered) {
		snprintf(uuid, CONFIG_UUID_LEN + 1, "%s", view.uuid);
		return 0;
	}
	if (!view.known)
		return vms_no_process(&view, err);
	if (!strcmp(view.state, "standby") || !strcmp(view.state, "handed-over") ||
	    !strcmp(view.state, "pending"))
		return vms_no_process(&view, err);
	status = definition_load(vm, &definition, err);
	if (status)
		err_context(err, "VM '%s' does not run", vm);
	else
		strcpy(uuid, definition.config.uuid);
	definition_free(&definition);
	return status;
}

static int read_windows(const struct args *args, struct job *job, struct err *err)
{
	if (args->windows.count > JOB_WINDOWS)
		return err_set(err, ERR_USAGE, "protect: --window is given more than %d times", JOB_WINDOWS);
	for (size_t i = 0; i < args->windows.count; i++)
		if (window_parse(args->windows.item[i], &job->window[job->windows++], err))
			return err_context(err, "protect: --window");
	return 0;
}

/* The host must be one that can be named; whether it answers is another matter. */
static int check_host(const char *word, struct err *err)
{
	struct peer peer;
	int status;

	if (strlen(word) > JOB_HOST_MAX)
		return err_set(err, ERR_USAGE, "protect: the host's name is longer than %d characters",
			       JOB_HOST_MAX);
	status = peer_find(word, &peer, err);
	peer_free(&peer);
	return status;
}

static int fill(const struct args *args, struct job *job, struct err *err)
{
	const char *vm = args->operand[0], *host = args->operand[1];

	*job = (struct job){.rpo_ns = args->rpo_ns,
			    .bytes_per_s = args->bytes_per_s,
			    .links = (unsigned)args->streams,
			    .packing = (enum packer_mode)args->packing,
			    .priority = (int)args->priority};
	if (check_host(host, err) || find_uuid(vm, job->uuid, err))
		return -1;
	snprintf(job->name, sizeof(job->name), "%s", args->job ? args->job : vm);
	snprintf(job->vm, sizeof(job->vm), "%s", vm);
	snprintf(job->host, sizeof(job->host), "%s", host);
	if (retention_parse(args->keep ? args->keep : "12x5m,24x1h,7x1d", &job->keep, err))
		return err_context(err, "protect: --keep");
	return read_windows(args, job, err);
}

/* A job is changed by being made again; one of another VM, or to another host, is another one. */
static int check_free(const struct job *job, struct err *err)
{
	struct job there;
	struct err why;

	if (job_load(job->name, &there, &why)) {
		if (why.kind == ERR_STATE)
			return 0;
		*err = why;
		return -1;
	}
	if (!strcmp(there.uuid, job->uuid) && !strcmp(there.host, job->host))
		return 0;
	return err_set(
	    err, ERR_STATE,
	    "there is a job '%s' already, of VM '%s' to %s; give this one another name with --job, or "
	    "'drover unprotect %s' first",
	    job->name, there.vm, there.host, job->name);
}

int cmd_protect(const struct args *args, struct err *err)
{
	struct job_state state = {0};
	char rpo[24], keep[RETENTION_TEXT];
	struct job job;

	if (fill(args, &job, err) || check_free(&job, err) || job_save(&job, err))
		return -1;
	job_event(job.name, "protected", job.host);
	if (args->json) {
		(void)job_load_state(job.name, &state, err);
		output_json(job_json(&job, &state));
		return 0;
	}
	output_say("VM '%s' is to have a point on %s at most %s old (job '%s'; kept: %s)", job.vm, job.host,
		   units_format_duration(job.rpo_ns, rpo), job.name, retention_format(&job.keep, keep));
	output_say("  'drover daemon' sends them; 'drover job run-now %s' sends one now", job.name);
	return 0;
}

int cmd_unprotect(const struct args *args, struct err *err)
{
	const char *name = args->operand[0];
	struct snapshot_store store;
	struct vm_view view;
	struct job job;
	int lock, status;
	bool gone;

	if (job_load(name, &job, err))
		return -1;
	lock = job_lock(name, err);
	if (lock < 0)
		return -1;
	/* What it kept here to send the next difference from; where the VM has gone over, the difference on its way back is from that. */
	vms_view(job.vm, &view);
	gone = !strcmp(view.state, "standby") || !strcmp(view.state, "handed-over") ||
	       !strcmp(view.state, "pending");
	status = snapshot_store_open(&store, job.vm, err);
	if (!status) {
		status = gone ? 0 : points_leave(&store, name, (struct dvol_id){0}, err);
		snapshot_store_close(&store);
	}
	if (!status)
		status = job_remove(name, err);
	io_close(&lock);
	if (status)
		return -1;
	if (args->json)
		output_json(
		    json_pack("{s:s, s:s, s:s}", "unprotected", name, "vm", job.vm, "host", job.host));
	else
		output_say("job '%s' is no more; the points of VM '%s' on %s stay there", name, job.vm,
			   job.host);
	return 0;
}
