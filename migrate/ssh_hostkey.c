/* ssh_hostkey.c: is the host the one we know?  Strictly, and without asking: drover runs without a terminal. */
#include "migrate/ssh_internal.h"
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* What the messages need to know of the key that was shown. */
struct shown {
	ssh_key key;
	char *base64;
	char *fingerprint; /* SHA256:… */
	char *file;        /* the user's known hosts */
	char *system_file;
	char host[SSH_HOST_MAX + 16]; /* as the file writes it: "host" or "[host]:port" */
	char scan[SSH_HOST_MAX + 16]; /* as ssh-keyscan takes it: "host" or "-p port host" */
};

static void describe_host(ssh_session session, struct shown *shown)
{
	char *host = NULL;
	unsigned port = 22;

	ssh_options_get(session, SSH_OPTIONS_HOST, &host);
	ssh_options_get_port(session, &port);
	if (port == 22) {
		snprintf(shown->host, sizeof(shown->host), "%s", host ? host : "");
		snprintf(shown->scan, sizeof(shown->scan), "%s", host ? host : "");
	} else {
		snprintf(shown->host, sizeof(shown->host), "'[%s]:%u'", host ? host : "", port);
		snprintf(shown->scan, sizeof(shown->scan), "-p %u %s", port, host ? host : "");
	}
	ssh_string_free_char(host);
}

static int get_shown(ssh_session session, const char *name, struct shown *shown, struct err *err)
{
	unsigned char *hash = NULL;
	size_t len;

	memset(shown, 0, sizeof(*shown));
	if (ssh_get_server_publickey(session, &shown->key) < 0 ||
	    ssh_pki_export_pubkey_base64(shown->key, &shown->base64) < 0 ||
	    ssh_get_publickey_hash(shown->key, SSH_PUBLICKEY_HASH_SHA256, &hash, &len) < 0)
		return err_set(err, ERR_LINK, "%s showed no usable host key: %s", name,
			       ssh_get_error(session));
	shown->fingerprint = ssh_get_fingerprint_hash(SSH_PUBLICKEY_HASH_SHA256, hash, len);
	ssh_clean_pubkey_hash(&hash);
	ssh_options_get(session, SSH_OPTIONS_KNOWNHOSTS, &shown->file);
	ssh_options_get(session, SSH_OPTIONS_GLOBAL_KNOWNHOSTS, &shown->system_file);
	if (!shown->fingerprint || !shown->file || !shown->system_file)
		return err_set(err, ERR_LINK, "cannot tell where the known hosts are: %s",
			       ssh_get_error(session));
	describe_host(session, shown);
	return 0;
}

static void free_shown(struct shown *shown)
{
	ssh_key_free(shown->key);
	ssh_string_free_char(shown->base64);
	ssh_string_free_char(shown->fingerprint);
	ssh_string_free_char(shown->file);
	ssh_string_free_char(shown->system_file);
}

/* "@revoked hosts type base64 comment": libssh passes over such lines.  The hosts are not looked at: a key that is
 * revoked for one host is good for none.  Returns 1 when the key is revoked there, 0, or -1: the file is there but
 * cannot be read, and might say so. */
static int revoked_in(const char *file, const char *base64)
{
	FILE *stream = fopen(file, "re");
	char *line = NULL;
	size_t cap = 0;
	int found = 0;

	if (!stream)
		return errno == ENOENT || errno == ENOTDIR ? 0 : -1;
	while (!found && getline(&line, &cap, stream) >= 0) {
		char *save = NULL;
		char *word = strtok_r(line, " \t\r\n", &save);

		if (!word || strcmp(word, "@revoked") != 0)
			continue;
		for (int field = 1; word && field <= 3; field++)
			word = strtok_r(NULL, " \t\r\n", &save);
		found = word && strcmp(word, base64) == 0;
	}
	if (!found && ferror(stream))
		found = -1;
	free(line);
	fclose(stream);
	return found;
}

static int check_revoked(const struct shown *shown, const char *name, struct err *err)
{
	const char *files[] = {shown->file, shown->system_file};

	for (size_t i = 0; i < sizeof(files) / sizeof(*files); i++) {
		int rc = revoked_in(files[i], shown->base64);

		if (rc > 0)
			return err_set(err, ERR_LINK,
				       "the host key of %s (%s) is revoked in %s: do not connect; ask who "
				       "runs the host for "
				       "its new key",
				       name, shown->fingerprint, files[i]);
		if (rc < 0)
			return err_set(err, ERR_LINK, "cannot check the host key of %s: %s: %s", name,
				       files[i], strerror(errno));
	}
	return 0;
}

static int check_known(ssh_session session, const struct shown *shown, const char *name, struct err *err)
{
	switch (ssh_session_is_known_server(session)) {
	case SSH_KNOWN_HOSTS_OK:
		return 0;
	case SSH_KNOWN_HOSTS_CHANGED:
		return err_set(err, ERR_LINK,
			       "the host key of %s has CHANGED (now %s): somebody may be in between; if the "
			       "change is known "
			       "to be right: ssh-keygen -R %s -f %s, then ssh-keyscan %s >> %s",
			       name, shown->fingerprint, shown->host, shown->file, shown->scan, shown->file);
	case SSH_KNOWN_HOSTS_OTHER:
		return err_set(err, ERR_LINK,
			       "%s shows a host key of another type (%s) than the one in %s: somebody may be "
			       "in between; if it "
			       "is known to be right: ssh-keyscan %s >> %s",
			       name, shown->fingerprint, shown->file, shown->scan, shown->file);
	case SSH_KNOWN_HOSTS_NOT_FOUND:
	case SSH_KNOWN_HOSTS_UNKNOWN:
		return err_set(err, ERR_LINK,
			       "the host key of %s (%s) is not known: compare it with the host's own, then "
			       "ssh-keyscan %s >> %s",
			       name, shown->fingerprint, shown->scan, shown->file);
	default:
		return err_set(err, ERR_LINK, "cannot check the host key of %s: %s", name,
			       ssh_get_error(session));
	}
}

int ssh_check_host_key(ssh_session session, const char *name, struct err *err)
{
	struct shown shown;
	int rc = get_shown(session, name, &shown, err);

	if (rc == 0)
		rc = check_revoked(&shown, name, err);
	if (rc == 0)
		rc = check_known(session, &shown, name, err);
	free_shown(&shown);
	return rc;
}
