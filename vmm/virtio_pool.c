/* virtio_pool.c: see virtio_pool.h.
 *
 * Locks: a queue's, then the pool's.  `busy` rises and falls under the lock of the queue that a request is of, so that who
 * holds it sees every thread that has left this queue as idle. */
#include "vmm/virtio_pool.h"
#include "common/io.h"
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>

enum {
	QUIT = VIRTIO_QUEUES_MAX, /* among the queues' numbers */
	/* Requests of one queue that a thread serves before it looks at others. */
	TURN = 64,
};

struct worker {
	struct virtio_pool *pool;
	pthread_t thread;
	struct virtqueue_chain chain;
};

struct pool_queue {
	pthread_mutex_t lock; /* of the virtqueue and of what follows */
	bool armed;           /* the driver will notify of the next request */
};

struct virtio_pool {
	struct virtio *dev;
	virtio_serve *serve;
	int epoll, quit_fd;
	unsigned most;
	bool open;     /* atomic: requests may be taken */
	unsigned busy; /* atomic: requests taken and not given back */
	struct pool_queue queue[VIRTIO_QUEUES_MAX];

	pthread_mutex_t lock;
	pthread_cond_t drained;
	unsigned count; /* of workers; atomic, changed under lock */
	struct worker *worker[];
};

static unsigned get(const unsigned *value)
{
	return __atomic_load_n(value, __ATOMIC_SEQ_CST);
}

static bool is_open(const struct virtio_pool *pool)
{
	return __atomic_load_n(&pool->open, __ATOMIC_SEQ_CST);
}

static void kick(const struct virtio_pool *pool, unsigned queue)
{
	(void)eventfd_write(pool->dev->queue[queue].kick_fd, 1);
}

static void *work(void *arg);

static int add_worker(struct virtio_pool *pool)
{
	sigset_t all, before;
	int failed = -1;
	pthread_mutex_lock(&pool->lock);
	struct worker *worker = pool->count < pool->most ? calloc(1, sizeof(*worker)) : NULL;
	if (worker) {
		worker->pool = pool;
		/* Signals are the main thread's. */
		sigfillset(&all);
		pthread_sigmask(SIG_SETMASK, &all, &before);
		failed = pthread_create(&worker->thread, NULL, work, worker);
		pthread_sigmask(SIG_SETMASK, &before, NULL);
		if (failed)
			free(worker);
		else
			pool->worker[__atomic_fetch_add(&pool->count, 1, __ATOMIC_SEQ_CST)] = worker;
	}
	pthread_mutex_unlock(&pool->lock);
	return failed ? -1 : 0;
}

