/* cli.c: the drover command as a user meets it. */
#include "tests/lib/cli.h"
#include "tests/lib/test.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

enum { LIMIT_S = 30, CANNOT = 125, NO_PROGRAM = 126 };

const char *cli_program(void)
{
	static char program[4096 + 16];
	const char *build = getenv("DROVER_BUILD");
	char path[4096];

	if (!realpath(build ? build : "build", path))
		fail_msg("there is no build folder: %s", strerror(errno));
	snprintf(program, sizeof(program), "%s/drover", path);
	return program;
}

void cli_open(const char *folder)
{
	char path[4096];

	snprintf(path, sizeof(path), "%s/state", folder);
	setenv("DROVER_STATE", path, 1);
	snprintf(path, sizeof(path), "%s/run", folder);
	setenv("DROVER_RUN", path, 1);
}

static void read_back(int fd, char text[CLI_OUTPUT])
{
	ssize_t len = pread(fd, text, CLI_OUTPUT - 1, 0);

	assert_true(len >= 0);
	text[len] = '\0';
	close(fd);
}

static void run(struct cli *cli, bool (*before)(void), char *const argv[])
{
	/* Files rather than pipes: whatever is written, nobody waits for a reader. */
	int out = memfd_create("stdout", MFD_CLOEXEC), err = memfd_create("stderr", MFD_CLOEXEC), status;
	const char *program = cli_program();
	pid_t pid = fork();

	if (pid == 0) {
		int null = open("/dev/null", O_RDONLY);

		alarm(LIMIT_S); /* outlives the exec */
		if (dup2(null, 0) < 0 || dup2(out, 1) < 0 || dup2(err, 2) < 0 || (before && !before()))
			_exit(CANNOT);
		execv(program, argv);
		_exit(NO_PROGRAM);
	}
	assert_true(pid > 0);
	assert_int_equal(waitpid(pid, &status, 0), pid);
	cli->status = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
	if (cli->status == NO_PROGRAM)
		fail_msg("%s cannot be run", program);
	read_back(out, cli->out);
	read_back(err, cli->err);
}

void cli_run(struct cli *cli, ...)
{
	char *argv[CLI_WORDS + 1] = {(char *)"drover"};
	va_list ap;

	va_start(ap, cli);
	for (int argc = 1; (argv[argc] = va_arg(ap, char *)); argc++)
		assert_true(argc < CLI_WORDS);
	va_end(ap);
	run(cli, NULL, argv);
}

void cli_run_in(struct cli *cli, bool (*before)(void), const char *words)
{
	char *argv[CLI_WORDS + 1] = {(char *)"drover"}, *text = strdup(words), *rest;
	int argc = 1;

	assert_non_null(text);
	for (char *word = strtok_r(text, " ", &rest); word; word = strtok_r(NULL, " ", &rest)) {
		assert_true(argc < CLI_WORDS);
		argv[argc++] = word;
	}
	run(cli, before, argv);
	free(text);
}

void cli_run_words(struct cli *cli, const char *words)
{
	cli_run_in(cli, NULL, words);
}

void cli_expect(const struct cli *cli, int status, const char *sentence)
{
	const char *end = strchr(cli->err, '\n');

	if (cli->status != status)
		fail_msg("exit status %d instead of %d; stderr: %s", cli->status, status, cli->err);
	if (strncmp(cli->err, "drover: ", 8) || !end || end[1])
		fail_msg("stderr is not one line of drover's: %s", cli->err);
	if (!strstr(cli->err, sentence))
		fail_msg("stderr does not say '%s': %s", sentence, cli->err);
}
