/* facts.h: what this host has to offer to a VM: said by `drover serve` to whoever may ask, and compared before a move. */
#ifndef MIGRATE_FACTS_H
#define MIGRATE_FACTS_H

#include "common/err.h"
#include <jansson.h>
#include <stdint.h>

/* facts_available_memory(): bytes that the system could give to a new process; UINT64_MAX when it does not say. */
uint64_t facts_available_memory(void);
/* facts_all_memory(): bytes of RAM and swap that the system has. */
uint64_t facts_all_memory(void);
/* facts_json(err): a new reference: {"host", "drover", "kvm": "" or why there is none, "cpu": what a guest would see of it
 * (machine_cpu_json; null without KVM), "memory_bytes": to be had, "cpus", "disk_bytes": free where VMs are kept,
 * "interfaces": [names]}.  NULL with *err. */
json_t *facts_json(struct err *err);

#endif