/* More is waiting in the queue.  When all are busy they find it themselves, as they look again after each request. */
static void call_another(struct virtio_pool *pool, unsigned queue)
{
	if (get(&pool->busy) >= get(&pool->count) && get(&pool->count) < pool->most)
		(void)add_worker(pool);
	if (get(&pool->busy) < get(&pool->count))
		kick(pool, queue);
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

/* take: the next request of the queue, whose lock is held.  *more: another one is waiting behind it; else the driver
 * notifies of it, so that it need not wait for this one. */
static bool take(struct virtio_pool *pool, unsigned queue, struct virtqueue_chain *chain, bool *more)
{
	struct virtio *dev = pool->dev;
	struct virtqueue *vq = &dev->queue[queue].vq;
	enum virtqueue_result result = VIRTQUEUE_EMPTY;
	do {
		if (!is_open(pool) || virtio_is_broken(dev))
			return false;
		result = virtqueue_pop(vq, chain);
	} while (result == VIRTQUEUE_EMPTY && arm(pool, queue));
	if (result == VIRTQUEUE_BROKEN)
		virtio_broken(dev);
	if (result != VIRTQUEUE_CHAIN)
		return false;
	__atomic_add_fetch(&pool->busy, 1, __ATOMIC_SEQ_CST);
	disarm(pool, queue);
	*more = !virtqueue_empty(vq) || arm(pool, queue);
	return true;
}

/* give_back: the queue's lock is held. */
static void give_back(struct virtio_pool *pool, unsigned queue, const struct virtqueue_chain *chain,
		      bool sound, uint32_t written)
{
	if (sound) {
		virtqueue_push_head(&pool->dev->queue[queue].vq, chain->head, written);
		virtio_signal(pool->dev, queue);
	} else {
		virtio_broken(pool->dev);
	}
	if (__atomic_sub_fetch(&pool->busy, 1, __ATOMIC_SEQ_CST) > 0 || is_open(pool))
		return;
	pthread_mutex_lock(&pool->lock);
	pthread_cond_signal(&pool->drained);
	pthread_mutex_unlock(&pool->lock);
}

/* kicked: serve requests until none is left, or others' turn has come. */
static void kicked(struct worker *worker, unsigned queue)
{
	struct virtio_pool *pool = worker->pool;
	pthread_mutex_t *lock = &pool->queue[queue].lock;
	eventfd_t kicks;
	bool more;
	pthread_mutex_lock(lock);
	/* Once the device is stopped the descriptor may be closed. */
	if (is_open(pool))
		(void)eventfd_read(pool->dev->queue[queue].kick_fd, &kicks);
	for (unsigned served = 1; take(pool, queue, &worker->chain, &more); served++) {
		pthread_mutex_unlock(lock);
		uint32_t written = 0;
		if (more)
			call_another(pool, queue);
		bool sound = pool->serve(pool->dev, queue, &worker->chain, &written);
		pthread_mutex_lock(lock);
		give_back(pool, queue, &worker->chain, sound, written);
		if (served == TURN && is_open(pool)) {
			kick(pool, queue);
			break;
		}
	}
	pthread_mutex_unlock(lock);
}

static void *work(void *arg)
{
	struct worker *worker = arg;
	struct virtio_pool *pool = worker->pool;
	char name[16];
	snprintf(name, sizeof(name), "virtio-%s", pool->dev->ops->name);
	pthread_setname_np(pthread_self(), name);
	for (;;) {
		struct epoll_event event;
		if (epoll_wait(pool->epoll, &event, 1, -1) != 1)
			continue;
		if (event.data.u32 == QUIT)
			return NULL;
		kicked(worker, event.data.u32);
	}
}

void virtio_pool_start(struct virtio_pool *pool)
{
	if (get(&pool->count) == 0 && add_worker(pool))
		virtio_broken(pool->dev);
	for (unsigned i = 0; i < pool->dev->nqueues; i++)
		pool->queue[i].armed = false;
	__atomic_store_n(&pool->open, true, __ATOMIC_SEQ_CST);
	for (unsigned i = 0; i < pool->dev->nqueues; i++)
		kick(pool, i);
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
	while (get(&pool->busy) > 0)
		pthread_cond_wait(&pool->drained, &pool->lock);
	pthread_mutex_unlock(&pool->lock);
}

/* watch: quit_fd stays readable, and so wakes every thread; a kick wakes one. */
static int watch(const struct virtio_pool *pool, int fd, uint32_t number)
{
	struct epoll_event event = {.events = EPOLLIN | (number == QUIT ? 0 : (uint32_t)EPOLLET),
				    .data.u32 = number};
	return epoll_ctl(pool->epoll, EPOLL_CTL_ADD, fd, &event);
}

struct virtio_pool *virtio_pool_create(struct virtio *dev, virtio_serve *serve, unsigned most,
				       struct err *err)
{
	struct virtio_pool *pool = calloc(1, sizeof(*pool) + most * sizeof(pool->worker[0]));
	if (!pool) {
		err_sys(err, "virtio-%s: cannot make its threads", dev->ops->name);
		return NULL;
	}
	pool->dev = dev;
	pool->serve = serve;
	pool->most = most;
	pthread_mutex_init(&pool->lock, NULL);
	pthread_cond_init(&pool->drained, NULL);
	for (unsigned i = 0; i < VIRTIO_QUEUES_MAX; i++)
		pthread_mutex_init(&pool->queue[i].lock, NULL);
	pool->epoll = epoll_create1(EPOLL_CLOEXEC);
	pool->quit_fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
	int failed = pool->epoll < 0 || pool->quit_fd < 0 || watch(pool, pool->quit_fd, QUIT);
	for (unsigned i = 0; i < dev->nqueues && !failed; i++)
		failed = watch(pool, dev->queue[i].kick_fd, i);
	if (failed) {
		err_sys(err, "virtio-%s: cannot make its threads", dev->ops->name);
		virtio_pool_destroy(pool);
		return NULL;
	}
	return pool;
}

void virtio_pool_destroy(struct virtio_pool *pool)
{
	if (!pool)
		return;
	(void)eventfd_write(pool->quit_fd, 1);
	for (unsigned i = 0; i < pool->count; i++) {
		pthread_join(pool->worker[i]->thread, NULL);
		free(pool->worker[i]);
	}
	io_close(&pool->epoll);
	io_close(&pool->quit_fd);
	for (unsigned i = 0; i < VIRTIO_QUEUES_MAX; i++)
		pthread_mutex_destroy(&pool->queue[i].lock);
	pthread_cond_destroy(&pool->drained);
	pthread_mutex_destroy(&pool->lock);
	free(pool);
}
