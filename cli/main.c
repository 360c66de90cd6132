/* drover: the command.  Everything it can do is in the table of cli/commands.c. */
#include "cli/commands.h"
#include "cli/help.h"
#include "cli/output.h"
#include "common/fault.h"
#include "common/log.h"

#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* A descriptor 0, 1 or 2 that is closed would be the next one opened, and a sentence meant for the user would
 * end up in a socket. */
static void open_standard_descriptors(void)
{
	int fd;

	do
		fd = open("/dev/null", O_RDWR);
	while (fd >= 0 && fd <= STDERR_FILENO);
	if (fd >= 0)
		close(fd);
}

static int finish(int status, const struct err *err, bool json)
{
	struct err flush = {0};

	if (status < 0) {
		output_error(err, json);
		status = err_exit_status(err);
	}
	if (output_flush(&flush) && status == 0) {
		output_error(&flush, false);
		status = err_exit_status(&flush);
	}
	return status;
}

static bool is_help(const char *word)
{
	return !strcmp(word, "--help") || !strcmp(word, "-h");
}

/* of_group: a group was named, but no command of it. */
static int of_group(const struct command *group, const char *word, struct err *err)
{
	if (!word)
		return err_set(err, ERR_USAGE, "%s: which command? 'drover help %s' lists them", group->name,
			       group->name);
	if (!is_help(word))
		return err_set(err, ERR_USAGE, "there is no command '%s %.80s'; 'drover help %s' lists them",
			       group->name, word, group->name);
	help_command(stdout, group);
	return 0;
}

static int run_command(int argc, char **argv, struct args *args, struct err *err)
{
	size_t used;
	const struct command *command = commands_find((const char *const *)argv, (size_t)argc, &used);

	if (!command)
		return err_set(err, ERR_USAGE, "%s '%.80s'; 'drover help' lists the commands",
			       argv[0][0] == '-' ? "unknown option" : "there is no command", argv[0]);
	if (command->group)
		return of_group(command, argc > 1 ? argv[1] : NULL, err);
	argc -= (int)used - 1;
	argv += used - 1;
	if (options_parse(command, argc, argv, args, err))
		return -1;
	if (args->help) {
		help_command(stdout, command);
		return 0;
	}
	return command->run(args, err);
}

int main(int argc, char **argv)
{
	struct args args = {0};
	struct err err = {0};
	int status;

	open_standard_descriptors();
	log_open("drover");
	fault_open();
	signal(SIGPIPE, SIG_IGN);
	umask(077);
	if (argc < 2 || is_help(argv[1])) {
		help_overview(stdout);
		return finish(0, &err, false);
	}
	if (!strcmp(argv[1], "--version") || !strcmp(argv[1], "-V")) {
		printf("drover %s\n", DROVER_VERSION);
		return finish(0, &err, false);
	}
	status = run_command(argc - 1, argv + 1, &args, &err);
	return finish(status, &err, args.json);
}
