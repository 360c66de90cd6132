/* definition.h: a VM as people write it down: YAML (docs/vm.yaml.md), read by libcyaml against a schema.
 *
 * What the file leaves open is decided once, when it is first read, and kept: the VM's UUID, the PCI slot of each
 * device, MAC addresses.  A changed file is merged into what was kept, so that a device that stays keeps its slot. */
#ifndef VMM_DEFINITION_H
#define VMM_DEFINITION_H

#include "common/err.h"
#include "vmm/config.h"
#include <stddef.h>

enum { DEFINITION_MAX = 64 << 10 }; /* bytes of a file */

/* definition_read(text, len, source, name, kept, config, err): the configuration that the YAML text says, for the VM `name`.
 * source: what errors call the text ("vm.yaml").  kept: what was decided before, or NULL for a new VM.  Relative paths
 * are refused.  On success the caller frees *config (config_free); on failure -1 with ERR_INPUT "SOURCE: line N: …". */
int definition_read(const char *text, size_t len, const char *source, const char *name,
		    const struct vm_config *kept, struct vm_config *config, struct err *err);

#endif
