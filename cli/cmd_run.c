/* drover run: boot a VM in a process of its own. */
#include "cli/attach.h"
#include "cli/commands.h"
#include "cli/output.h"
#include "cli/run_devices.h"
#include "cli/vms.h"
#include "common/io.h"
#include "common/paths.h"
#include "vmm/machine.h"
#include "vmm/spawn.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static char *copy(const char *text)
{
	char *new = text ? strdup(text) : NULL;

	if (text && !new)
		abort();
	return new;
}

/* check_usage(config, args, err): what is wrong whatever the host looks like. */
static int check_usage(struct vm_config *config, const struct args *args, struct err *err)
{
	if (args->json && !args->detach)
		return err_set(err, ERR_USAGE,
			       "run: --json goes with --detach, since stdout is the guest's console "
			       "otherwise; see 'drover help run'");
	snprintf(config->name, sizeof(config->name), "%s", args->name);
	config_new_uuid(config->uuid);
	config->memory_bytes = args->memory_bytes;
	config->cpus = (unsigned)args->cpus;
	config->dirty_mode = (enum dirty_mode)args->dirty_tracking;
	config->kernel = copy(args->kernel);
	config->initrd = copy(args->initrd);
	config->cmdline = copy(args->append);
	config->firmware = copy(args->firmware);
	if (!args->kernel && !args->disks.count)
		return err_set(err, ERR_USAGE,
			       "run: there is nothing to boot: give it a --disk or a --kernel; see 'drover "
			       "help run'");
	if (args->kernel ? args->firmware != NULL : args->initrd || args->append)
		return err_set(err, ERR_USAGE,
			       "run: --initrd and --append go with --kernel, and --firmware without it; see "
			       "'drover help run'");
	return run_devices(args, config, err);
}

/* find_file(what, path, err): replace *path by the absolute path of the regular, readable file that it names. */
static int find_file(const char *what, char **path, struct err *err)
{
	struct stat st;
	char *absolute;
	int fd;

	if (!*path)
		return 0;
	/* O_NONBLOCK: a FIFO must be refused, not waited for. */
	fd = open(*path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
	if (fd < 0)
		return err_sys(err, "cannot read the %s '%.200s'", what, *path);
	if (fstat(fd, &st) || !S_ISREG(st.st_mode)) {
		close(fd);
		return err_set(err, ERR_INPUT, "the %s '%.200s' is not a regular file", what, *path);
	}
	close(fd);
	absolute = realpath(*path, NULL);
	if (!absolute)
		return err_sys(err, "cannot find the %s '%.200s'", what, *path);
	free(*path);
	*path = absolute;
	return 0;
}

/* Disks are told apart by how they begin.  The VM process opens them; what can be said before is said here. */
static int find_disks(struct vm_config *config, struct err *err)
{
	for (unsigned i = 0; i < config->ndevices; i++)
		if (config->devices[i].kind == DEVICE_DISK &&
		    (find_file("disk", &config->devices[i].disk.path, err) ||
		     run_disk_format(&config->devices[i], err)))
			return -1;
	return 0;
}

/* check_name(name, err): a VM of that name may be made here.  The VM process decides; this says it better. */
static int check_name(const char *name, struct err *err)
{
	struct vm_view view;

	vms_view(name, &view);
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
		    "VM '%s' lives on this host already (%s); take another name, or 'drover stop %s' first",
		    name, view.state, name);
	if (!strcmp(view.state, "handed-over"))
		return err_set(
		    err, ERR_STATE,
		    "VM '%s' was handed over to %s; take another name, or 'drover forget %s' if that VM is "
		    "over",
		    name, view.peer, name);
	if (!strcmp(view.state, "damaged"))
		return err_set(
		    err, ERR_INPUT,
		    "the record of VM '%s' cannot be read; make sure that no other host runs it, then "
		    "'drover forget --force %s'",
		    name, name);
	return 0;
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

static void say_started(const struct vm_config *config, pid_t pid, bool json)
{
	if (json)
		output_json(json_pack("{s:s, s:i, s:s}", "name", config->name, "pid", (int)pid, "uuid",
				      config->uuid));
	else
		output_say("VM '%s' runs (pid %d, uuid %s)", config->name, (int)pid, config->uuid);
}

static int boot(const struct vm_config *config, const struct args *args, struct err *err)
{
	off_t log_from = log_size(config->name);
	struct control control;
	int status = 0;
	pid_t pid;

	if (spawn_vm(config, NULL, &control, &pid, err))
		return -1;
	if (args->detach)
		say_started(config, pid, args->json);
	else
		status = attach(config->name, &control, log_from, err);
	control_close(&control);
	return status;
}

int cmd_run(const struct args *args, struct err *err)
{
	struct vm_config config = {0};
	struct err why = {0};
	int status = -1;

	if (check_usage(&config, args, err))
		goto out;
	/* A host that cannot run any VM is said before what else stands in the way. */
	if (machine_check_host(err) || find_file("kernel", &config.kernel, err) ||
	    find_file("initrd", &config.initrd, err) || find_file("firmware", &config.firmware, err) ||
	    find_disks(&config, err))
		goto out;
	if (config_check(&config, &why)) {
		err_set(err, ERR_USAGE, "run: %s; see 'drover help run'", why.text);
		goto out;
	}
	if (!check_name(config.name, err))
		status = boot(&config, args, err);
out:
	config_free(&config);
	return status;
}
