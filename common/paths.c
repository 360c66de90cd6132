/* paths.c: where drover keeps things on a host. */
#include "common/paths.h"
#include "common/units.h"

#include <errno.h>
#include <libgen.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

static int make_path(char path[PATHS_MAX], struct err *err, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

static int make_path(char path[PATHS_MAX], struct err *err, const char *format, ...)
{
	va_list args;
	int len;

	va_start(args, format);
	len = vsnprintf(path, PATHS_MAX, format, args);
	va_end(args);
	if (len < 0 || len >= PATHS_MAX)
		return err_set(err, ERR_USAGE,
			       "the path %.100s... is longer than %d bytes: choose a shorter folder", path,
			       PATHS_MAX - 1);
	return 0;
}

/* A variable of drover's own, when it is set: 1 and path filled, 0 when it is not set, -1 when it is
 * relative: the VM process has another working folder than the command that asks for it. */
static int own_variable(const char *name, char path[PATHS_MAX], struct err *err)
{
	const char *value = getenv(name);

	if (!value || !*value)
		return 0;
	if (value[0] != '/')
		return err_set(err, ERR_USAGE, "%s=%.200s is not an absolute path: let it begin with /", name,
			       value);
	return make_path(path, err, "%s", value) < 0 ? -1 : 1;
}

/* A folder that the environment names, or NULL; relative ones do not count (as XDG wants it). */
static const char *folder_variable(const char *name)
{
	const char *value = getenv(name);

	return value && value[0] == '/' ? value : NULL;
}

int paths_state(char path[PATHS_MAX], struct err *err)
{
	int own = own_variable("DROVER_STATE", path, err);
	const char *folder;

	if (own)
		return own < 0 ? -1 : 0;
	if (geteuid() == 0)
		return make_path(path, err, "/var/lib/drover");
	folder = folder_variable("XDG_STATE_HOME");
	if (folder)
		return make_path(path, err, "%s/drover", folder);
	folder = folder_variable("HOME");
	if (folder)
		return make_path(path, err, "%s/.local/state/drover", folder);
	return err_set(err, ERR_USAGE,
		       "no folder for drover's state: set DROVER_STATE or HOME to an absolute path");
}

/* Everybody can make a folder in /tmp, so one of that name may be somebody's trap for our sockets. */
static int check_shared(const char *path, struct err *err)
{
	struct stat st;

	if (lstat(path, &st) < 0)
		return errno == ENOENT ? 0 : err_sys(err, "cannot look at %s", path);
	if (!S_ISDIR(st.st_mode) || st.st_uid != geteuid() || (st.st_mode & 022))
		return err_set(err, ERR_SYSTEM,
			       "%s is not a folder that only you can write to: set DROVER_RUN to one that is",
			       path);
	return 0;
}

int paths_run(char path[PATHS_MAX], struct err *err)
{
	int own = own_variable("DROVER_RUN", path, err);
	const char *folder;

	if (own)
		return own < 0 ? -1 : 0;
	if (geteuid() == 0)
		return make_path(path, err, "/run/drover");
	folder = folder_variable("XDG_RUNTIME_DIR");
	if (folder)
		return make_path(path, err, "%s/drover", folder);
	if (make_path(path, err, "/tmp/drover-%u", (unsigned int)geteuid()) < 0)
		return -1;
	return check_shared(path, err);
}

/* Every VM name passes here before it becomes part of a path. */
static int check_name(const char *name, struct err *err)
{
	if (units_name_valid(name))
		return 0;
	return err_set(err, ERR_USAGE,
		       "\"%.64s\" is not a VM name: 1 to 63 letters, digits, '.', '_' or '-', the first a "
		       "letter or digit",
		       name ? name : "");
}

int paths_vm_dir(const char *name, char path[PATHS_MAX], struct err *err)
{
	char state[PATHS_MAX];

	if (check_name(name, err) < 0 || paths_state(state, err) < 0)
		return -1;
	return make_path(path, err, "%s/vms/%s", state, name);
}

int paths_vm_file(const char *name, const char *file, char path[PATHS_MAX], struct err *err)
{
	char dir[PATHS_MAX];

	if (paths_vm_dir(name, dir, err) < 0)
		return -1;
	return make_path(path, err, "%s/%s", dir, file);
}

static int check_socket(const char *what, const char *path, struct err *err)
{
	const size_t limit = sizeof(((struct sockaddr_un *)0)->sun_path) - 1;

	if (strlen(path) > limit)
		return err_set(err, ERR_USAGE,
			       "the %s socket %.200s has %zu bytes in its path, a UNIX socket holds %zu: "
			       "set DROVER_RUN to a shorter path",
			       what, path, strlen(path), limit);
	return 0;
}

int paths_vm_socket(const char *name, char path[PATHS_MAX], struct err *err)
{
	char run[PATHS_MAX];

	if (check_name(name, err) < 0 || paths_run(run, err) < 0 ||
	    make_path(path, err, "%s/vms/%s.sock", run, name) < 0)
		return -1;
	return check_socket("control", path, err);
}

int paths_vm_ports(const char *name, const char *port, char path[PATHS_MAX], struct err *err)
{
	char run[PATHS_MAX];

	if (check_name(name, err) < 0 || paths_run(run, err) < 0 ||
	    make_path(path, err, "%s/vms/%s.ports%s%s", run, name, port ? "/" : "", port ? port : "") < 0)
		return -1;
	return port ? check_socket("port's", path, err) : 0;
}

int paths_job(const char *name, const char *suffix, char path[PATHS_MAX], struct err *err)
{
	char state[PATHS_MAX];

	if (!units_name_valid(name))
		return err_set(
		    err, ERR_USAGE,
		    "'%.80s' is no name for a job: 1 to 63 letters, digits, '.', '_', '-', the first one "
		    "a letter or digit",
		    name);
	if (paths_state(state, err) < 0)
		return -1;
	return make_path(path, err, "%s/jobs/%s%s", state, name, suffix);
}

int paths_peer(const char *name, char path[PATHS_MAX], struct err *err)
{
	char state[PATHS_MAX];

	if (!units_name_valid(name))
		return err_set(err, ERR_USAGE,
			       "'%.80s' is no name for a peer: 1 to 63 letters, digits, '.', '_', '-', the "
			       "first one a letter "
			       "or digit",
			       name);
	if (paths_state(state, err) < 0)
		return -1;
	return make_path(path, err, "%s/peers/%s.json", state, name);
}

int paths_incoming(const char *name, char path[PATHS_MAX], struct err *err)
{
	char run[PATHS_MAX];

	if (check_name(name, err) < 0 || paths_run(run, err) < 0 ||
	    make_path(path, err, "%s/incoming/%s.sock", run, name) < 0)
		return -1;
	return check_socket("session's", path, err);
}

int paths_vm_groups(const char *name, char path[PATHS_MAX], struct err *err)
{
	char run[PATHS_MAX];

	if (check_name(name, err) < 0 || paths_run(run, err) < 0)
		return -1;
	return make_path(path, err, "%s/vms/%s.groups", run, name);
}

int paths_helper(const char *program, char path[PATHS_MAX], struct err *err)
{
	static const char *const places[] = {"", "/../libexec/drover"};
	char self[PATHS_MAX];
	ssize_t len = readlink("/proc/self/exe", self, sizeof(self) - 1);
	const char *dir;

	if (len < 0)
		return err_sys(err, "cannot read /proc/self/exe to find %s", program);
	self[len] = '\0';
	dir = dirname(self);
	for (size_t i = 0; i < sizeof(places) / sizeof(places[0]); i++) {
		if (make_path(path, err, "%s%s/%s", dir, places[i], program) < 0)
			return -1;
		if (access(path, X_OK) == 0)
			return 0;
	}
	if (make_path(path, err, "%s/%s", DROVER_LIBEXEC, program) < 0)
		return -1;
	if (access(path, X_OK) == 0)
		return 0;
	return err_set(err, ERR_SYSTEM, "%s is neither in %.150s nor in %s: install drover again", program,
		       dir, DROVER_LIBEXEC);
}
