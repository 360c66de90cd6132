/* test_link_identity.c: links over SSH: which hosts are taken for what they say, and who is let in. */
#include "migrate/link.h"
#include "tests/lib/linkkit.h"
#include "tests/lib/test.h"
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

static void test_unknown_host_key(void **state)
{
	struct ssh_target target = sshd_target(&linkkit_sshd, "cat");
	char path[SSHD_PATH];
	struct err err;
	char *after;

	(void)state;
	target.known_hosts = linkkit_path(path, "empty");
	linkkit_write_file(path, "");
	linkkit_refuse(&target, "is not known", &err);
	linkkit_says(&err, ERR_LINK, "SHA256:");
	linkkit_says(&err, ERR_LINK, "ssh-keyscan -p");
	linkkit_says(&err, ERR_LINK, path);
	after = linkkit_read_file(path);
	assert_string_equal(after, ""); /* nothing was written */
	free(after);
	target.known_hosts = linkkit_path(path, "absent");
	linkkit_refuse(&target, "is not known", &err);
	assert_int_equal(access(path, F_OK), -1);
}

/* A line for the server with the key in the file `key` (of this folder). */
static const char *known_as(char *path, const char *name, const char *host, const char *key)
{
	char line[1024], from[SSHD_PATH];
	char *text = linkkit_read_file(linkkit_path(from, key));

	snprintf(line, sizeof(line), "%s:%u %s", host, linkkit_sshd.port, text);
	free(text);
	linkkit_write_file(linkkit_path(path, name), line);
	return path;
}

static void test_changed_host_key(void **state)
{
	struct ssh_target target = sshd_target(&linkkit_sshd, "cat");
	char path[SSHD_PATH];
	struct err err;

	(void)state;
	target.known_hosts = known_as(path, "changed", "[127.0.0.1]",
				      "client_key.pub"); /* a key, of the same type, not its own */
	linkkit_refuse(&target, "has CHANGED", &err);
	linkkit_says(&err, ERR_LINK, "SHA256:");
	linkkit_says(&err, ERR_LINK, "ssh-keygen -R '[127.0.0.1]:");
}

static void test_host_key_of_other_type(void **state)
{
	struct ssh_target target = sshd_target(&linkkit_sshd, "cat");
	char path[SSHD_PATH], command[SSHD_PATH + 64];
	struct err err;

	(void)state;
	snprintf(command, sizeof(command), "ssh-keygen -q -t ecdsa -N '' -f %s", linkkit_path(path, "other"));
	assert_int_equal(system(command), 0);
	target.known_hosts = known_as(path, "other_type", "[127.0.0.1]", "other.pub");
	linkkit_refuse(&target, "of another type", &err);
}

static void test_revoked_host_key(void **state)
{
	struct ssh_target target = sshd_target(&linkkit_sshd, "cat");
	char path[SSHD_PATH];
	char *known = linkkit_read_file(linkkit_sshd.known_hosts);
	char *revoked;
	char *both;
	struct err err;

	(void)state;
	known_as(path, "revoked", "@revoked [127.0.0.1]", "host_key.pub");
	revoked = linkkit_read_file(path);
	assert_true(asprintf(&both, "# known and revoked\n%s%s", known, revoked) > 0);
	linkkit_write_file(path, both);
	target.known_hosts = path;
	linkkit_refuse(&target, "is revoked in", &err);
	free(both);
	free(revoked);
	free(known);
}

/* A configuration that says "do not check" is not obeyed. */
static void test_configuration_cannot_switch_checks_off(void **state)
{
	struct ssh_target target = sshd_target(&linkkit_sshd, "cat");
	char path[SSHD_PATH], config[SSHD_PATH];
	struct err err;

	(void)state;
	linkkit_write_file(linkkit_path(config, "config"), "Host *\n  StrictHostKeyChecking no\n");
	target.config = config;
	target.known_hosts = known_as(path, "changed", "[127.0.0.1]", "client_key.pub");
	linkkit_refuse(&target, "has CHANGED", &err);
	target.known_hosts = linkkit_path(path, "empty");
	linkkit_write_file(path, "");
	linkkit_refuse(&target, "is not known", &err);
}

/* Host, port, user and key from the configuration, under a name that is only there. */
static void test_configuration_is_used(void **state)
{
	struct ssh_target target = sshd_target(&linkkit_sshd, "cat");
	char config[SSHD_PATH], text[2048];
	struct link *link;

	(void)state;
	snprintf(text, sizeof(text),
		 "Host standby\n  HostName 127.0.0.1\n  Port %u\n  User %s\n  IdentityFile %s\n",
		 linkkit_sshd.port, linkkit_sshd.user, linkkit_sshd.identity);
	linkkit_write_file(linkkit_path(config, "config"), text);
	target.config = config;
	strcpy(target.host, "standby");
	target.user[0] = 0;
	target.port = 0;
	target.identity = NULL;
	link = linkkit_open(&target);
	linkkit_send(link, 1, 10, 'c');
	linkkit_expect(link, 1, 10, 'c');
	assert_string_equal(link_peer(link), "standby");
	link_close(link);
}

