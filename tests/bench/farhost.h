/* farhost.h: a destination behind a link of a chosen bandwidth and delay: its SSH server runs in a network namespace of its own, to
 * which a pair of virtual interfaces leads that a token bucket limits (tc tbf); the delay is a relay's (tests/lib/relay.h), since
 * not every kernel can delay packets.  Needs root, ip and tc. */
#ifndef BENCH_FARHOST_H
#define BENCH_FARHOST_H

#include "common/err.h"
#include <stdbool.h>

struct benchenv;

#define FARHOST_INTERFACE "near" /* what leads there */
#define FARHOST_ADDRESS   "10.77.0.2"
enum { FARHOST_QEMU_PORT = 4444, FARHOST_IPERF_PORT = 5201 };

/* farhost_open(env, err): from here on, until farhost_close, the destinations of env are there: env->far is set, and env's SSH
 * server is one that runs there.  An SSH server that runs here is stopped.  Not before benchenv_open. */
int farhost_open(struct benchenv *env, struct err *err);
void farhost_close(struct benchenv *env);

/* farhost_link(env, mbit, rtt_ms, err): what the link to it is like from now on, and env->ssh_url the way to it. */
int farhost_link(struct benchenv *env, unsigned mbit, unsigned rtt_ms, struct err *err);

/* farhost_enter(env), farhost_leave(env): what is started between these runs there; harmless where env->far is NULL.
 * -1 with err. */
int farhost_enter(const struct benchenv *env, struct err *err);
int farhost_leave(const struct benchenv *env, struct err *err);

/* farhost_tcp(env, streams, &mbit, err): what so many TCP streams carry there together, by iperf3; payload, as received. */
int farhost_tcp(const struct benchenv *env, unsigned streams, double *mbit, struct err *err);

/* farhost_loopback_up(): the loopback interface of the network that the caller is in.  False: it cannot be. */
bool farhost_loopback_up(void);

#endif
