/* terminal.h: the user's terminal and the signals that end an interactive command. */
#ifndef CLI_TERMINAL_H
#define CLI_TERMINAL_H

#include <signal.h>
#include <stdbool.h>

/* terminal_catch(): from now on SIGINT, SIGTERM, SIGHUP and SIGQUIT are blocked except while terminal_mask()
 * is passed to ppoll, and are noted rather than end the process.  terminal_caught(): the first one that came,
 * 0 when none.  terminal_release(): as before; a caught signal stays noted. */
void terminal_catch(void);
const sigset_t *terminal_mask(void);
int terminal_caught(void);
void terminal_release(void);

/* terminal_raw(fd): every key goes through as it is; output processing stays on.  Returns false, and changes
 * nothing, when fd is not a terminal.  terminal_restore(): undoes it; harmless when there is nothing to undo.
 */
bool terminal_raw(int fd);
void terminal_restore(void);

/* terminal_line(line): on stderr, which is a terminal: over the line that stands there, cut to the terminal's width so that
 * it stays one line.  terminal_line_end(): leaves the cursor at the beginning of an empty line. */
void terminal_line(const char *line);
void terminal_line_end(void);

#endif
