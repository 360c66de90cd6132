/* limits.h: what a VM may use of its host: the words for it, their values, and their JSON form.  vmm/cgroup.h sees to it that
 * they hold. */
#ifndef VMM_LIMITS_H
#define VMM_LIMITS_H

#include "common/err.h"
#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

enum { LIMITS_WORDS = 7 };
#define LIMITS_MIN_MEMORY  (32ull << 20)
#define LIMITS_AUTO_MEMORY UINT64_MAX /* until limits_settle */

struct vm_limits {
	uint64_t memory_bytes; /* of the VM process in all; 0, as of all below: no limit */
	uint64_t cpu_percent;  /* of one CPU */
	uint64_t read_bytes, write_bytes, read_iops, write_iops; /* a second, on each disk of the host */
	bool required;                                           /* without them the VM does not start */
};

/* The words of vm.yaml and --limit, in the order in which the manual has them. */
extern const char *const limits_words[LIMITS_WORDS];

/* limits_set(limits, word, value, err): one of them by its word and its value as people write it; -1 with ERR_USAGE. */
int limits_set(struct vm_limits *limits, const char *word, const char *value, struct err *err);
/* limits_settle(limits, memory_bytes, disks): "auto" becomes a number: the guest's RAM, what KVM and drover need beside it, and
 * some for each disk. */
void limits_settle(struct vm_limits *limits, uint64_t memory_bytes, unsigned disks);
bool limits_any(const struct vm_limits *limits);
bool limits_any_io(const struct vm_limits *limits);
/* limits_to_json: a new reference.  limits_from_json(json, limits, err): checks every field.  limits_check: the same checks. */
json_t *limits_to_json(const struct vm_limits *limits);
int limits_from_json(const json_t *json, struct vm_limits *limits, struct err *err);
int limits_check(const struct vm_limits *limits, struct err *err);

#endif
