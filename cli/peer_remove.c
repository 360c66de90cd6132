/* drover peer remove: forget the name of another host. */
#include "cli/commands.h"
#include "cli/output.h"
#include "migrate/peer.h"

int cmd_peer_remove(const struct args *args, struct err *err)
{
	const char *name = args->operand[0];

	if (peer_remove(name, err))
		return -1;
	if (args->json)
		output_json(json_pack("{s:s}", "peer", name));
	else
		output_say("peer '%s' is forgotten", name);
	return 0;
}
