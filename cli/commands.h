/* commands.h: the commands of drover.  One file per command; all of them in one table. */
#ifndef CLI_COMMANDS_H
#define CLI_COMMANDS_H

#include "cli/options.h"

/* The table ends with a NULL name.  commands_find: NULL when there is none of that name. */
extern const struct command commands[];
const struct command *commands_find(const char *name);

/* The functions of the table (struct command says what they return). */
int cmd_run(const struct args *args, struct err *err);
int cmd_list(const struct args *args, struct err *err);
int cmd_status(const struct args *args, struct err *err);
int cmd_console(const struct args *args, struct err *err);
int cmd_pause(const struct args *args, struct err *err);
int cmd_resume(const struct args *args, struct err *err);
int cmd_stop(const struct args *args, struct err *err);
int cmd_dirty_rate(const struct args *args, struct err *err);
int cmd_migrate(const struct args *args, struct err *err);
int cmd_cancel(const struct args *args, struct err *err);
int cmd_resolve(const struct args *args, struct err *err);
int cmd_forget(const struct args *args, struct err *err);
int cmd_image_convert(const struct args *args, struct err *err);
int cmd_serve(const struct args *args, struct err *err);
int cmd_help(const struct args *args, struct err *err);

#endif
