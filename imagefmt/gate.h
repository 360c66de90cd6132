/* gate.h: a lock that many threads hold shared for a short while, and one alone from time to time.
 *
 * Whoever comes in writes only to the count of the CPU on which it runs, so that threads on different CPUs do not
 * hand one cache line to and fro.  To shut the gate costs a look at every count.  Not recursive: a thread that is
 * inside must not come in again by gate_enter, nor shut it. */
#ifndef IMAGEFMT_GATE_H
#define IMAGEFMT_GATE_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

enum { GATE_SLOTS = 16 };

struct gate {
	struct {
		uint32_t inside; /* atomic */
		uint8_t pad[124];
	} slots[GATE_SLOTS];
	bool shut; /* atomic; changed under lock */
	pthread_mutex_t lock;
	pthread_cond_t drained; /* for the one that shuts it: somebody left */
	pthread_cond_t opened;  /* for all others */
	uint64_t openings;
	unsigned waiting; /* outside while it is shut */
	unsigned
	    turn; /* of those, how many it was opened for and are not in yet: it is not shut before they are */
};

void gate_init(struct gate *gate);
void gate_destroy(struct gate *gate); /* nobody inside or waiting */
/* gate_enter(gate): come in, after waiting while it is shut.  Returns what gate_leave wants, which the same or another
 * thread may call. */
unsigned gate_enter(struct gate *gate);
void gate_leave(struct gate *gate, unsigned slot);
/* gate_try(gate, slot): come in only where that needs no waiting; a thread that is inside already may do so.  false: it is
 * shut. */
bool gate_try(struct gate *gate, unsigned *slot);
/* gate_shut(gate): let nobody in any longer, and wait until nobody is inside.  One thread at a time; the others wait.
 * gate_open: by the thread that shut it; those who waited come in before it can be shut again. */
void gate_shut(struct gate *gate);
void gate_open(struct gate *gate);

#endif
