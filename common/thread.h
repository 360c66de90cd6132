/* thread.h: threads that leave signals to others, and waits that go by the clock that nobody sets. */
#ifndef COMMON_THREAD_H
#define COMMON_THREAD_H

#include <pthread.h>
#include <stdint.h>

/* thread_start(thread, run, arg): run(arg) in a new thread with all signals blocked, so that they come to threads that know
 * of them.  0, or -1 with errno. */
int thread_start(pthread_t *thread, void *(*run)(void *arg), void *arg);

/* thread_cond_init(cond): one that thread_cond_wait_until may wait on.  thread_cond_wait_until(cond, lock, until_ns): as
 * pthread_cond_timedwait, until clock_mono_ns() is until_ns: 0 or ETIMEDOUT. */
void thread_cond_init(pthread_cond_t *cond);
int thread_cond_wait_until(pthread_cond_t *cond, pthread_mutex_t *lock, uint64_t until_ns);

#endif
