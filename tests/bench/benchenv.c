#include "tests/bench/benchenv.h"
#include "common/io.h"
#include "tests/bench/farhost.h"
#include "tests/bench/proc.h"
#include "tests/bench/procfs.h"
#include "tests/lib/sshd.h"
#include <errno.h>
#include <ftw.h>
#include <limits.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* A network namespace whose loopback carries only this benchmark's bytes, so that what goes over it can be
 * read off the interface's counter rather than believed. */
static bool enter_network(void)
{
	return geteuid() == 0 && unshare(CLONE_NEWNET) == 0 && farhost_loopback_up();
}

/* The program's path from $PATH; empty when there is none. */
static void find_program(const char *name, char path[BENCHENV_PATH])
{
	char folders[4096];
	char *rest = folders, *folder;

	snprintf(folders, sizeof(folders), "%s", getenv("PATH") ? getenv("PATH") : "/usr/bin:/bin");
	while ((folder = strsep(&rest, ":"))) {
		int len = snprintf(path, BENCHENV_PATH, "%s/%s", folder, name);

		if (len < BENCHENV_PATH && access(path, X_OK) == 0)
			return;
	}
	path[0] = '\0';
}

static int find_build(struct benchenv *env, struct err *err)
{
	const char *build = getenv("DROVER_BUILD");
	char *real = realpath(build ? build : "build", NULL);
	int len;

	if (!real)
		return err_sys(err, "the build folder %s (set $DROVER_BUILD, or run `make bench`)",
			       build ? build : "build");
	len = snprintf(env->build, sizeof(env->build), "%s", real);
	free(real);
	if (len > BENCHENV_PATH - 32)
		return err_set(err, ERR_USAGE, "the path of the build folder is longer than %d bytes",
			       BENCHENV_PATH - 32);
	snprintf(env->guest, sizeof(env->guest), "%.*s/guest/testguest.elf", BENCHENV_PATH - 32, env->build);
	snprintf(env->drover, sizeof(env->drover), "%.*s/drover", BENCHENV_PATH - 32, env->build);
	if (access(env->guest, R_OK) != 0)
		return err_sys(err, "the test guest %s (run `make bench`)", env->guest);
	return 0;
}

void benchenv_defaults(struct benchenv *env)
{
	*env = (struct benchenv){.memory_mib = 1024, .fill_mib = 512, .compress = 60, .report_ms = 100};
}

int benchenv_open(struct benchenv *env, struct err *err)
{
	/* What the caller's own drover is told must not reach the one that is measured. */
	unsetenv("DROVER_STATE");
	unsetenv("DROVER_RUN");
	unsetenv("DROVER_LOG");
	unsetenv("DROVER_FAULT");
	if (find_build(env, err) != 0)
		return -1;
	find_program("qemu-system-x86_64", env->qemu);
	env->own_network = enter_network();
	snprintf(env->dir, sizeof(env->dir), "/tmp/drover-bench.XXXXXX");
	if (!mkdtemp(env->dir)) {
		env->dir[0] = '\0';
		return err_sys(err, "a folder in /tmp");
	}
	if (env->keep)
		fprintf(stderr, "folders of the runs: %s\n", env->dir);
	return 0;
}

int benchenv_sshd(struct benchenv *env, const char *extra, struct err *err)
{
	struct sshd *sshd;
	char dir[BENCHENV_PATH];

	if (env->sshd)
		return 0;
	snprintf(dir, sizeof(dir), "%.*s/sshd", BENCHENV_PATH - 32, env->dir);
	sshd = calloc(1, sizeof(*sshd));
	if (!sshd || (mkdir(dir, 0700) != 0 && errno != EEXIST) || sshd_start(dir, extra, sshd) != 0) {
		free(sshd);
		return err_set(err, ERR_SYSTEM, "sshd did not start (its reason is above)");
	}
	env->sshd = sshd;
	snprintf(env->ssh_url, sizeof(env->ssh_url), "ssh://%s@127.0.0.1:%u", sshd->user, sshd->port);
	return 0;
}

void benchenv_sshd_stop(struct benchenv *env)
{
	if (env->sshd)
		sshd_stop(env->sshd);
	free(env->sshd);
	env->sshd = NULL;
}

uint64_t benchenv_wire_bytes(const struct benchenv *env)
{
	return procfs_interface_bytes(env->far ? FARHOST_INTERFACE : "lo");
}

void benchenv_end_processes(struct benchenv *env)
{
	proc_end_all(env->sshd ? env->sshd->pid : 0);
}

void benchenv_close(struct benchenv *env)
{
	if (!env->dir[0])
		return;
	benchenv_end_processes(env);
	benchenv_sshd_stop(env);
	proc_end_all(0);
	benchenv_remove(env, env->dir);
	env->dir[0] = '\0';
}

int benchenv_run_dir(const struct benchenv *env, char dir[BENCHENV_PATH], struct err *err)
{
	static unsigned number;

	snprintf(dir, BENCHENV_PATH, "%.*s/%u", BENCHENV_PATH - 32, env->dir, ++number);
	if (mkdir(dir, 0700) != 0)
		return err_sys(err, "folder %s", dir);
	return 0;
}

static int remove_entry(const char *path, const struct stat *st, int kind, struct FTW *where)
{
	(void)st;
	(void)kind;
	(void)where;
	remove(path);
	return 0;
}

void benchenv_remove(const struct benchenv *env, const char *path)
{
	if (env->keep)
		return;
	nftw(path, remove_entry, 16, FTW_DEPTH | FTW_PHYS);
}

int benchenv_report_path(const struct benchenv *env, const char *name, char path[BENCHENV_PATH],
			 struct err *err)
{
	snprintf(path, BENCHENV_PATH, "%.*s/bench", BENCHENV_PATH - 64, env->build);
	if (io_mkdirs(path, 0755) != 0)
		return err_sys(err, "folder %s", path);
	snprintf(path, BENCHENV_PATH, "%.*s/bench/%s", BENCHENV_PATH - 64, env->build, name);
	return 0;
}
