/* definition_text.h: a configuration as the YAML that says it (docs/vm.yaml.md): for VMs that nobody wrote down. */
#ifndef VMM_DEFINITION_TEXT_H
#define VMM_DEFINITION_TEXT_H

#include "common/buf.h"
#include "vmm/config.h"

/* definition_text(config, text): appends it, with a NUL at its end.  definition_read of it, with config as what was kept, gives the same
 * configuration. */
void definition_text(const struct vm_config *config, struct buf *text);

#endif
