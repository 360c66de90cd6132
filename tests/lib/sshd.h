/* sshd.h: a real OpenSSH server on a loopback port, for one test: own keys, own configuration, own folder. */
#ifndef TESTS_LIB_SSHD_H
#define TESTS_LIB_SSHD_H

#include "migrate/ssh.h"
#include "tests/lib/relay.h"
#include <pthread.h>
#include <stdint.h>
#include <sys/types.h>

enum { SSHD_PATH = 256 };

struct sshd {
	pid_t pid;
	uint16_t port;
	char user[SSH_USER_MAX];
	char dir[SSHD_PATH];
	char identity[SSHD_PATH + 32];    /* a key that it lets in */
	char known_hosts[SSHD_PATH + 32]; /* with its host key */
	char log[SSHD_PATH + 32];         /* what it wrote to stderr */
	int log_pipe;
	int log_end; /* eventfd: the log's thread is to end */
	pthread_t log_thread;
};

/* sshd_start(dir, extra, &sshd): make keys and a configuration in the folder dir (which must exist; several servers
 * need several folders), with the lines `extra` ("" for none; "SetEnv DROVER_STATE=…\n") first, start a server, and
 * return when it listens.  0, or -1 with the reason on stderr.  It ends with this process at the latest.
 * sshd_stop: end the listener and wait for it; sessions end when their client does. */
int sshd_start(const char *dir, const char *extra, struct sshd *sshd);
void sshd_stop(struct sshd *sshd);

/* sshd_target(&sshd, command): how to reach it: its known hosts and key, nobody's configuration. */
struct ssh_target sshd_target(const struct sshd *sshd, const char *command);

/* sshd_add_known(&sshd, port): its key is right for this other port too (a relay's).  sshd_add_known_at: at an address that it was told
 * to listen at besides. */
int sshd_add_known(const struct sshd *sshd, uint16_t port);
int sshd_add_known_at(const struct sshd *sshd, const char *address, uint16_t port);
/* sshd_relay(&sshd): a relay on the way to it, known as it is.  NULL with the reason on stderr. */
struct relay *sshd_relay(const struct sshd *sshd);

#endif
