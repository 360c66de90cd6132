/* background.c: the thread of a handle that brings digests up to date, and how others take turns with it.
 *
 * Who wants the digest tree, or that nobody reads closed epochs of this handle, claims it: the thread ends its pass at the next
 * block, and begins no other until the last claim is given back.  What it had done counts, or is done again for what changed
 * (docs/dvol.md, "Digest").  The lock here is taken inside all others. */
#include "common/thread.h"
#include "imagefmt/vol.h"

#include <errno.h>
#include <signal.h>

static bool held(const struct digester *digester)
{
	return digester->stop || digester->claims > 0;
}

bool digest_interrupted(struct dvol *vol)
{
	pthread_mutex_lock(&vol->digester.lock);
	bool result = held(&vol->digester);
	pthread_mutex_unlock(&vol->digester.lock);
	return result;
}

void digest_claim(struct dvol *vol)
{
	pthread_mutex_lock(&vol->digester.lock);
	vol->digester.claims++;
	pthread_mutex_unlock(&vol->digester.lock);
	pthread_mutex_lock(&vol->digesting);
}

void digest_release(struct dvol *vol)
{
	pthread_mutex_unlock(&vol->digesting);
	pthread_mutex_lock(&vol->digester.lock);
	vol->digester.claims--;
	pthread_cond_signal(&vol->digester.wake);
	pthread_mutex_unlock(&vol->digester.lock);
}

void digest_wanted(struct dvol *vol)
{
	pthread_mutex_lock(&vol->digester.lock);
	vol->digester.wanted = true;
	pthread_cond_signal(&vol->digester.wake);
	pthread_mutex_unlock(&vol->digester.lock);
}

int digest_failure(struct dvol *vol, struct err *err)
{
	pthread_mutex_lock(&vol->digester.lock);
	bool failed = vol->digester.failed;
	if (failed && err != NULL)
		*err = vol->digester.failure;
	vol->digester.failed = false;
	pthread_mutex_unlock(&vol->digester.lock);
	return failed ? -1 : 0;
}

static void *work(void *context)
{
	struct dvol *vol = context;
	struct digester *digester = &vol->digester;
	pthread_mutex_lock(&digester->lock);
	while (!digester->stop) {
		if (!digester->wanted || held(digester)) {
			pthread_cond_wait(&digester->wake, &digester->lock);
			continue;
		}
		digester->wanted = false;
		pthread_mutex_unlock(&digester->lock);
		struct err err = {0};
		int result = digest_newest(vol, &err);
		pthread_mutex_lock(&digester->lock);
		if (result < 0 && err.kind == ERR_CANCELLED) {
			digester->wanted = true;
		} else if (result < 0) {
			digester->failed = true;
			digester->failure = err;
		}
	}
	pthread_mutex_unlock(&digester->lock);
	return NULL;
}

int digester_start(struct dvol *vol, struct err *err)
{
	vol->digester.wanted = true;
	if (thread_start(&vol->digester.thread, work, vol))
		return err_sys(err, "%s: starting the thread for digests", vol->path);
	pthread_mutex_lock(&vol->digester.lock);
	vol->digester.running = true;
	pthread_mutex_unlock(&vol->digester.lock);
	return 0;
}

void digester_stop(struct dvol *vol)
{
	if (!vol->digester.running)
		return;
	pthread_mutex_lock(&vol->digester.lock);
	vol->digester.stop = true;
	pthread_cond_signal(&vol->digester.wake);
	pthread_mutex_unlock(&vol->digester.lock);
	pthread_join(vol->digester.thread, NULL);
	vol->digester.running = false;
}
