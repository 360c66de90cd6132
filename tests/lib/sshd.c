/* sshd.c: see sshd.h. */
#include "tests/lib/sshd.h"

#include "common/io.h"
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pwd.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

enum { TRIES = 5 };

static int complain(const char *what)
{
	fprintf(stderr, "sshd harness: %s: %s\n", what, strerror(errno));
	return -1;
}

static int make_key(const char *path)
{
	char *argv[] = {"ssh-keygen", "-q",   "-t", "ed25519",    "-N", "",
			"-C",         "test", "-f", (char *)path, NULL};
	int status;
	pid_t pid;

	if (access(path, F_OK) == 0)
		return 0;
	if (posix_spawnp(&pid, argv[0], NULL, NULL, argv, environ) != 0 || waitpid(pid, &status, 0) < 0 ||
	    status != 0)
		return complain("ssh-keygen");
	return 0;
}

/* A port that was free a moment ago; sshd says so if it no longer is. */
static uint16_t free_port(void)
{
	struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	socklen_t len = sizeof(address);
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	uint16_t port = 0;

	if (bind(fd, (struct sockaddr *)&address, sizeof(address)) == 0 &&
	    getsockname(fd, (struct sockaddr *)&address, &len) == 0)
		port = ntohs(address.sin_port);
	close(fd);
	return port;
}

static int copy_file(const char *from, const char *to)
{
	void *data;
	size_t len;
	int rc;

	if (io_read_file(from, 1 << 16, &data, &len) < 0)
		return complain(from);
	rc = io_replace_file(to, data, len);
	free(data);
	return rc < 0 ? complain(to) : 0;
}

static int write_config(const struct sshd *sshd, const char *extra)
{
	char path[SSHD_PATH + 32];
	FILE *file;

	snprintf(path, sizeof(path), "%s/sshd_config", sshd->dir);
	file = fopen(path, "w");
	if (!file)
		return complain(path);
	fprintf(
	    file,
	    "%s\n"
	    "Port %u\nListenAddress 127.0.0.1\nHostKey %s/host_key\nAuthorizedKeysFile %s/authorized_keys\n"
	    "PidFile none\nStrictModes no\nUsePAM no\nUseDNS no\nPrintMotd no\nPrintLastLog no\n"
	    "PermitRootLogin yes\nPasswordAuthentication no\nKbdInteractiveAuthentication no\n"
	    "MaxStartups 100\nMaxSessions 100\nLoginGraceTime 60\n",
	    extra, sshd->port, sshd->dir, sshd->dir);
	return fclose(file) == 0 ? 0 : complain(path);
}

int sshd_add_known(const struct sshd *sshd, uint16_t port)
{
	return sshd_add_known_at(sshd, "127.0.0.1", port);
}

int sshd_add_known_at(const struct sshd *sshd, const char *address, uint16_t port)
{
	char path[SSHD_PATH + 32];
	void *key;
	size_t len;
	FILE *file;

	snprintf(path, sizeof(path), "%s/host_key.pub", sshd->dir);
	if (io_read_file(path, 4096, &key, &len) < 0)
		return complain(path);
	file = fopen(sshd->known_hosts, "a");
	if (file) {
		fprintf(file, "[%s]:%u %s", address, port, (char *)key);
		fclose(file);
	}
	free(key);
	return file ? 0 : complain(sshd->known_hosts);
}

