/* copy.c: a few threads that take one piece of the source after the other, and write what of it is not zero.
 *
 * A piece is a window of PIECE bytes, or the part of it from its first to its last data: a source in small
 * scraps is read in large requests all the same.  Each thread waits for its own requests, so there are LANES of
 * them under way. */
#include "common/io.h"
#include "common/thread.h"
#include "convert/end.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

struct copy {
	struct source *source;
	struct target *target;
	pthread_mutex_t writing; /* held while one writes, where the target wants it so */
	pthread_mutex_t lock;    /* over all below */
	pthread_cond_t ended;    /* a thread did */
	uint64_t at;             /* pieces before it are taken */
	struct stretch list[STRETCHES];
	size_t count, next; /* of the list: what follows from at on */
	uint64_t read_bytes, written_bytes;
	unsigned running;
	bool stop;
	struct err err; /* the first one */
};

struct lane {
	struct copy *copy;
	unsigned number;
	pthread_t thread;
};

/* look_ahead(c, err): there is a stretch at c->at, which is not the end. */
static int look_ahead(struct copy *c, struct err *err)
{
	if (c->next < c->count)
		return 0;
	c->next = c->count = 0;
	return c->source->ops->map(c->source, c->at, c->list, &c->count, err);
}

static void advance(struct copy *c, uint64_t len)
{
	c->at += len;
	c->list[c->next].len -= len;
	c->next += c->list[c->next].len == 0;
}

/* take_piece(c, &offset, &len, err): the next one, with c->lock held; *len 0 at the end. */
static int take_piece(struct copy *c, uint64_t *offset, size_t *len, struct err *err)
{
	uint64_t size = c->source->size_bytes, end;

	*len = 0;
	while (c->at < size) {
		if (look_ahead(c, err))
			return -1;
		if (!c->list[c->next].zero)
			break;
		advance(c, c->list[c->next].len);
	}
	*offset = c->at;
	end = c->at - c->at % PIECE + PIECE;
	end = end < size ? end : size;
	while (c->at < end) {
		if (look_ahead(c, err))
			return -1;
		struct stretch s = c->list[c->next];
		advance(c, s.len < end - c->at ? s.len : end - c->at);
		if (!s.zero)
			*len = (size_t)(c->at - *offset);
	}
	return 0;
}

static bool is_zero(const unsigned char *data, size_t len)
{
	return data[0] == 0 && !memcmp(data, data + 1, len - 1);
}

/* put: write it, alone if the target wants that. */
static int put(struct lane *lane, const unsigned char *data, size_t len, uint64_t offset, struct err *err)
{
	struct target *target = lane->copy->target;
	int result;

	if (target->one_writer)
		pthread_mutex_lock(&lane->copy->writing);
	result = target->ops->write(target, lane->number, data, len, offset, err);
	if (target->one_writer)
		pthread_mutex_unlock(&lane->copy->writing);
	return result;
}

/* write_piece: its grains that are not zero, neighbours together; *written: their bytes. */
static int write_piece(struct lane *lane, const unsigned char *data, size_t len, uint64_t offset,
		       uint64_t *written, struct err *err)
{
	size_t grain = lane->copy->target->grain;
	size_t begin = 0; /* what is not zero and not written begins here */

	*written = 0;
	for (size_t at = 0, next; at <= len; at = next) {
		/* Grains are counted from the target's beginning. */
		next = at + grain - (offset + at) % grain;
		next = at < len && next > len ? len : next;
		if (at < len && !is_zero(data + at, next - at))
			continue;
		if (at > begin && put(lane, data + begin, at - begin, offset + begin, err))
			return -1;
		*written += at - begin;
		begin = next;
	}
	return 0;
}

