#include "migrate/peer.h"

#include "common/io.h"
#include "common/jobj.h"
#include "common/names.h"
#include "common/paths.h"
#include "common/units.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { FILE_MAX = 32768, TEXT_MAX = 4096 };

static char *copy(const char *text)
{
	char *made = text ? strdup(text) : NULL;

	if (text && !made)
		abort(); /* small, as in common/buf.h */
	return made;
}

void peer_free(struct peer *peer)
{
	free(peer->name);
	free(peer->url);
	free(peer->identity);
	free(peer->known_hosts);
	free(peer->remote_command);
	*peer = (struct peer){.name = NULL};
}

static int optional(const json_t *json, const char *key, char **text, struct err *err)
{
	const char *value = NULL;

	if (jobj_string(json, key, false, TEXT_MAX, &value, err))
		return -1;
	*text = copy(value);
	return 0;
}

static int take(const json_t *json, struct peer *peer, struct err *err)
{
	struct ssh_target target;
	const char *url;

	if (jobj_string(json, "url", true, TEXT_MAX, &url, err) || ssh_url_parse(url, &target, err) ||
	    optional(json, "identity", &peer->identity, err) ||
	    optional(json, "known_hosts", &peer->known_hosts, err) ||
	    optional(json, "remote_command", &peer->remote_command, err))
		return -1;
	peer->url = copy(url);
	return 0;
}

static int load(const char *name, struct peer *peer, struct err *err)
{
	char path[PATHS_MAX];
	json_t *json;
	void *text;
	size_t len;
	int failed;

	if (paths_peer(name, path, err))
		return -1;
	if (io_read_file(path, FILE_MAX, &text, &len)) {
		if (errno == ENOENT || errno == ENOTDIR)
			return err_set(
			    err, ERR_STATE,
			    "there is no peer '%s'; 'drover peer list' shows those that there are, 'drover "
			    "peer add' makes one",
			    name);
		return err_sys(err, "%s", path);
	}
	json = jobj_parse(text, len, err);
	failed = !json || take(json, peer, err);
	json_decref(json);
	free(text);
	return failed ? err_context(err, "%s", path) : 0;
}

int peer_find(const char *word, struct peer *peer, struct err *err)
{
	struct ssh_target target;

	*peer = (struct peer){.name = copy(word)};
	if (!strchr(word, ':') && units_name_valid(word))
		return load(word, peer, err);
	if (ssh_url_parse(word, &target, err))
		return -1;
	peer->url = copy(word);
	return 0;
}

static void override(char **text, const char *by)
{
	if (!by)
		return;
	free(*text);
	*text = copy(by);
}

void peer_override(struct peer *peer, const char *identity, const char *known_hosts,
		   const char *remote_command)
{
	override(&peer->identity, identity);
	override(&peer->known_hosts, known_hosts);
	override(&peer->remote_command, remote_command);
}

int peer_target(const struct peer *peer, struct ssh_target *target, struct err *err)
{
	*target = (struct ssh_target){.identity = peer->identity,
				      .known_hosts = peer->known_hosts,
				      .command = peer->remote_command ? peer->remote_command : PEER_COMMAND};
	return ssh_url_parse(peer->url, target, err);
}

static void put(json_t *json, const char *key, const char *text)
{
	if (text)
		json_object_set_new(json, key, json_string(text));
}

int peer_save(const struct peer *peer, struct err *err)
{
	char path[PATHS_MAX], folder[PATHS_MAX], *text;
	json_t *json = json_object();
	int failed;

	if (paths_peer(peer->name, path, err)) {
		json_decref(json);
		return -1;
	}
	strcpy(folder, path);
	*strrchr(folder, '/') = 0;
	put(json, "url", peer->url);
	put(json, "identity", peer->identity);
	put(json, "known_hosts", peer->known_hosts);
	put(json, "remote_command", peer->remote_command);
	text = json_dumps(json, JSON_INDENT(2));
	json_decref(json);
	if (!text)
		return err_set(err, ERR_INPUT, "peer '%s': not UTF-8 text", peer->name);
	failed = io_mkdirs(folder, 0700) || io_replace_file(path, text, strlen(text));
	free(text);
	return failed ? err_sys(err, "%s", path) : 0;
}

int peer_remove(const char *name, struct err *err)
{
	char path[PATHS_MAX];

	if (paths_peer(name, path, err))
		return -1;
	if (!unlink(path))
		return 0;
	return errno == ENOENT || errno == ENOTDIR ? err_set(err, ERR_STATE, "there is no peer '%s'", name)
						   : err_sys(err, "%s", path);
}

int peer_list(char ***names, size_t *count, struct err *err)
{
	char path[PATHS_MAX];

	if (paths_peer("x", path, err))
		return -1;
	*strrchr(path, '/') = 0;
	return names_list(path, ".json", names, count, err);
}
