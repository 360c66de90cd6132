/* table.h: the words in which tables of commands are written; for cli/commands*.c only. */
#ifndef CLI_TABLE_H
#define CLI_TABLE_H

#include "cli/options.h"

#define AT(field) offsetof(struct args, field)
#define JSON                                                                                                 \
	{                                                                                                    \
		.name = "json", .help = "one JSON object on stdout", .type = OPTION_FLAG, .offset = AT(json) \
	}
#define END                                                                                                  \
	{                                                                                                    \
		.name = NULL                                                                                 \
	}
#define SSH_OPTIONS                                                                                          \
	{.name = "identity",                                                                                 \
	 .argument = "FILE",                                                                                 \
	 .help = "SSH private key (the agent and your usual keys)",                                          \
	 .type = OPTION_TEXT,                                                                                \
	 .offset = AT(identity)},                                                                            \
	    {.name = "known-hosts",                                                                          \
	     .argument = "FILE",                                                                             \
	     .help = "where the host's key must stand (your known_hosts)",                                   \
	     .type = OPTION_TEXT,                                                                            \
	     .offset = AT(known_hosts)},                                                                     \
	{                                                                                                    \
		.name = "remote-command", .argument = "COMMAND",                                             \
		.help = "what to start there ('drover serve')", .type = OPTION_TEXT,                         \
		.offset = AT(remote_command)                                                                 \
	}
/* How a stream goes to another host.  only_auto: of the file that uses it. */
#define STREAM_OPTIONS                                                                                       \
	{.name = "streams",                                                                                  \
	 .argument = "N",                                                                                    \
	 .help = "SSH connections, 1 to 16 (auto: 2 or more)",                                               \
	 .type = OPTION_COUNT,                                                                               \
	 .offset = AT(streams),                                                                              \
	 .words = only_auto,                                                                                 \
	 .min = 1,                                                                                           \
	 .max = STREAM_LINKS},                                                                               \
	    {.name = "bandwidth",                                                                            \
	     .argument = "SIZE",                                                                             \
	     .help = "bytes a second, of all connections (no limit)",                                        \
	     .type = OPTION_SIZE,                                                                            \
	     .offset = AT(bytes_per_s),                                                                      \
	     .min = 65536,                                                                                   \
	     .max = INT64_MAX},                                                                              \
	{                                                                                                    \
		.name = "compress", .argument = "HOW",                                                       \
		.help = "auto, none, lz4 or zstd (auto: what is fastest)", .type = OPTION_WORD,              \
		.offset = AT(packing), .words = packer_modes                                                 \
	}
#define PERMIT_OPTIONS                                                                                       \
	{.name = "vm",                                                                                       \
	 .argument = "PATTERN",                                                                              \
	 .help = "only VMs of such names; * and ? match (any)",                                              \
	 .type = OPTION_LIST,                                                                                \
	 .offset = AT(vms)},                                                                                 \
	    {.name = "action",                                                                               \
	     .argument = "ACTION",                                                                           \
	     .help = "only this: as listed below (all)",                                                     \
	     .type = OPTION_LIST,                                                                            \
	     .offset = AT(actions)},                                                                         \
	    {.name = "images",                                                                               \
	     .argument = "PATH",                                                                             \
	     .help = "a file, or folder of them, that VMs may read",                                         \
	     .type = OPTION_LIST,                                                                            \
	     .offset = AT(images)},                                                                          \
	    {.name = "tap",                                                                                  \
	     .argument = "PATTERN",                                                                          \
	     .help = "only such interfaces of the host (any)",                                               \
	     .type = OPTION_LIST,                                                                            \
	     .offset = AT(taps)},                                                                            \
	{                                                                                                    \
		.name = "memory-max", .argument = "SIZE",                                                    \
		.help = "the most memory that a VM may have (the host's)", .type = OPTION_SIZE,              \
		.offset = AT(memory_max), .min = 4 << 20, .max = INT64_MAX                                   \
	}
#endif
