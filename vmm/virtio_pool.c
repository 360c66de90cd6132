/* virtio_pool.c: see virtio_pool.h.
 *
 * Locks: a queue's, then the pool's.  `jobs` rises under the lock of the queue that a request is of, so that who has held
 * all of them once the pool is shut sees every request that was taken.  Of a queue whose device is stopped nobody reads
 * anything: each look at it is under its lock, with the pool open. */
#include "vmm/virtio_pool.h"
#include "common/io.h"
#include "common/thread.h"
#include "vmm/aio.h"
#include "vmm/virtio_spin.h"
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/eventfd.h>

enum {
	JOBS_MAX = 256, /* under way at once; what is beyond waits in the queues */
	EVENTS = 64,    /* taken at once */
};

struct pool_queue {
	pthread_mutex_t lock; /* of the virtqueue and of what follows */
	bool armed;           /* the driver will notify of the next request */
	bool pushed;          /* something went back since the last interrupt */
};

struct virtio_pool {
	struct virtio *dev;
	const struct virtio_pool_ops *ops;
	unsigned most;
	bool open, quit; /* atomic: requests may be taken; all threads are to end */
	unsigned jobs;   /* atomic: taken and not given back */
	struct pool_queue queue[VIRTIO_QUEUES_MAX];

	/* the front's */
	pthread_t front;
	bool has_front;
	struct aio *aio; /* NULL: there is none, and workers do everything */
	int wake_fd;
	unsigned transfers; /* under way */
	struct virtio_spin spin;
	struct virtqueue_chain chain;

	pthread_mutex_t lock; /* of what follows */
	pthread_cond_t drained, wanted;
	struct virtio_job *first, **last; /* for the workers */
	bool ready;                       /* the front */
	unsigned queued, count, idle;     /* jobs; workers; of these, those that have none */
	pthread_t worker[];
};

static unsigned get(const unsigned *value)
{
	return __atomic_load_n(value, __ATOMIC_SEQ_CST);
}

static bool is_set(const bool *flag)
{
	return __atomic_load_n(flag, __ATOMIC_SEQ_CST);
}

/* ---- requests that are done ----------------------------------------------------------------------------------------- */

/* give_back: the queue's lock is held; the interrupt is still due. */
static void give_back(struct virtio_pool *pool, struct virtio_job *job)
{
	virtqueue_push_head(&pool->dev->queue[job->queue].vq, job->head, job->written);
	pool->queue[job->queue].pushed = true;
}

static void signal_pushed(struct virtio_pool *pool, unsigned queue)
{
	if (pool->queue[queue].pushed)
		virtio_signal(pool->dev, queue);
	pool->queue[queue].pushed = false;
}

/* jobs_less: no queue's lock is held, and the interrupt is on its way. */
static void jobs_less(struct virtio_pool *pool, unsigned n)
{
	unsigned before = __atomic_fetch_sub(&pool->jobs, n, __ATOMIC_SEQ_CST);
	if (before == JOBS_MAX)
		(void)eventfd_write(pool->wake_fd, 1);
	if (before > n || is_set(&pool->open))
		return;
	pthread_mutex_lock(&pool->lock);
	pthread_cond_signal(&pool->drained);
	pthread_mutex_unlock(&pool->lock);
}

/* ---- workers --------------------------------------------------------------------------------------------------------- */

static void serve(struct virtio_pool *pool, struct virtio_job *job)
{
	unsigned queue = job->queue;
	pool->ops->serve(pool->dev, job);
	/* Before the driver learns of it, whose next request is this worker's then, and no new one's. */
	pthread_mutex_lock(&pool->lock);
	pool->idle++;
	pthread_mutex_unlock(&pool->lock);
	pthread_mutex_lock(&pool->queue[queue].lock);
	give_back(pool, job);
	signal_pushed(pool, queue);
	pthread_mutex_unlock(&pool->queue[queue].lock);
	free(job);
	jobs_less(pool, 1);
}

static void name_thread(const struct virtio_pool *pool)
{
	char name[16];
	snprintf(name, sizeof(name), "virtio-%s", pool->dev->ops->name);
	pthread_setname_np(pthread_self(), name);
}