static void test_proxy_command(void **state)
{
	struct ssh_target target = sshd_target(&linkkit_sshd, "cat");
	char config[SSHD_PATH], text[2048];
	struct link *link;

	(void)state;
	if (access("/usr/bin/ssh", X_OK) < 0)
		skip();
	snprintf(text, sizeof(text),
		 "Host *\n  ProxyCommand ssh -F none -i %s -o UserKnownHostsFile=%s -p %u -W %%h:%%p "
		 "%s@127.0.0.1\n",
		 linkkit_sshd.identity, linkkit_sshd.known_hosts, linkkit_sshd.port, linkkit_sshd.user);
	linkkit_write_file(linkkit_path(config, "config"), text);
	target.config = config;
	link = linkkit_open(&target);
	for (int i = 0; i < 50; i++) {
		linkkit_send(link, 1, 100000, i);
		linkkit_expect(link, 1, 100000, i);
	}
	link_close(link);
}

static void test_localhost_by_name(void **state)
{
	struct ssh_target target = sshd_target(&linkkit_sshd, "cat");
	char path[SSHD_PATH];
	struct link *link;

	(void)state;
	known_as(path, "localhost", "[localhost]", "host_key.pub");
	strcpy(target.host, "localhost"); /* ::1 first, where nobody listens */
	target.known_hosts = path;
	link = linkkit_open(&target);
	linkkit_send(link, 1, 10, 'l');
	linkkit_expect(link, 1, 10, 'l');
	link_close(link);
}

static void test_wrong_identity(void **state)
{
	struct ssh_target target = sshd_target(&linkkit_sshd, "cat");
	char path[SSHD_PATH];
	struct err err;

	(void)state;
	target.identity = linkkit_path(path, "host_key"); /* a key, but none that is let in */
	linkkit_refuse(&target, "does not let user", &err);
	linkkit_says(&err, ERR_LINK, path);
	linkkit_says(&err, ERR_LINK, "publickey");
	linkkit_write_file(linkkit_path(path, "no_key"), "this is not a key\n");
	unsetenv("SSH_AUTH_SOCK");
	target.identity = path;
	linkkit_refuse(&target, "is not a private key", &err);
	target.identity = "/nonexistent/key";
	assert_null(link_open_ssh(&target, &err));
	linkkit_says(&err, ERR_SYSTEM, "/nonexistent/key");
}

/* An agent of our own, with $SSH_AUTH_SOCK set to it. */
static pid_t start_agent(void)
{
	char path[SSHD_PATH], line[256];
	int out[2];
	pid_t pid;

	linkkit_path(path, "agent");
	assert_int_equal(pipe2(out, O_CLOEXEC), 0);
	pid = fork();
	if (pid == 0) {
		prctl(PR_SET_PDEATHSIG, SIGTERM);
		dup2(out[1], STDOUT_FILENO);
		execlp("ssh-agent", "ssh-agent", "-D", "-a", path, (char *)NULL);
		_exit(127);
	}
	close(out[1]);
	assert_true(read(out[0], line, sizeof(line)) > 0); /* it says so when it listens */
	close(out[0]);
	setenv("SSH_AUTH_SOCK", path, 1);
	return pid;
}

static void test_agent_and_passphrase(void **state)
{
	struct ssh_target target = sshd_target(&linkkit_sshd, "cat");
	char command[1024], path[SSHD_PATH];
	pid_t agent;
	struct err err;

	(void)state;
	snprintf(command, sizeof(command), "cp %s %s && ssh-keygen -q -p -P '' -N secret -f %s >/dev/null",
		 linkkit_sshd.identity, linkkit_path(path, "locked"), path);
	assert_int_equal(system(command), 0);
	unsetenv("SSH_AUTH_SOCK");
	target.identity = path;
	linkkit_refuse(&target, "load it into an agent with ssh-add", &err);

	agent = start_agent();
	linkkit_refuse(&target, "does not let user", &err); /* the agent has nothing yet */
	snprintf(command, sizeof(command), "ssh-add -q %s", linkkit_sshd.identity);
	assert_int_equal(system(command), 0);
	link_close(linkkit_open(&target));
	target.identity = NULL;
	link_close(linkkit_open(&target));
	kill(agent, SIGTERM);
	waitpid(agent, NULL, 0);
	unsetenv("SSH_AUTH_SOCK");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_unknown_host_key),
	    cmocka_unit_test(test_changed_host_key),
	    cmocka_unit_test(test_host_key_of_other_type),
	    cmocka_unit_test(test_revoked_host_key),
	    cmocka_unit_test(test_configuration_cannot_switch_checks_off),
	    cmocka_unit_test(test_configuration_is_used),
	    cmocka_unit_test(test_proxy_command),
	    cmocka_unit_test(test_localhost_by_name),
	    cmocka_unit_test(test_wrong_identity),
	    cmocka_unit_test(test_agent_and_passphrase),
	};

	return cmocka_run_group_tests_name("link_identity", tests, linkkit_start, linkkit_stop);
}
