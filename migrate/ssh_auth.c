/* ssh_auth.c: being let in: the agent and keys; never a password, never a prompt. */
#include "migrate/ssh_internal.h"
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static bool has_agent(void)
{
	const char *socket = getenv("SSH_AUTH_SOCK");

	return socket && *socket;
}

/* What the host would take, for the message. */
static void list_methods(ssh_session session, char *text, size_t cap)
{
	static const struct {
		int bit;
		const char *name;
	} methods[] = {
	    {SSH_AUTH_METHOD_PUBLICKEY, "publickey"},
	    {SSH_AUTH_METHOD_PASSWORD, "password"},
	    {SSH_AUTH_METHOD_INTERACTIVE, "keyboard-interactive"},
	    {SSH_AUTH_METHOD_GSSAPI_MIC, "gssapi"},
	    {SSH_AUTH_METHOD_HOSTBASED, "hostbased"},
	};
	int offered = ssh_userauth_list(session, NULL);
	size_t len = 0;

	snprintf(text, cap, "nothing");
	for (size_t i = 0; i < sizeof(methods) / sizeof(*methods); i++)
		if ((offered & methods[i].bit) && len < cap)
			len +=
			    (size_t)snprintf(text + len, cap - len, "%s%s", len ? ", " : "", methods[i].name);
}

static int refused(ssh_session session, const char *name, int rc, const char *tried, struct err *err)
{
	char methods[96];
	char *user = NULL;

	if (rc == SSH_AUTH_ERROR && ssh_get_error_code(session) == SSH_FATAL)
		return err_set(err, ERR_LINK,
			       "%s ended the connection during authentication (%s was tried): %s", name,
			       tried, ssh_get_error(session));
	list_methods(session, methods, sizeof(methods));
	ssh_options_get(session, SSH_OPTIONS_USER, &user);
	err_set(err, ERR_LINK,
		"%s does not let user %s in with %s%s; it takes: %s; put the public key into "
		"~/.ssh/authorized_keys of that "
		"user there",
		name, user ? user : "?", tried, rc == SSH_AUTH_PARTIAL ? " alone" : "", methods);
	ssh_string_free_char(user);
	return -1;
}

/* --identity: this key and no other, since a host may tie what a key may do to the key.  What came of it to *rc. */
static int with_identity(ssh_session session, const struct ssh_target *target, char tried[256], int *rc,
			 struct err *err)
{
	ssh_key key = NULL;

	if (access(target->identity, R_OK) < 0)
		return err_sys(err, "cannot read the key file %s", target->identity);
	snprintf(tried, 256, "the key %s", target->identity);
	*rc = ssh_pki_import_privkey_file(target->identity, NULL, NULL, NULL, &key);
	if (*rc == SSH_OK) {
		*rc = ssh_userauth_publickey(session, NULL, key);
		ssh_key_free(key);
		return 0;
	}
	if (!has_agent())
		return err_set(
		    err, ERR_LINK,
		    "%s is not a private key, or has a passphrase: load it into an agent with ssh-add",
		    target->identity);
	/* It has a passphrase: the agent may hold it unlocked. */
	snprintf(tried, 256, "the agent, since %s cannot be read without a passphrase", target->identity);
	*rc = ssh_userauth_agent(session, NULL);
	return 0;
}

int ssh_authenticate(ssh_session session, const struct ssh_target *target, const char *name, struct err *err)
{
	char tried[256];
	int rc = SSH_AUTH_ERROR;

	snprintf(tried, sizeof(tried), "%s",
		 has_agent() ? "the agent's keys and the key files" : "the key files (no agent runs)");
	if (!target->identity)
		rc = ssh_userauth_publickey_auto(session, NULL, NULL);
	else if (with_identity(session, target, tried, &rc, err))
		return -1;
	/* A host that lets everybody in who gets there is asked last: to ask all of them first would cost a round trip each. */
	if (rc == SSH_AUTH_DENIED && ssh_userauth_none(session, NULL) == SSH_AUTH_SUCCESS)
		rc = SSH_AUTH_SUCCESS;
	return rc == SSH_AUTH_SUCCESS ? 0 : refused(session, name, rc, tried, err);
}
