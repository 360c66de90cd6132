/* start.c: see start.h. */
#include "cli/start.h"

#include "cli/attach.h"
#include "cli/output.h"
#include "cli/vms.h"
#include "common/io.h"
#include "common/paths.h"
#include "vmm/definition_store.h"
#include "vmm/memory.h"
#include "vmm/snapshot_restore.h"
#include "vmm/spawn.h"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <systemd/sd-daemon.h>
#include <unistd.h>

enum { MANAGER_TIMEOUT_US = 5000000 };

/* The VM process decides; this says it better. */
int start_check_name(const char *name, struct err *err)
{
	struct vm_view view;

	vms_view_settled(name, &view);
	if (!strcmp(view.state, "pending"))
		return view.answered
			   ? err_set(
				 err, ERR_STATE,
				 "VM '%s' waits here to learn whether %s runs it: ask with 'drover resolve "
				 "%s', or take another name",
				 name, view.peer, name)
			   : vms_no_process(&view, err);
	if (view.locked)
		return err_set(
		    err, ERR_STATE,
		    "VM '%s' lives on this host already (%s); take another name, or 'drover kill %s' first",
		    name, view.state, name);
	if (!strcmp(view.state, "handed-over"))
		return err_set(
		    err, ERR_STATE,
		    "VM '%s' was handed over to %s; take another name, or 'drover forget %s' if that VM is "
		    "over",
		    name, view.peer, name);
	if (!strcmp(view.state, "standby"))
		return err_set(err, ERR_STATE,
			       "VM '%s' runs on %s, and this host keeps copies of it: 'drover failover %s' "
			       "starts it here "
			       "when that host is lost; or take another name",
			       name, view.peer, name);
	if (!strcmp(view.state, "damaged"))
		return err_set(
		    err, ERR_INPUT,
		    "the record of VM '%s' cannot be read; make sure that no other host runs it, then "
		    "'drover forget --force %s'",
		    name, name);
	return 0;
}

int start_check_free(const char *name, struct err *err)
{
	struct definition definition;
	struct vm_view view;
	struct err why = {0};
	char state[512];
	int none = definition_load(name, &definition, &why);

	definition_free(&definition);
	if (!none)
		return err_set(err, ERR_STATE,
			       "this host has a definition of VM '%s' already; 'drover edit %s' changes it",
			       name, name);
	if (why.kind != ERR_STATE) {
		*err = why;
		return -1;
	}
	vms_view_settled(name, &view);
	if (!view.known || !strcmp(view.state, "empty"))
		return 0;
	return err_set(err, ERR_STATE,
		       "this host knows a VM '%s' already (%s); take another name, or 'drover forget %s' if "
		       "that one is over",
		       name, vms_state_text(&view, state, sizeof(state)), name);
}

/* The end of console.log, to find what a new guest wrote behind what earlier ones did.  0 where there is none. */
static off_t log_size(const char *name)
{
	char path[PATHS_MAX];
	struct stat st;

	return !paths_vm_file(name, "console.log", path, NULL) && !stat(path, &st) ? st.st_size : 0;
}

/* show_log(name, from): what a guest wrote that ended before anybody could watch it. */
static void show_log(const char *name, off_t from)
{
	char path[PATHS_MAX], text[4096];
	ssize_t len;
	int fd;

	if (paths_vm_file(name, "console.log", path, NULL))
		return;
	fd = open(path, O_RDONLY | O_CLOEXEC);
	while (fd >= 0 && (len = pread(fd, text, sizeof(text), from)) > 0) {
		fwrite(text, 1, (size_t)len, stdout);
		from += len;
	}
	io_close(&fd);
}

static int attach(const char *name, struct control *control, off_t log_from, struct err *err)
{
	struct attach_result result;

	if (attach_run(control, ATTACH_BACKLOG_ALL, &result, err))
		return -1;
	if (result.too_late)
		show_log(name, log_from);
	return attach_conclude(name, &result);
}

/* A limit that was not to be had is said where it is seen at once; 'drover status' says it later. */
static void say_limits(const struct vm_config *config, struct control *control)
{
	json_t *status, *what;
	const char *name;

	if (!limits_any(&config->limits) || control_call(control, json_pack("{s:s}", "cmd", "status"),
							 VMS_STATUS_TIMEOUT_MS, &status, NULL, NULL, NULL))
		return;
	json_object_foreach(json_object_get(status, "limits"), name, what)
	{
		const char *text = json_string_value(what);

		if (text && strncmp(text, "applied", 7))
			output_note("VM '%s' runs without its %s limit: %s", config->name, name, text);
	}
	json_decref(status);
}

/* A service's main process is the VM's own; its manager has heard of that before this one ends. */
static void tell_manager(pid_t pid)
{
	if (sd_notifyf(0, "READY=1\nMAINPID=%d", (int)pid) > 0)
		(void)sd_notify_barrier(0, MANAGER_TIMEOUT_US);
}

static void say_started(const struct vm_config *config, pid_t pid, bool json)
{
	if (json)
		output_json(json_pack("{s:s, s:i, s:s}", "name", config->name, "pid", (int)pid, "uuid",
				      config->uuid));
	else
		output_say("VM '%s' runs (pid %d, uuid %s)", config->name, (int)pid, config->uuid);
}

/* A host's setting, which is easily lost with a reboot. */
static void say_huge_pages(const struct vm_config *config)
{
	const char *file = config->huge_pages ? memory_huge_pages_off() : NULL;

	if (file)
		output_note(
		    "VM '%s' runs without huge pages: this host gives shared memory none ('echo advise > %s' "
		    "allows it)",
		    config->name, file);
}

static int start(const struct vm_config *config, struct control *control, pid_t *pid, struct err *err)
{
	if (snapshot_restore_finish(config->name, err) || spawn_vm(config, NULL, control, pid, err))
		return -1;
	tell_manager(*pid);
	say_limits(config, control);
	say_huge_pages(config);
	return 0;
}

int start_vm(const struct vm_config *config, bool detach, bool json, struct err *err)
{
	off_t log_from = log_size(config->name);
	struct control control;
	int status = 0;
	pid_t pid;

	if (start(config, &control, &pid, err))
		return -1;
	if (detach)
		say_started(config, pid, json);
	else
		status = attach(config->name, &control, log_from, err);
	control_close(&control);
	return status;
}

int start_detached(const struct vm_config *config, pid_t *pid, struct err *err)
{
	struct control control;

	if (start(config, &control, pid, err))
		return -1;
	control_close(&control);
	return 0;
}
