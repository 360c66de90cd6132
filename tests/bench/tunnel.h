/* tunnel.h: a UNIX socket forwarded by OpenSSH, as administrators put SSH under QEMU's migration. */
#ifndef BENCH_TUNNEL_H
#define BENCH_TUNNEL_H

#include "common/err.h"
#include "tests/bench/benchenv.h"
#include <stdint.h>

/* tunnel_open(env, near_end, far_end, deadline_ns, err): `ssh -L near_end:far_end` to the benchmark's SSH server
 * with the cipher that drover uses; returns when near_end listens.  The ssh process ends with all others of the
 * run (benchenv_end_processes). */
int tunnel_open(const struct benchenv *env, const char *near_end, const char *far_end, uint64_t deadline_ns,
		struct err *err);

#endif
