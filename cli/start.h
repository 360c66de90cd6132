/* start.h: starting a VM, for the commands that do. */
#ifndef CLI_START_H
#define CLI_START_H

#include "common/err.h"
#include "vmm/config.h"
#include <stdbool.h>
#include <sys/types.h>

/* start_check_name(name, err): a VM of that name may start here: none lives under it, and none was given away. */
int start_check_name(const char *name, struct err *err);
/* start_check_free(name, err): a new VM may be made under that name: it stands for none yet. */
int start_check_free(const char *name, struct err *err);
/* start_vm(config, detach, json, err): in a process of its own.  detach: say so, as JSON if wanted, and return 0; else its
 * console is shown here until it is left or the VM ends.  Returns the exit status, or -1. */
int start_vm(const struct vm_config *config, bool detach, bool json, struct err *err);
/* start_detached(config, pid, err): the same in the background, and nothing is said of it on stdout. */
int start_detached(const struct vm_config *config, pid_t *pid, struct err *err);

#endif
