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
#endif