static void *work(void *arg)
{
	struct virtio_pool *pool = arg;
	name_thread(pool);
	pthread_mutex_lock(&pool->lock);
	for (;;) {
		struct virtio_job *job = pool->first;
		if (job) {
			pool->first = job->next;
			if (!pool->first)
				pool->last = &pool->first;
			pool->queued--;
			pool->idle--;
			pthread_mutex_unlock(&pool->lock);
			serve(pool, job);
			pthread_mutex_lock(&pool->lock);
		} else if (is_set(&pool->quit)) {
			break;
		} else {
			pthread_cond_wait(&pool->wanted, &pool->lock);
		}
	}
	pthread_mutex_unlock(&pool->lock);
	return NULL;
}

/* add_worker: lock held, or no thread yet.  0, or -1. */
static int add_worker(struct virtio_pool *pool)
{
	int failed = thread_start(&pool->worker[pool->count], work, pool);
	if (!failed) {
		pool->count++;
		pool->idle++;
	}
	return failed;
}

/* to_workers: another worker is made only when more is waiting than there are idle ones. */
static void to_workers(struct virtio_pool *pool, struct virtio_job *job)
{
	job->next = NULL;
	pthread_mutex_lock(&pool->lock);
	*pool->last = job;
	pool->last = &job->next;
	if (++pool->queued > pool->idle && pool->count < pool->most)
		(void)add_worker(pool);
	pthread_cond_signal(&pool->wanted);
	pthread_mutex_unlock(&pool->lock);
}

/* ---- the front ------------------------------------------------------------------------------------------------------- */

/* step: what comes next for the job; true: it is done. */
static bool step(struct virtio_pool *pool, struct virtio_job *job, enum virtio_step what)
{
	if (what == VIRTIO_JOB_TRANSFER) {
		if (pool->aio &&
		    aio_transfer(pool->aio, job->write, job->fd, job->iov, job->count, job->offset, job)) {
			pool->transfers++;
			return false;
		}
		what = pool->ops->transferred(pool->dev, job, -EAGAIN);
	}
	if (what == VIRTIO_JOB_DONE)
		return true;
	to_workers(pool, job);
	return false;
}

/* arm: the driver is to notify of the next request; true: one is there already. */
static bool arm(struct virtio_pool *pool, unsigned queue)
{
	struct virtqueue *vq = &pool->dev->queue[queue].vq;
	if (pool->queue[queue].armed)
		return !virtqueue_empty(vq);
	pool->queue[queue].armed = true;
	return virtqueue_notify_on(vq);
}

static void disarm(struct virtio_pool *pool, unsigned queue)
{
	if (pool->queue[queue].armed)
		virtqueue_notify_off(&pool->dev->queue[queue].vq);
	pool->queue[queue].armed = false;
}

/* take: the next request of the queue, whose lock is held; NULL: none, or none that may be taken. */
static struct virtio_job *take(struct virtio_pool *pool, unsigned queue)
{
	struct virtio *dev = pool->dev;
	if (!is_set(&pool->open) || virtio_is_broken(dev) || get(&pool->jobs) >= JOBS_MAX)
		return NULL;
	enum virtqueue_result result = virtqueue_pop(&dev->queue[queue].vq, &pool->chain);
	if (result == VIRTQUEUE_EMPTY)
		return NULL;
	struct virtio_job *job = result == VIRTQUEUE_CHAIN ? pool->ops->make(dev, &pool->chain) : NULL;
	if (!job) {
		virtio_broken(dev);
		return NULL;
	}
	job->queue = queue;
	job->head = pool->chain.head;
	__atomic_add_fetch(&pool->jobs, 1, __ATOMIC_SEQ_CST);
	disarm(pool, queue);
	return job;
}

