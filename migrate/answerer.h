/* answerer.h: in post-copy, a thread that answers what the guest waits for on the other host, over a link of its own, beside the
 * sender's (docs/stream.md).  Internal to migrate/. */
#ifndef MIGRATE_ANSWERER_H
#define MIGRATE_ANSWERER_H

#include "common/err.h"
#include "migrate/link.h"
#include "migrate/pages.h"
#include "migrate/sender.h"
#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

struct answerer {
	struct sender *sender; /* whose pages they are: what is answered leaves its todo */
	/* join: a request link, greeted; NULL with *err. */
	struct link *(*join)(void *arg, uint32_t id, struct ssh_attempt *attempt, struct err *err);
	void *join_arg;
	struct link *link; /* NULL: none; the thread makes another one */
	struct ssh_attempt attempt;
	struct pages_encoder *encoder;
	pthread_t thread;
	bool threaded;
	int stop_fd; /* eventfd; readable: the thread is to end */
};

/* answerer_start(answerer, sender, join, arg, err): the first link is made before the return; one that breaks (the first, too) is made
 * anew for as long as it takes.  -1 with *err: the other host refuses one.  answerer_stop: harmless on a zeroed struct. */
int answerer_start(struct answerer *answerer, struct sender *sender,
		   struct link *(*join)(void *arg, uint32_t id, struct ssh_attempt *attempt, struct err *err),
		   void *arg, struct err *err);
void answerer_stop(struct answerer *answerer);

#endif