/* Write down what it says for as long as it says something; it must never wait for us. */
static void *keep_log(void *arg)
{
	struct sshd *sshd = arg;
	int fd = open(sshd->log, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
	char text[1024];
	ssize_t got;

	for (;;) {
		struct pollfd fds[] = {{.fd = sshd->log_pipe, .events = POLLIN},
				       {.fd = sshd->log_end, .events = POLLIN}};

		if (poll(fds, 2, -1) < 0 || fds[1].revents)
			break;
		got = read(sshd->log_pipe, text, sizeof(text));
		if (got <= 0 || (fd >= 0 && write(fd, text, (size_t)got) < 0))
			break;
	}
	io_close(&fd);
	return NULL;
}

/* Returns 1 when it listens, 0 when it ended without. */
static int wait_listening(struct sshd *sshd)
{
	char text[4096];
	size_t len = 0;

	while (len < sizeof(text) - 1) {
		ssize_t got = read(sshd->log_pipe, text + len, 1);

		if (got <= 0) {
			text[len] = 0;
			fprintf(stderr, "sshd harness: it did not start: %s\n", text);
			return 0;
		}
		len += (size_t)got;
		text[len] = 0;
		if (text[len - 1] == '\n' && strstr(text, "Server listening"))
			return 1;
	}
	return 0;
}

static int spawn(struct sshd *sshd)
{
	char config[SSHD_PATH + 32];
	pid_t parent = getpid();
	int pipes[2];

	snprintf(config, sizeof(config), "%s/sshd_config", sshd->dir);
	if (pipe2(pipes, O_CLOEXEC) < 0)
		return complain("pipe");
	sshd->log_end = eventfd(0, EFD_CLOEXEC);
	if (sshd->log_end < 0)
		return complain("eventfd");
	sshd->pid = fork();
	if (sshd->pid == 0) {
		prctl(PR_SET_PDEATHSIG, SIGTERM);
		if (getppid() != parent)
			_exit(127);
		signal(SIGPIPE, SIG_DFL);
		dup2(pipes[1], STDERR_FILENO);
		execl("/usr/sbin/sshd", "/usr/sbin/sshd", "-D", "-e", "-f", config, (char *)NULL);
		_exit(127);
	}
	close(pipes[1]);
	sshd->log_pipe = pipes[0];
	if (sshd->pid > 0 && wait_listening(sshd) &&
	    pthread_create(&sshd->log_thread, NULL, keep_log, sshd) == 0)
		return 0;
	close(pipes[0]);
	close(sshd->log_end);
	if (sshd->pid > 0) {
		kill(sshd->pid, SIGTERM);
		waitpid(sshd->pid, NULL, 0);
	}
	sshd->pid = 0;
	return -1;
}

int sshd_start(const char *dir, const char *extra, struct sshd *sshd)
{
	const struct passwd *me = getpwuid(geteuid());
	char host_key[SSHD_PATH + 32];
	char public[SSHD_PATH + 40];
	char allowed[SSHD_PATH + 32];

	*sshd = (struct sshd){.pid = 0};
	snprintf(sshd->user, sizeof(sshd->user), "%s", me ? me->pw_name : "root");
	snprintf(sshd->dir, sizeof(sshd->dir), "%s", dir);
	snprintf(sshd->identity, sizeof(sshd->identity), "%s/client_key", dir);
	snprintf(sshd->known_hosts, sizeof(sshd->known_hosts), "%s/known_hosts", dir);
	snprintf(sshd->log, sizeof(sshd->log), "%s/sshd.log", dir);
	snprintf(host_key, sizeof(host_key), "%s/host_key", dir);
	snprintf(public, sizeof(public), "%s.pub", sshd->identity);
	snprintf(allowed, sizeof(allowed), "%s/authorized_keys", dir);
	/* Where privilege separation puts itself; the system's service makes it at boot otherwise. */
	if (geteuid() == 0 && mkdir("/run/sshd", 0755) < 0 && errno != EEXIST)
		return complain("/run/sshd");
	if (make_key(host_key) < 0 || make_key(sshd->identity) < 0 || copy_file(public, allowed) < 0)
		return -1;
	for (int i = 0; i < TRIES; i++) {
		sshd->port = free_port();
		if (write_config(sshd, extra) < 0 || sshd_add_known(sshd, sshd->port) < 0)
			return -1;
		if (spawn(sshd) == 0)
			return 0;
	}
	return -1;
}

void sshd_stop(struct sshd *sshd)
{
	if (sshd->pid <= 0)
		return;
	kill(sshd->pid, SIGTERM);
	waitpid(sshd->pid, NULL, 0);
	/* A session that is about to end may still hold the pipe, so its end is not waited for. */
	eventfd_write(sshd->log_end, 1);
	pthread_join(sshd->log_thread, NULL);
	close(sshd->log_pipe);
	close(sshd->log_end);
	sshd->pid = 0;
}

struct ssh_target sshd_target(const struct sshd *sshd, const char *command)
{
	struct ssh_target target = {
	    .host = "127.0.0.1",
	    .port = sshd->port,
	    .identity = sshd->identity,
	    .known_hosts = sshd->known_hosts,
	    .config = "none",
	    .command = command,
	};

	memcpy(target.user, sshd->user, sizeof(target.user));
	return target;
}

struct relay *sshd_relay(const struct sshd *sshd)
{
	struct relay *relay = relay_start(sshd->port);

	if (relay && sshd_add_known(sshd, relay_port(relay))) {
		relay_stop(relay);
		return NULL;
	}
	return relay;
}
