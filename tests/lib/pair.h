/* pair.h: two simulated hosts (tests/lib/host.h) that reach each other through one sshd, and what tests of moves between them
 * share.  A test program has one such pair, `world`.  Everything fails the running CMocka test on a surprise. */
#ifndef TESTS_LIB_PAIR_H
#define TESTS_LIB_PAIR_H

#include "tests/lib/host.h"
#include "tests/lib/relay.h"
#include "tests/lib/temp.h"
#include <stdbool.h>
#include <stdint.h>

extern struct pair {
	char folder[TEMP_MAX];
	struct sshd sshd;
	struct host a, b;
	char url[SSH_USER_MAX + 64];
	char serve[HOST_PATH * 4]; /* drover serve, as host b has it */
} world;

/* pair_open: hosts without VMs: 0 or -1; pair_close: 0.  Set-up and tear-down of a group or a test, which leave *state alone. */
int pair_open(void **state);
int pair_close(void **state);

/* pair_last_seq(vm): the newest report of the guest on either host; 0: none. */
uint64_t pair_last_seq(const char *vm);
/* pair_goes_on(vm): the guest has moved to b, and reports on from where it was; it is ended, and both hosts forget it. */
void pair_goes_on(const char *vm);

/* pair_relay: one on the way from either host to the other (sshd_relay).
 * pair_wait_for_bytes(relay, bytes, command): until so many went through the relay, or the command has ended. */
struct relay *pair_relay(void);
void pair_wait_for_bytes(struct relay *relay, uint64_t bytes, const struct command *command);

/* pair_fault_is_of(point, side): "mover.hello-sent" is of the side "mover". */
bool pair_fault_is_of(const char *point, const char *side);

#endif