/* take_all: what is in the queue, as much as fits.  Returns how many. */
static unsigned take_all(struct virtio_pool *pool, unsigned queue)
{
	pthread_mutex_t *lock = &pool->queue[queue].lock;
	unsigned taken = 0, done = 0;
	struct virtio_job *job;
	pthread_mutex_lock(lock);
	for (; taken < EVENTS && (job = take(pool, queue)); taken++) {
		if (!step(pool, job, pool->ops->begin(pool->dev, job)))
			continue;
		give_back(pool, job);
		free(job);
		done++;
	}
	signal_pushed(pool, queue);
	pthread_mutex_unlock(lock);
	if (done)
		jobs_less(pool, done);
	return taken;
}

/* arm_all: true: there is something in one of the queues that may be taken. */
static bool arm_all(struct virtio_pool *pool)
{
	bool any = false;
	/* With no room, whoever gives one back wakes the front. */
	for (unsigned i = 0; i < pool->dev->nqueues && !any; i++) {
		pthread_mutex_lock(&pool->queue[i].lock);
		any = is_set(&pool->open) && !virtio_is_broken(pool->dev) && arm(pool, i) &&
		      get(&pool->jobs) < JOBS_MAX;
		pthread_mutex_unlock(&pool->queue[i].lock);
	}
	return any;
}

/* finish: transfers that are over.  Each queue's lock is taken once for all of its own that come one after the other. */
static void finish(struct virtio_pool *pool, const struct aio_event *events, unsigned count)
{
	unsigned done = 0;
	for (unsigned i = 0; i < count; i++) {
		struct virtio_job *job = events[i].token;
		if (!job)
			continue; /* a kick: all queues are looked at anyway */
		pool->transfers--;
		enum virtio_step next = pool->ops->transferred(pool->dev, job, events[i].result);
		if (next != VIRTIO_JOB_DONE) {
			to_workers(pool, job);
			continue;
		}
		pthread_mutex_lock(&pool->queue[job->queue].lock);
		give_back(pool, job);
		pthread_mutex_unlock(&pool->queue[job->queue].lock);
		free(job);
		done++;
	}
	if (!done)
		return;
	for (unsigned i = 0; i < pool->dev->nqueues; i++) {
		pthread_mutex_lock(&pool->queue[i].lock);
		signal_pushed(pool, i);
		pthread_mutex_unlock(&pool->queue[i].lock);
	}
	jobs_less(pool, done);
}

/* Without io_uring: wait for a kick. */
static void wait_polling(struct virtio_pool *pool)
{
	struct pollfd fds[VIRTIO_QUEUES_MAX + 1];
	unsigned n = pool->dev->nqueues;
	eventfd_t kicks;
	for (unsigned i = 0; i <= n; i++)
		fds[i] = (struct pollfd){.fd = i < n ? pool->dev->queue[i].kick_fd : pool->wake_fd,
					 .events = POLLIN};
	if (poll(fds, n + 1, -1) <= 0)
		return;
	for (unsigned i = 0; i <= n; i++)
		if (fds[i].revents)
			(void)eventfd_read(fds[i].fd, &kicks);
}

static void sleep_until_event(struct virtio_pool *pool)
{
	if (arm_all(pool) || is_set(&pool->quit))
		return;
	if (pool->aio)
		aio_wait(pool->aio);
	else
		wait_polling(pool);
	virtio_spin_woken(&pool->spin, clock_mono_ns());
}

static bool watch_all(struct virtio_pool *pool)
{
	bool good = aio_watch(pool->aio, pool->wake_fd, NULL);
	for (unsigned i = 0; i < pool->dev->nqueues; i++)
		good = good && aio_watch(pool->aio, pool->dev->queue[i].kick_fd, NULL);
	return good;
}

static void *front(void *arg)
{
	struct virtio_pool *pool = arg;
	struct aio_event events[EVENTS];
	name_thread(pool);
	if (pool->aio && (aio_begin(pool->aio) || !watch_all(pool))) {
		aio_close(pool->aio);
		pool->aio = NULL;
	}
	while (!is_set(&pool->quit)) {
		unsigned count = pool->aio ? aio_take(pool->aio, events, EVENTS) : 0, taken = 0;
		finish(pool, events, count);
		for (unsigned i = 0; i < pool->dev->nqueues; i++)
			taken += take_all(pool, i);
		if (taken)
			virtio_spin_found(&pool->spin);
		if ((taken || count) && pool->transfers)
			aio_submit(pool->aio);
		else if (taken || count)
			continue;
		/* Once something is under way there is time to sleep. */
		else if (get(&pool->jobs) || !virtio_spin_go_on(&pool->spin, clock_mono_ns()))
			sleep_until_event(pool);
	}
	return NULL;
}

