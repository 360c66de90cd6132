/* definition_store.h: the definitions that this host keeps, one a VM: <state>/vms/NAME/definition.json, which holds the YAML as
 * its author wrote it and what was made of it ({"yaml": "…", "config": {…}}), replaced as a whole. */
#ifndef VMM_DEFINITION_STORE_H
#define VMM_DEFINITION_STORE_H

#include "common/err.h"
#include "vmm/config.h"
#include <stddef.h>

struct definition {
	char *yaml; /* NUL-terminated */
	struct vm_config config;
};

/* definition_load(name, definition, err): ERR_STATE when this host has none of that name, ERR_INPUT when it is damaged.  The
 * caller frees with definition_free, also after a failure. */
int definition_load(const char *name, struct definition *definition, struct err *err);
void definition_free(struct definition *definition);
/* definition_save(definition, err): under its config's name; makes the VM's folder.  Durable on return; on failure the
 * one before it stays. */
int definition_save(const struct definition *definition, struct err *err);
/* definition_remove(name, err): gone, if there was one. */
int definition_remove(const char *name, struct err *err);

#endif
