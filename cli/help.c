#include "cli/help.h"

#include "cli/commands.h"

#include <string.h>

static void list_commands(FILE *out, const struct command *table, bool plumbing)
{
	int width = 12;

	for (const struct command *command = table; command->name; command++)
		width = (int)strlen(command->name) > width ? (int)strlen(command->name) : width;
	for (const struct command *command = table; command->name; command++)
		if (command->plumbing == plumbing)
			fprintf(out, "  %-*s %s\n", width, command->name, command->summary);
}

void help_overview(FILE *out)
{
	fprintf(out, "usage: drover COMMAND [OPTION...]\n\n"
		     "drover runs virtual machines, moves them between hosts while they run, and\nkeeps "
		     "recovery points of them on other hosts.\n\n");
	list_commands(out, commands, false);
	fprintf(out, "\nstarted by drover itself on another host:\n");
	list_commands(out, commands, true);
	fprintf(out, "\n'drover help COMMAND' tells more, 'man drover' everything; 'drover --version'.\n"
		     "Exit status: 0 done, 1 failed, 2 wrong usage, 3 no KVM on this host.\n");
}

/* The synopsis may have several lines; each after the first is indented below the first's arguments. */
static void print_synopsis(FILE *out, const struct command *command)
{
	const char *line = command->synopsis;
	int indent = fprintf(out, "usage: drover %s", command->name) + 1;

	while (*line) {
		size_t len = strcspn(line, "\n");

		fprintf(out, "%*s%.*s\n", line == command->synopsis ? 1 : indent, "", (int)len, line);
		line += len + (line[len] == '\n');
	}
	if (!*command->synopsis)
		fputc('\n', out);
}

void help_command(FILE *out, const struct command *command)
{
	char left[64];

	print_synopsis(out, command);
	fprintf(out, "\n%c%s.\n%s\n\n", command->summary[0] - 'a' + 'A', command->summary + 1,
		command->details);
	if (command->group) {
		list_commands(out, command->group, false);
		fprintf(out, "\n'drover help %s COMMAND' tells more, 'man drover-%s' everything.\n",
			command->name, command->name);
		return;
	}
	for (const struct option_spec *option = command->options; option->name; option++) {
		snprintf(left, sizeof(left), "--%s%s%s", option->name, option->argument ? " " : "",
			 option->argument ? option->argument : "");
		fprintf(out, "  %-25s %s\n", left, option->help);
	}
	fprintf(out, "  %-25s %s\n", "--help", "this text");
}

int cmd_help(const struct args *args, struct err *err)
{
	size_t count = !args->operand[0] ? 0 : !args->operand[1] ? 1 : 2, used;
	const struct command *command = commands_find(args->operand, count, &used);

	if (count == 0)
		help_overview(stdout);
	else if (!command)
		return err_set(err, ERR_USAGE, "help: there is no command '%.80s'; 'drover help' lists them",
			       args->operand[0]);
	else if (used < count)
		return err_set(err, ERR_USAGE,
			       "help: there is no command '%s %.80s'; 'drover help%s%s' lists them",
			       args->operand[0], args->operand[1], command->group ? " " : "",
			       command->group ? command->name : "");
	else
		help_command(stdout, command);
	return 0;
}
