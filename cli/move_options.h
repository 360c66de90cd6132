/* move_options.h: what a command line says of a move. */
#ifndef CLI_MOVE_OPTIONS_H
#define CLI_MOVE_OPTIONS_H

#include "cli/options.h"
#include "migrate/move.h"
#include <signal.h>

/* move_options(args, cancel): of a command whose operands are a VM and a host; what it has no option for is 0.  Strings are args'.
 * cancel: set by a signal handler; NULL: nothing is. */
struct move_options move_options(const struct args *args, const volatile sig_atomic_t *cancel);

#endif
