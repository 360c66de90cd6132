/* hostinfo.h: what a report must say of the machine and the programs, to be worth keeping. */
#ifndef BENCH_HOSTINFO_H
#define BENCH_HOSTINFO_H

#include "tests/bench/benchenv.h"
#include <jansson.h>

/* hostinfo_json(env): {"cpu", "cpus", "memory_mib", "kernel", "hypervisor", "date", "versions": {program: first line
 * of its --version}}; new reference.  hostinfo_line(info, text): the same in one sentence. */
json_t *hostinfo_json(const struct benchenv *env);
const char *hostinfo_line(const json_t *info, char text[512]);

#endif
