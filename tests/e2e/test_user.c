/* drover for an ordinary user whose group may open /dev/kvm: a VM from its start to its end and to another host, with the folders of
 * the XDG base directories; and what a user hears whose group may not.
 *
 * The user has numbers that nobody has.  Programs and folders are on a file system of the test's own, in a mount namespace of
 * its own, where /dev/kvm belongs to that group. */
#include "common/io.h"
#include "tests/lib/cli.h"
#include "tests/lib/host.h"
#include "tests/lib/need.h"
#include "tests/lib/shell.h"
#include "tests/lib/test.h"

#include <grp.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#define PLACE "/mnt"
enum { USER = 54321, GROUP = 54322, OTHERS = 54323, OTHERS_GROUP = 54324 };

static struct cli cli;

static bool become(uid_t uid, gid_t gid)
{
	return !setgroups(0, NULL) && !setgid(gid) && !setuid(uid);
}

static bool user(void)
{
	return become(USER, GROUP);
}

static bool other(void)
{
	return become(OTHERS, OTHERS_GROUP);
}

static int group_setup(void **state)
{
	struct stat kvm;
	(void)state;
	if (geteuid() || access("/dev/kvm", R_OK | W_OK))
		return 0; /* the tests say it */
	char build[HOST_PATH];
	snprintf(build, sizeof(build), "%s", host_build());
	if (stat("/dev/kvm", &kvm) || unshare(CLONE_NEWNS) ||
	    mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) || mount("none", PLACE, "tmpfs", 0, "mode=755"))
		return -1;
	shell_must("mkdir -p " PLACE "/bin/guest && cp %s/drover %s/drover-vm " PLACE "/bin/ && cp "
		   "%s/guest/testguest.elf " PLACE "/bin/guest/ && cd " PLACE
		   " && mkdir -m 700 home runtime && chown %d:%d home runtime",
		   build, build, build, USER, GROUP);
	if (mknod(PLACE "/kvm", S_IFCHR | 0600, kvm.st_rdev) || chown(PLACE "/kvm", 0, GROUP) ||
	    chmod(PLACE "/kvm", 0660) || mount(PLACE "/kvm", "/dev/kvm", NULL, MS_BIND, NULL))
		return -1;
	setenv("DROVER_BUILD", PLACE "/bin", 1);
	setenv("HOME", PLACE "/home", 1);
	setenv("XDG_RUNTIME_DIR", PLACE "/runtime", 1);
	return 0;
}

static int setup(void **state)
{
	(void)state;
	need_kvm();
	need_root("become another user");
	unsetenv("DROVER_STATE");
	unsetenv("DROVER_RUN");
	unsetenv("XDG_STATE_HOME");
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	cli_run_in(&cli, user, "kill g --force");
	return 0;
}

static void must(const char *words)
{
	cli_run_in(&cli, user, words);
	if (cli.status)
		fail_msg("'%s' ended with %d: %s", words, cli.status, cli.err);
}

static void mine(const char *path)
{
	struct stat st;
	if (lstat(path, &st))
		fail_msg("%s is not there", path);
	assert_int_equal(st.st_uid, USER);
	assert_int_equal(st.st_mode & 077, 0);
}

static void test_life(void **state)
{
	static const char yaml[] = "memory: 32M\nkernel: " PLACE
				   "/bin/guest/testguest.elf\ndisks:\n  - path: " PLACE "/home/v.dvol\n";
	(void)state;
	assert_int_equal(io_replace_file(PLACE "/g.yaml", yaml, strlen(yaml)), 0);
	assert_int_equal(chmod(PLACE "/g.yaml", 0644), 0);
	must("image create " PLACE "/home/v.dvol 1M");
	must("create g -f " PLACE "/g.yaml");
	must("start g");
	mine(PLACE "/home/.local/state/drover/vms/g/vm.log");
	mine(PLACE "/runtime/drover/vms");
	must("list");
	assert_non_null(strstr(cli.out, "running"));
	/* Its console, for as long as it lives. */
	shell_must("cd / && setpriv --reuid=%d --regid=%d --clear-groups " PLACE
		   "/bin/drover console g >" PLACE "/seen 2>&1 </dev/null & "
		   "until grep -q 'drover-guest: ' " PLACE "/seen; do sleep 0.05; done; "
		   "setpriv --reuid=%d --regid=%d --clear-groups " PLACE "/bin/drover kill g && wait",
		   USER, GROUP, USER, GROUP);
	/* Its folders are nobody else's. */
	cli_run_in(&cli, other, "list");
	assert_int_not_equal(cli.status, 0);
	must("start g");
	must("pause g");
	must("resume g");
	must("dirty-rate g --interval 10ms");
	must("stop g --timeout 10ms");
	must("remove g");
	must("forget g");
}

