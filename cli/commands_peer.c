/* commands_peer.c: the commands of 'drover peer'. */
#include "cli/commands.h"
#include "cli/table.h"

#define PEER                                                                                                 \
	{                                                                                                    \
		.label = "NAME"                                                                              \
	}

static const struct option_spec json_only[] = {JSON, END};
static const struct option_spec ssh_options[] = {SSH_OPTIONS, JSON, END};
static const struct option_spec authorize_options[] = {
    PERMIT_OPTIONS,
    {.name = "identity",
     .argument = "FILE",
     .help = "the key's private file; the public one is beside it",
     .type = OPTION_TEXT,
     .offset = AT(identity)},
    {.name = "remote-command",
     .argument = "COMMAND",
     .help = "what the key may start there ('drover serve')",
     .type = OPTION_TEXT,
     .offset = AT(remote_command)},
    JSON,
    END,
};

const struct command peer_commands[] = {
    {.name = "peer add",
     .summary = "give another host a name",
     .synopsis = "NAME URL [--identity FILE] [--known-hosts FILE]\n"
		 "[--remote-command COMMAND] [--json]",
     .details = "URL is ssh://[USER@]HOST[:PORT]. A peer of that name is replaced. Nothing is\n"
		"tried; 'drover peer check' does that.",
     .run = cmd_peer_add,
     .options = ssh_options,
     .operands = {PEER, {.label = "URL"}}},
    {.name = "peer list",
     .summary = "the other hosts that have names",
     .synopsis = "[--json]",
     .details = "In alphabetical order, with what they were added with.",
     .run = cmd_peer_list,
     .options = json_only},
    {.name = "peer check",
     .summary = "whether VMs can go to another host",
     .synopsis = "HOST [--identity FILE] [--known-hosts FILE]\n"
		 "[--remote-command COMMAND] [--json]",
     .details = "Connects as a move would, and says what the host has to offer, and how fast the\n"
		"link is. HOST is a peer or an ssh URL.",
     .run = cmd_peer_check,
     .options = ssh_options,
     .operands = {{.label = "HOST"}}},
    {.name = "peer remove",
     .summary = "forget the name of another host",
     .synopsis = "NAME [--json]",
     .details = "Nothing else changes, here or there.",
     .run = cmd_peer_remove,
     .options = json_only,
     .operands = {PEER}},
    {.name = "peer authorize",
     .summary = "the line by which another host lets this one in",
     .synopsis = "HOST [--vm PATTERN]... [--action ACTION]...\n"
		 "[--images PATH]... [--tap PATTERN]...\n"
		 "[--memory-max SIZE] [--identity FILE]\n"
		 "[--remote-command COMMAND] [--json]",
     .details = "For authorized_keys of the user there: a forced command, and nothing else that\n"
		"SSH offers. Actions are move, outcome (needed with move), check and replicate;\n"
		"without any, and without a pattern, all actions and all VMs. Files of that host\n"
		"that a VM only reads (--images) are none unless they are named.",
     .run = cmd_peer_authorize,
     .options = authorize_options,
     .operands = {{.label = "HOST"}}},
    {.name = NULL},
};
