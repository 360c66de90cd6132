/* ssh.h: where the other host is, and a connection to it through SSH. */
#ifndef MIGRATE_SSH_H
#define MIGRATE_SSH_H

#include "common/err.h"
#include <stddef.h>
#include <stdint.h>

enum { SSH_USER_MAX = 64, SSH_HOST_MAX = 256 };

/* Strings are borrowed: they must outlive the connection.  NULL or 0 means "as the user's SSH configuration
 * says". */
struct ssh_target {
	char user[SSH_USER_MAX]; /* "" : not given */
	char host[SSH_HOST_MAX];
	uint16_t port;              /* 0: not given */
	const char *identity;       /* private key file: this key and no other */
	const char *known_hosts;    /* instead of ~/.ssh/known_hosts */
	const char *config;         /* instead of ~/.ssh/config and /etc/ssh/ssh_config; "none": no file */
	const char *command;        /* what runs on the other host; its stdin and stdout are the link */
	unsigned connect_timeout_s; /* 0: 10 */
};

/* ssh_url_parse(url, target, err): ssh://[user@]host[:port], an IPv6 address in brackets; nothing else: no
 * path, no password, no query.  Sets user, host and port and leaves the other fields.  0, or -1 with *err
 * (ERR_USAGE). */
int ssh_url_parse(const char *url, struct ssh_target *target, struct err *err);
/* ssh_url_format(target, text, cap): the reverse, for messages; cut when too long.  Returns text. */
const char *ssh_url_format(const struct ssh_target *target, char *text, size_t cap);

#endif