static void test_moves_away(void **state)
{
	struct sshd sshd;
	char words[2048];
	(void)state;
	assert_int_equal(mkdir(PLACE "/ssh", 0755), 0);
	assert_int_equal(sshd_start(PLACE "/ssh",
				    "SetEnv DROVER_STATE=" PLACE "/b/state DROVER_RUN=" PLACE "/b/run\n",
				    &sshd),
			 0);
	assert_int_equal(chown(sshd.identity, USER, GROUP), 0);
	assert_int_equal(chmod(sshd.known_hosts, 0644), 0);
	shell_must("printf '#!/bin/sh\\nexec " PLACE "/bin/drover serve\\n' >" PLACE
		   "/serve && chmod 755 " PLACE "/serve");
	must("run --name g --memory 32M --detach --kernel " PLACE "/bin/guest/testguest.elf");
	snprintf(words, sizeof(words),
		 "migrate g ssh://%s@127.0.0.1:%u --identity %s --known-hosts %s --downtime 2s "
		 "--remote-command " PLACE "/serve",
		 sshd.user, sshd.port, sshd.identity, sshd.known_hosts);
	must(words);
	must("list");
	assert_non_null(strstr(cli.out, "handed over to ssh://"));
	shell_must("DROVER_STATE=" PLACE "/b/state DROVER_RUN=" PLACE "/b/run " PLACE "/bin/drover kill g");
	sshd_stop(&sshd);
	must("forget g");
}

static void test_not_in_the_group(void **state)
{
	(void)state;
	cli_run_in(&cli, other,
		   "run --name g --memory 32M --detach --kernel " PLACE "/bin/guest/testguest.elf");
	cli_expect(&cli, 3, "/dev/kvm: permission denied; it is for the group with number 54322");
	assert_int_equal(chown("/dev/kvm", 0, 0), 0);
	cli_run_in(&cli, user,
		   "run --name g --memory 32M --detach --kernel " PLACE "/bin/guest/testguest.elf");
	assert_int_equal(chown("/dev/kvm", 0, GROUP), 0);
	cli_expect(&cli, 3, "it is for root alone; as root: chgrp kvm /dev/kvm");
	/* A group that has a name, and a user who has one. */
	assert_int_equal(chown("/dev/kvm", 0, getgrnam("daemon")->gr_gid), 0);
	char output[SHELL_OUTPUT];
	int status = shell_run(
	    output,
	    "cd / && setpriv --reuid=nobody --regid=nogroup --clear-groups env DROVER_STATE=" PLACE
	    "/n DROVER_RUN=" PLACE "/n " PLACE
	    "/bin/drover run --name g --memory 32M --detach --kernel " PLACE "/bin/guest/testguest.elf");
	assert_int_equal(chown("/dev/kvm", 0, GROUP), 0);
	assert_int_equal(status, 3);
	assert_non_null(strstr(output, "it is for group daemon; as root: usermod -aG daemon nobody"));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test_setup_teardown(test_life, setup, teardown),
	    cmocka_unit_test_setup_teardown(test_moves_away, setup, teardown),
	    cmocka_unit_test_setup_teardown(test_not_in_the_group, setup, teardown),
	};
	return cmocka_run_group_tests(tests, group_setup, NULL);
}
