/* drover run: boot a VM in a process of its own. */
#include "cli/commands.h"
#include "cli/run_devices.h"
#include "cli/start.h"
#include "vmm/machine.h"

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
	config->boot = (enum boot_source)args->boot;
	config->emulation = args->emulate;
	config->huge_pages = args->huge_pages;
	config->kernel = copy(args->kernel);
	config->initrd = copy(args->initrd);
	config->cmdline = copy(args->append);
	config->firmware = copy(args->firmware);
	if (!args->kernel && !args->disks.count && args->boot != BOOT_NETWORK)
		return err_set(
		    err, ERR_USAGE,
		    "run: there is nothing to boot: give it a --disk or a --kernel, or a --net and "
		    "--boot network; see 'drover help run'");
	if (args->kernel ? args->firmware != NULL : args->initrd || args->append)
		return err_set(err, ERR_USAGE,
			       "run: --initrd and --append go with --kernel, and --firmware without it; see "
			       "'drover help run'");
	return run_devices(args, config, err) || run_limits(args, config, err) ? -1 : 0;
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
	if (!start_check_name(config.name, err))
		status = start_vm(&config, args->detach, args->json, err);
out:
	config_free(&config);
	return status;
}
