/* drover peer add: give another host a name. */
#include "cli/commands.h"
#include "cli/output.h"
#include "migrate/peer.h"

#include <limits.h>
#include <stdlib.h>
#include <string.h>

/* A file that is named is meant from here, and must be found from anywhere. */
static int absolute(const char *path, char **made, struct err *err)
{
	*made = NULL;
	if (!path)
		return 0;
	*made = realpath(path, NULL);
	return *made ? 0 : err_sys(err, "%s", path);
}

int cmd_peer_add(const struct args *args, struct err *err)
{
	struct peer peer = {.name = strdup(args->operand[0]), .url = strdup(args->operand[1])};
	struct ssh_target target;
	int failed;

	if (!peer.name || !peer.url)
		abort();
	if (args->remote_command) {
		peer.remote_command = strdup(args->remote_command);
		if (!peer.remote_command)
			abort();
	}
	failed = absolute(args->identity, &peer.identity, err) ||
		 absolute(args->known_hosts, &peer.known_hosts, err) || peer_target(&peer, &target, err) ||
		 peer_save(&peer, err);
	if (!failed && args->json)
		output_json(json_pack("{s:s, s:o}", "peer", peer.name, "url", output_string(peer.url)));
	else if (!failed)
		output_say("'%s' is %s; 'drover peer check %s' tries it", peer.name, peer.url, peer.name);
	peer_free(&peer);
	return failed ? err_context(err, "peer add") : 0;
}