static int copy_pieces(struct lane *lane, unsigned char *buffer, struct err *err)
{
	struct copy *c = lane->copy;

	for (;;) {
		uint64_t offset, written;
		size_t len = 0;
		int result = 0;

		pthread_mutex_lock(&c->lock);
		if (!c->stop)
			result = take_piece(c, &offset, &len, err);
		pthread_mutex_unlock(&c->lock);
		if (result || len == 0)
			return result;
		if (c->source->ops->read(c->source, lane->number, buffer, len, offset, err) ||
		    write_piece(lane, buffer, len, offset, &written, err))
			return -1;
		pthread_mutex_lock(&c->lock);
		c->read_bytes += len;
		c->written_bytes += written;
		pthread_mutex_unlock(&c->lock);
	}
}

static void *run_lane(void *arg)
{
	struct lane *lane = arg;
	struct copy *c = lane->copy;
	struct err err = {0};
	unsigned char *buffer = aligned_alloc(4096, PIECE);
	int result = buffer ? copy_pieces(lane, buffer, &err)
			    : err_set(&err, ERR_SYSTEM, "there is no memory for a buffer of %d bytes", PIECE);

	free(buffer);
	pthread_mutex_lock(&c->lock);
	if (result && !c->stop) {
		c->stop = true;
		c->err = err;
	}
	c->running--;
	pthread_cond_signal(&c->ended);
	pthread_mutex_unlock(&c->lock);
	return NULL;
}

/* stop(c, err): no more pieces, and nobody waits for a request (c->lock held). */
static void stop(struct copy *c, const struct err *err)
{
	c->stop = true;
	c->err = *err;
	if (c->source->ops->interrupt)
		c->source->ops->interrupt(c->source);
	if (c->target->ops->interrupt)
		c->target->ops->interrupt(c->target);
}

/* attend(c, watch): until all threads have ended, tell how far they are. */
static void attend(struct copy *c, struct watch *watch)
{
	pthread_mutex_lock(&c->lock);
	while (c->running > 0) {
		struct timespec until;
		struct err err = {0};

		clock_gettime(CLOCK_MONOTONIC, &until);
		until.tv_nsec += WATCH_MS * 1000000L;
		until.tv_sec += until.tv_nsec / 1000000000;
		until.tv_nsec %= 1000000000;
		pthread_cond_clockwait(&c->ended, &c->lock, CLOCK_MONOTONIC, &until);
		watch->done_bytes = c->at;
		if (!c->stop && watch_go_on(watch, &err))
			stop(c, &err);
	}
	pthread_mutex_unlock(&c->lock);
}

/* start(c, lanes): as many threads as can be had; how many. */
static unsigned start(struct copy *c, struct lane lanes[LANES])
{
	unsigned n = 0;

	for (; n < LANES; n++) {
		lanes[n] = (struct lane){.copy = c, .number = n};
		pthread_mutex_lock(&c->lock);
		c->running++;
		pthread_mutex_unlock(&c->lock);
		if (thread_start(&lanes[n].thread, run_lane, &lanes[n]))
			break;
	}
	if (n < LANES) {
		pthread_mutex_lock(&c->lock);
		c->running--;
		pthread_mutex_unlock(&c->lock);
	}
	return n;
}

int copy_all(struct source *source, struct target *target, struct watch *watch, struct convert_report *report,
	     struct err *err)
{
	struct copy *c = calloc(1, sizeof(*c));
	struct lane lanes[LANES];
	unsigned count;
	int result = 0;

	if (!c)
		abort();
	c->source = source;
	c->target = target;
	pthread_mutex_init(&c->writing, NULL);
	pthread_mutex_init(&c->lock, NULL);
	pthread_cond_init(&c->ended, NULL);
	watch->total_bytes = source->size_bytes;
	count = start(c, lanes);
	attend(c, watch);
	for (unsigned i = 0; i < count; i++)
		pthread_join(lanes[i].thread, NULL);
	if (count == 0)
		result = err_set(err, ERR_SYSTEM, "cannot start a thread to copy with");
	else if (c->stop) {
		*err = c->err;
		result = -1;
	}
	report->read_bytes = c->read_bytes;
	report->written_bytes = c->written_bytes;
	report->zero_bytes = source->size_bytes - c->written_bytes;
	pthread_cond_destroy(&c->ended);
	pthread_mutex_destroy(&c->lock);
	pthread_mutex_destroy(&c->writing);
	free(c);
	return result;
}
