/* gate.c: a lock with a count for each CPU.
 *
 * Why nobody is inside while it is shut: who comes in adds to a count and then reads `shut`; who shuts it sets `shut`
 * and then reads the counts.  Both are sequentially consistent, so of two that do so at once at least one sees the
 * other: the count is seen, and waited for, or `shut` is, and the count taken back without anything having been
 * looked at.  A count that was seen at zero after `shut` was set can only be touched in vain from then on, so it is
 * enough to see each at zero once.
 *
 * Why nobody sleeps for ever: who takes a count back reads `shut` after that, and signals under the lock when it is
 * set; who shuts it looks at the counts under the lock, after `shut` was set, before it sleeps. */
#include "imagefmt/gate.h"

#include <sched.h>

void gate_init(struct gate *gate)
{
	pthread_mutex_init(&gate->lock, NULL);
	pthread_cond_init(&gate->drained, NULL);
	pthread_cond_init(&gate->opened, NULL);
}

void gate_destroy(struct gate *gate)
{
	pthread_mutex_destroy(&gate->lock);
	pthread_cond_destroy(&gate->drained);
	pthread_cond_destroy(&gate->opened);
}

/* enter_slowly: by way of the lock, under which the gate is not shut. */
static void enter_slowly(struct gate *gate, unsigned slot)
{
	pthread_mutex_lock(&gate->lock);
	if (gate->shut) {
		uint64_t seen = gate->openings;
		gate->waiting++;
		while (gate->openings == seen)
			pthread_cond_wait(&gate->opened, &gate->lock);
		if (--gate->turn == 0)
			pthread_cond_broadcast(&gate->opened);
	}
	__atomic_fetch_add(&gate->slots[slot].inside, 1, __ATOMIC_SEQ_CST);
	pthread_mutex_unlock(&gate->lock);
}

bool gate_try(struct gate *gate, unsigned *slot)
{
	/* A number that is wrong, or wrong in a moment, costs speed only. */
	*slot = (unsigned)sched_getcpu() % GATE_SLOTS;
	__atomic_fetch_add(&gate->slots[*slot].inside, 1, __ATOMIC_SEQ_CST);
	if (!__atomic_load_n(&gate->shut, __ATOMIC_SEQ_CST))
		return true;
	gate_leave(gate, *slot);
	return false;
}

unsigned gate_enter(struct gate *gate)
{
	unsigned slot;
	if (!gate_try(gate, &slot))
		enter_slowly(gate, slot);
	return slot;
}

void gate_leave(struct gate *gate, unsigned slot)
{
	__atomic_fetch_sub(&gate->slots[slot].inside, 1, __ATOMIC_SEQ_CST);
	if (__atomic_load_n(&gate->shut, __ATOMIC_SEQ_CST)) {
		pthread_mutex_lock(&gate->lock);
		pthread_cond_signal(&gate->drained);
		pthread_mutex_unlock(&gate->lock);
	}
}

void gate_shut(struct gate *gate)
{
	pthread_mutex_lock(&gate->lock);
	while (gate->shut || gate->turn > 0)
		pthread_cond_wait(&gate->opened, &gate->lock);
	__atomic_store_n(&gate->shut, true, __ATOMIC_SEQ_CST);
	for (unsigned i = 0; i < GATE_SLOTS; i++)
		while (__atomic_load_n(&gate->slots[i].inside, __ATOMIC_SEQ_CST) != 0)
			pthread_cond_wait(&gate->drained, &gate->lock);
	pthread_mutex_unlock(&gate->lock);
}

void gate_open(struct gate *gate)
{
	pthread_mutex_lock(&gate->lock);
	gate->turn = gate->waiting;
	gate->waiting = 0;
	gate->openings++;
	__atomic_store_n(&gate->shut, false, __ATOMIC_SEQ_CST);
	pthread_cond_broadcast(&gate->opened);
	pthread_mutex_unlock(&gate->lock);
}
