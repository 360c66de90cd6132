/* pair.h: two simulated hosts (tests/lib/host.h) that reach each other through one sshd, and what tests of moves between them
 * share.  Everything fails the running CMocka test on a surprise. */
#ifndef TESTS_LIB_PAIR_H
#define TESTS_LIB_PAIR_H

#include "tests/lib/host.h"
#include "tests/lib/relay.h"
#include "tests/lib/temp.h"
#include <stdbool.h>
#include <stdint.h>

struct pair {
	char folder[TEMP_MAX];
	struct sshd sshd;
	struct host a, b;
};

/* pair_open(pair): hosts without VMs, for a group's or a test's set-up: 0 or -1.  pair_close(pair): 0. */
int pair_open(struct pair *pair);
int pair_close(struct pair *pair);

/* pair_last_seq(pair, vm): the newest report of the guest on either host; 0: none. */
uint64_t pair_last_seq(const struct pair *pair, const char *vm);

/* pair_wait_for_bytes(relay, bytes, command): until so many went through the relay, or the command has ended. */
void pair_wait_for_bytes(struct relay *relay, uint64_t bytes, const struct command *command);

/* pair_fault_is_of(point, side): "mover.hello-sent" is of the side "mover". */
bool pair_fault_is_of(const char *point, const char *side);

#endif
