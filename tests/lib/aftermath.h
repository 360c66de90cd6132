/* aftermath.h: what must hold after a failure in a move of a VM that writes to a disk, between two hosts (tests/lib/pair.h).  Everything fails the
 * running CMocka test where it does not. */
#ifndef TESTS_LIB_AFTERMATH_H
#define TESTS_LIB_AFTERMATH_H

#include "common/fault.h"
#include "tests/lib/diskhost.h"
#include "tests/lib/pair.h"
#include <stdbool.h>

/* In which process a point is. */
enum aftermath_process { AT_MOVER, AT_SOURCE, AT_SERVE, AT_DEST, AT_OTHER };
enum aftermath_process aftermath_process(enum fault_point_id id);
/* aftermath_in_postcopy: the point is one that only a move with post-copy passes. */
bool aftermath_in_postcopy(enum fault_point_id id);

/* A move of `vm` from a to b that is over. */
struct aftermath {
	const char *vm;
	const char *disk; /* its volume on a */
	const char *what; /* befell it */
	const char *said; /* by the move */
	bool may_be_down; /* a process died without which the guest cannot go on */
	bool again;       /* it is to move once more, from what is left */
};

/* aftermath_settle(after, on_a, on_b): until both sides have noticed; a hand-over that is pending is resolved: where it runs.
 * aftermath_check(after, on_a, on_b): there is one copy that runs, its log goes on, and it moves again if so asked; in the end it is ended, and every
 * record that it ever said was flushed is on the disk of the host where it ran last.
 * aftermath_tidy(after): neither host knows the VM any more; its volumes are gone. */
void aftermath_settle(const struct aftermath *after, bool *on_a, bool *on_b);
void aftermath_check(const struct aftermath *after, bool on_a, bool on_b);
void aftermath_tidy(const struct aftermath *after);

#endif
