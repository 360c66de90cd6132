/* ssh.h: where the other host is, and a connection to it through SSH. */
#ifndef MIGRATE_SSH_H
#define MIGRATE_SSH_H

#include "common/err.h"
#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { SSH_USER_MAX = 64, SSH_HOST_MAX = 256 };

/* A connection that is being made, which another thread may give up. */
struct ssh_attempt {
	pthread_mutex_t lock;
	int fd; /* of its socket, a descriptor of our own; -1: there is none yet, or no more */
	bool given_up;
};

/* ssh_attempt_open(attempt): for any number of attempts, one after the other; ssh_attempt_close: nobody uses it any more.
 * ssh_attempt_end(attempt): this one is over: connected, and as much said as should be, or not.  Its own thread.
 * ssh_attempt_give_up(attempt): what it waits for fails at once, now and later, whether it connects, is let in, or waits for a
 * first answer; but not while it looks up the host's name or waits for the user's agent.  Any thread; a connection whose attempt
 * is over stays. */
void ssh_attempt_open(struct ssh_attempt *attempt);
void ssh_attempt_end(struct ssh_attempt *attempt);
void ssh_attempt_give_up(struct ssh_attempt *attempt);
void ssh_attempt_close(struct ssh_attempt *attempt);

/* Strings are borrowed: they must outlive the connection.  NULL or 0 means "as the user's SSH configuration
 * says". */
struct ssh_target {
	char user[SSH_USER_MAX]; /* "" : not given */
	char host[SSH_HOST_MAX];
	uint16_t port;               /* 0: not given */
	const char *identity;        /* private key file: this key and no other */
	const char *known_hosts;     /* instead of ~/.ssh/known_hosts */
	const char *config;          /* instead of ~/.ssh/config and /etc/ssh/ssh_config; "none": no file */
	const char *command;         /* what runs on the other host; its stdin and stdout are the link */
	unsigned connect_timeout_s;  /* 0: 10 */
	struct ssh_attempt *attempt; /* NULL: nobody gives it up */
	bool further; /* one of several to the same host: its round trips are not measured, which saves one */
};

/* ssh_url_parse(url, target, err): ssh://[user@]host[:port], an IPv6 address in brackets; nothing else: no
 * path, no password, no query.  Sets user, host and port and leaves the other fields.  0, or -1 with *err
 * (ERR_USAGE). */
int ssh_url_parse(const char *url, struct ssh_target *target, struct err *err);
/* ssh_url_format(target, text, cap): the reverse, for messages; cut when too long.  Returns text. */
const char *ssh_url_format(const struct ssh_target *target, char *text, size_t cap);

#endif
