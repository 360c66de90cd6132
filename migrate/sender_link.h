/* sender_link.h: one link of a sender: its part of a round, and the ledger of what is on its way there.  Internal to
 * sender*.c.  By the thread that works the link, unless stated. */
#ifndef MIGRATE_SENDER_LINK_H
#define MIGRATE_SENDER_LINK_H

#include "migrate/sender.h"

/* sender_link_work(link, err): this link's part of the round: what it can claim, until nothing is left or the round is to be
 * left (sender_stopped).  -1: pages that were not sent are in todo again; those in flight are in the window. */
int sender_link_work(struct sender_link *link, struct err *err);
/* sender_link_take(link, frame, err): what the receiver says inside an epoch: it only acknowledges, or gives up.
 * sender_link_look(link, err): all of it that is here. */
int sender_link_take(struct sender_link *link, const struct frame *frame, struct err *err);
int sender_link_look(struct sender_link *link, struct err *err);
/* sender_link_release(link, received): so many frames have arrived.  sender_link_forget(link, received): they are of no interest any more.  sender_link_put_back(link): it broke: what was on its way is to be
 * sent in the next epoch.  Nobody works the link. */
void sender_link_release(struct sender_link *link, uint64_t received);
void sender_link_forget(struct sender_link *link, uint64_t received);
void sender_link_put_back(struct sender_link *link);
/* sender_link_count_bytes(link): add what it has sent since the last time to the sender's sum. */
void sender_link_count_bytes(struct sender_link *link);

/* sender_stopped(sender): everybody is to leave the round. */
static inline bool sender_stopped(const struct sender *sender)
{
	return __atomic_load_n(&sender->stop, __ATOMIC_ACQUIRE);
}

#endif