/* ---- life ------------------------------------------------------------------------------------------------------------ */

/* start_threads: the front, and a worker, so that requests that block can be served whatever this host runs short of later.
 * false: not both are there. */
static bool start_threads(struct virtio_pool *pool)
{
	if (pool->count == 0 && add_worker(pool))
		return false;
	if (!pool->has_front)
		pool->has_front = !thread_start(&pool->front, front, pool);
	return pool->has_front;
}

void virtio_pool_start(struct virtio_pool *pool)
{
	if (!pool->has_front && !start_threads(pool)) {
		virtio_broken(pool->dev);
		return;
	}
	for (unsigned i = 0; i < pool->dev->nqueues; i++)
		pool->queue[i].armed = false;
	__atomic_store_n(&pool->open, true, __ATOMIC_SEQ_CST);
	(void)eventfd_write(pool->wake_fd, 1);
}

void virtio_pool_stop(struct virtio_pool *pool)
{
	__atomic_store_n(&pool->open, false, __ATOMIC_SEQ_CST);
	/* Who holds a queue's lock may still take a request; later ones see that they may not. */
	for (unsigned i = 0; i < pool->dev->nqueues; i++) {
		pthread_mutex_lock(&pool->queue[i].lock);
		pthread_mutex_unlock(&pool->queue[i].lock);
	}
	pthread_mutex_lock(&pool->lock);
	while (get(&pool->jobs) > 0)
		pthread_cond_wait(&pool->drained, &pool->lock);
	pthread_mutex_unlock(&pool->lock);
}

struct virtio_pool *virtio_pool_create(struct virtio *dev, const struct virtio_pool_ops *ops, unsigned most,
				       struct err *err)
{
	struct virtio_pool *pool = calloc(1, sizeof(*pool) + most * sizeof(pool->worker[0]));
	if (!pool) {
		err_sys(err, "virtio-%s: cannot make its threads", dev->ops->name);
		return NULL;
	}
	pool->dev = dev;
	pool->ops = ops;
	pool->most = most;
	pool->last = &pool->first;
	pthread_mutex_init(&pool->lock, NULL);
	pthread_cond_init(&pool->drained, NULL);
	pthread_cond_init(&pool->wanted, NULL);
	for (unsigned i = 0; i < VIRTIO_QUEUES_MAX; i++)
		pthread_mutex_init(&pool->queue[i].lock, NULL);
	pool->wake_fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
	if (pool->wake_fd >= 0) {
		pool->aio = aio_open(JOBS_MAX);
		return pool;
	}
	err_sys(err, "virtio-%s: cannot make its threads", dev->ops->name);
	virtio_pool_destroy(pool);
	return NULL;
}

void virtio_pool_destroy(struct virtio_pool *pool)
{
	if (!pool)
		return;
	pthread_mutex_lock(&pool->lock);
	__atomic_store_n(&pool->quit, true, __ATOMIC_SEQ_CST);
	pthread_cond_broadcast(&pool->wanted);
	pthread_mutex_unlock(&pool->lock);
	if (pool->has_front) {
		(void)eventfd_write(pool->wake_fd, 1);
		pthread_join(pool->front, NULL);
	}
	for (unsigned i = 0; i < pool->count; i++)
		pthread_join(pool->worker[i], NULL);
	aio_close(pool->aio);
	io_close(&pool->wake_fd);
	for (unsigned i = 0; i < VIRTIO_QUEUES_MAX; i++)
		pthread_mutex_destroy(&pool->queue[i].lock);
	pthread_cond_destroy(&pool->drained);
	pthread_cond_destroy(&pool->wanted);
	pthread_mutex_destroy(&pool->lock);
	free(pool);
}
