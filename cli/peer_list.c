/* drover peer list: the other hosts that have names here. */
#include "cli/commands.h"
#include "cli/output.h"
#include "common/names.h"
#include "migrate/peer.h"

#include <stdio.h>
#include <string.h>

static json_t *text_json(const char *text)
{
	return text ? output_string(text) : json_null();
}

static json_t *peer_json(const struct peer *peer)
{
	return json_pack("{s:s, s:o, s:o, s:o, s:o}", "peer", peer->name, "url", text_json(peer->url),
			 "identity", text_json(peer->identity), "known_hosts", text_json(peer->known_hosts),
			 "remote_command", text_json(peer->remote_command));
}

static void print(const struct peer *peer, int width)
{
	output_say("%-*s  %s%s%s%s%s", width, peer->name, peer->url, peer->identity ? "  identity " : "",
		   peer->identity ? peer->identity : "", peer->remote_command ? "  command " : "",
		   peer->remote_command ? peer->remote_command : "");
}

int cmd_peer_list(const struct args *args, struct err *err)
{
	json_t *list = json_array();
	size_t count, width = 0;
	char **names;
	int failed = 0;

	if (peer_list(&names, &count, err)) {
		json_decref(list);
		return -1;
	}
	for (size_t i = 0; i < count; i++)
		if (strlen(names[i]) > width)
			width = strlen(names[i]);
	for (size_t i = 0; i < count && !failed; i++) {
		struct peer peer;

		failed = peer_find(names[i], &peer, err);
		if (!failed && args->json)
			json_array_append_new(list, peer_json(&peer));
		else if (!failed)
			print(&peer, (int)width);
		peer_free(&peer);
	}
	names_free(names, count);
	if (!failed && args->json)
		output_json(json_pack("{s:O}", "peers", list));
	else if (!failed && count == 0)
		output_say("no peers; 'drover peer add NAME ssh://HOST' gives another host a name");
	json_decref(list);
	return failed ? -1 : 0;
}
