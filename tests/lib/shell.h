/* shell.h: other people's programs as a test uses them, by lines for sh. */
#ifndef TESTS_LIB_SHELL_H
#define TESTS_LIB_SHELL_H

enum { SHELL_OUTPUT = 16384 };

/* shell_run(output, format, …): run the line with sh, for 60 s at most; its status, or 128 + signal.  output
 * (SHELL_OUTPUT bytes, or NULL) gets what it wrote on stdout and stderr.  shell_must: status 0, else the test fails
 * with that. */
int shell_run(char *output, const char *format, ...) __attribute__((format(printf, 2, 3)));
void shell_must(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* shell_nbdkit(): the words that start nbdkit with our plugin on a private socket ("… nbdkit -U - …/plugin.so"), ready for
 * parameters of the plugin and --run '…', which should begin with shell_nbdkit_run().  shell_nbdkit_at: on this socket;
 * for servers that do not start, which would leave the folder of a private one behind. */
const char *shell_nbdkit(void);
const char *shell_nbdkit_at(const char *socket);
const char *shell_nbdkit_run(void);

#endif
