/* help.h: help, printed from the table of commands. */
#ifndef CLI_HELP_H
#define CLI_HELP_H

#include "cli/options.h"
#include <stdio.h>

void help_overview(FILE *out);
void help_command(FILE *out, const struct command *command);

#endif
