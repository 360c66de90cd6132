/* commands.h: the commands of drover.  One file per command; all of them in one table, and one for each group. */
#ifndef CLI_COMMANDS_H
#define CLI_COMMANDS_H

#include "cli/options.h"

/* Each table ends with a NULL name. */
extern const struct command commands[];
extern const struct command image_commands[];
extern const struct command peer_commands[];
extern const struct command job_commands[];

/* commands_find(words, count, &used): the command that the first words name, and how many of them (1, or 2 of a command in a
 * group).  The group itself where no command of it is named; NULL, used 0, when there is none of that name. */
const struct command *commands_find(const char *const *words, size_t count, size_t *used);

/* The functions of the table (struct command says what they return). */
int cmd_run(const struct args *args, struct err *err);
int cmd_list(const struct args *args, struct err *err);
int cmd_status(const struct args *args, struct err *err);
int cmd_console(const struct args *args, struct err *err);
int cmd_pause(const struct args *args, struct err *err);
int cmd_resume(const struct args *args, struct err *err);
int cmd_stop(const struct args *args, struct err *err);
int cmd_kill(const struct args *args, struct err *err);
int cmd_create(const struct args *args, struct err *err);
int cmd_edit(const struct args *args, struct err *err);
int cmd_remove(const struct args *args, struct err *err);
int cmd_start(const struct args *args, struct err *err);
int cmd_reset(const struct args *args, struct err *err);
int cmd_balloon(const struct args *args, struct err *err);
int cmd_dirty_rate(const struct args *args, struct err *err);
int cmd_plan(const struct args *args, struct err *err);
int cmd_migrate(const struct args *args, struct err *err);
int cmd_cancel(const struct args *args, struct err *err);
int cmd_snapshot(const struct args *args, struct err *err);
int cmd_snapshots(const struct args *args, struct err *err);
int cmd_restore(const struct args *args, struct err *err);
int cmd_resolve(const struct args *args, struct err *err);
int cmd_forget(const struct args *args, struct err *err);
int cmd_serve(const struct args *args, struct err *err);
int cmd_protect(const struct args *args, struct err *err);
int cmd_unprotect(const struct args *args, struct err *err);
int cmd_jobs(const struct args *args, struct err *err);
int cmd_job_show(const struct args *args, struct err *err);
int cmd_job_pause(const struct args *args, struct err *err);
int cmd_job_resume(const struct args *args, struct err *err);
int cmd_job_run_now(const struct args *args, struct err *err);
int cmd_daemon(const struct args *args, struct err *err);
int cmd_points(const struct args *args, struct err *err);
int cmd_failover(const struct args *args, struct err *err);
int cmd_help(const struct args *args, struct err *err);
int cmd_image_create(const struct args *args, struct err *err);
int cmd_image_convert(const struct args *args, struct err *err);
int cmd_image_info(const struct args *args, struct err *err);
int cmd_image_check(const struct args *args, struct err *err);
int cmd_image_map(const struct args *args, struct err *err);
int cmd_image_epochs(const struct args *args, struct err *err);
int cmd_image_close(const struct args *args, struct err *err);
int cmd_image_clone(const struct args *args, struct err *err);
int cmd_image_rollback(const struct args *args, struct err *err);
int cmd_image_delete(const struct args *args, struct err *err);
int cmd_image_changed(const struct args *args, struct err *err);
int cmd_image_digest(const struct args *args, struct err *err);
int cmd_image_compare(const struct args *args, struct err *err);
int cmd_image_export(const struct args *args, struct err *err);
int cmd_image_apply(const struct args *args, struct err *err);
int cmd_image_resize(const struct args *args, struct err *err);
int cmd_image_pack(const struct args *args, struct err *err);
int cmd_peer_add(const struct args *args, struct err *err);
int cmd_peer_list(const struct args *args, struct err *err);
int cmd_peer_check(const struct args *args, struct err *err);
int cmd_peer_remove(const struct args *args, struct err *err);
int cmd_peer_authorize(const struct args *args, struct err *err);

#endif
