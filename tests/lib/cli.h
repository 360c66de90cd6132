/* cli.h: the drover command as a user meets it: arguments in, exit status, stdout and stderr out. */
#ifndef TESTS_LIB_CLI_H
#define TESTS_LIB_CLI_H

#include <stdbool.h>

enum { CLI_OUTPUT = 65536, CLI_WORDS = 24 };

struct cli {
	int status; /* exit status, or 128 + the signal that ended it */
	char out[CLI_OUTPUT];
	char err[CLI_OUTPUT];
};

/* cli_open(folder): the environment of the commands to come: state and run folders below folder, which need not
 * exist.  cli_program(): the absolute path of drover in the build folder. */
void cli_open(const char *folder);
const char *cli_program(void);

/* cli_run(cli, …): run `drover …` (const char * words, NULL at the end) with an empty stdin, for 30 s at most.
 * cli_run_words: the same, words in one string, split at blanks.  cli_run_in: before is called in the new process
 * and says by true that it may go on (status 125 else). */
void cli_run(struct cli *cli, ...) __attribute__((sentinel));
void cli_run_words(struct cli *cli, const char *words);
void cli_run_in(struct cli *cli, bool (*before)(void), const char *words);

/* cli_expect(cli, status, sentence): fails the test unless the status is that, and stderr is the one line
 * "drover: …" with sentence in it. */
void cli_expect(const struct cli *cli, int status, const char *sentence);

#endif
