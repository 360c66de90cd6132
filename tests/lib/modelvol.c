/* modelvol.c: a volume and its model: making, changing. */
#include "tests/lib/modelvol.h"

#include "tests/lib/random.h"
#include "tests/lib/test.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void modelvol_wrong(const struct modelvol *v, const char *what, const struct err *err)
{
	const struct model_run *run = v->run;
	fail_msg("%s, %s: %s%s%s (again: DROVER_TEST_SEED=%llu DROVER_MODEL_STEPS=%llu)", v->path, run->doing,
		 what, err != NULL ? ": " : "", err != NULL ? err->text : "", (unsigned long long)run->seed,
		 (unsigned long long)run->step + 1);
	abort(); /* fail_msg jumps out of the test */
}

static void need(const struct modelvol *v, int result, const struct err *err)
{
	if (result < 0)
		modelvol_wrong(v, "failed", err);
}

/* refused: what must not be possible now. */
static void refused(const struct modelvol *v, int result, const struct err *err)
{
	if (result == 0)
		modelvol_wrong(v, "was not refused", NULL);
	if (err->kind != ERR_STATE)
		modelvol_wrong(v, "was refused for another reason", err);
}

uint64_t model_pick(struct model_run *run, uint64_t below)
{
	return random_below(&run->random, below);
}

static uint64_t pick(const struct modelvol *v, uint64_t below)
{
	return model_pick(v->run, below);
}

/* ---- states ---- */
static void state_need(const struct modelvol *v, struct model_state *state)
{
	if (state->data != NULL)
		return;
	state->data = calloc(v->run->blocks, DVOL_BLOCK);
	state->version = calloc(v->run->blocks, sizeof(uint64_t));
	state->stamp = calloc(v->run->blocks, sizeof(uint64_t));
	if (state->data == NULL || state->version == NULL || state->stamp == NULL)
		abort();
}

static void state_copy(const struct modelvol *v, struct model_state *to, const struct model_state *from)
{
	state_need(v, to);
	memcpy(to->data, from->data, v->run->blocks * DVOL_BLOCK);
	memcpy(to->version, from->version, v->run->blocks * sizeof(uint64_t));
	memcpy(to->stamp, from->stamp, v->run->blocks * sizeof(uint64_t));
	to->size = from->size;
}

static void state_free(struct model_state *state)
{
	free(state->data);
	free(state->version);
	free(state->stamp);
}

struct model_state *modelvol_epoch(struct modelvol *v, struct dvol_id id)
{
	for (size_t i = 0; i < v->nepochs; i++)
		if (v->epochs[i].id.term == id.term && v->epochs[i].id.number == id.number)
			return &v->epochs[i];
	return NULL;
}

static struct model_state *some_epoch(struct modelvol *v)
{
	return v->nepochs > 0 ? &v->epochs[pick(v, v->nepochs)] : NULL;
}

/* ---- making ---- */
static void open_head(struct modelvol *v)
{
	struct err err = {0};
	struct dvol_open_options options = {.writable = true,
					    .compact = pick(v, 2),
					    .direct = pick(v, 2),
					    .cache_pages = 4,
					    .files = &memdisk_ops,
					    .files_context = &v->run->disk};
	v->vol = dvol_open(v->path, &options, &err);
	if (v->vol == NULL)
		modelvol_wrong(v, "open", &err);
}

struct dvol *modelvol_open_epoch(const struct modelvol *v, struct dvol_id id)
{
	struct err err = {0};
	struct dvol_open_options options = {
	    .epoch = id, .cache_pages = 4, .files = &memdisk_ops, .files_context = &v->run->disk};
	struct dvol *vol = dvol_open(v->path, &options, &err);
	if (vol == NULL)
		modelvol_wrong(v, "open of an epoch", &err);
	return vol;
}

struct modelvol *modelvol_make(struct model_run *run, const char *path, uint64_t size,
			       const struct modelvol *backing, const struct model_state *epoch)
{
	static const uint64_t journals[] = {16, 16, 20, 64, 1024};
	struct err err = {0};
	struct modelvol *v = calloc(1, sizeof(*v));
	assert_non_null(v);
	v->run = run;
	snprintf(v->path, sizeof(v->path), "%s", path);
	random_fill(&run->random, v->lineage, sizeof(v->lineage));
	state_need(v, &v->head);
	v->head.size = size;
	struct dvol_create_options options = {.size_bytes = size,
					      .journal_blocks = journals[pick(v, 5)],
					      .compress = pick(v, 2) ? 1 : 0,
					      .lineage = v->lineage,
					      .files = &memdisk_ops,
					      .files_context = &run->disk};
	if (backing != NULL) {
		v->backed = size < epoch->size ? size : epoch->size;
		memcpy(v->head.data, epoch->data, v->backed);
		options.backing_kind = DVOL_BACKING_DVOL;
		options.backing_path = backing->path;
		options.backing_epoch = epoch->id;
	}
	need(v, dvol_create(path, &options, &err), &err);
	v->packed = options.compress > 0;
	open_head(v);
	return v;
}

void modelvol_drop(struct modelvol *v)
{
	struct err err = {0};
	need(v, dvol_close(v->vol, &err), &err);
	memdisk_ops.unlink(&v->run->disk, v->path);
	state_free(&v->head);
	for (size_t i = 0; i < MODEL_EPOCHS; i++)
		state_free(&v->epochs[i]);
	free(v);
}

/* ---- changes of the content ---- */
/* pick_range: mostly small ones, at any alignment; sometimes whole blocks. */
static void pick_range(const struct modelvol *v, uint64_t *offset, uint64_t *len)
{
	uint64_t unit = pick(v, 2) ? DVOL_BLOCK : pick(v, 4) ? DVOL_SECTOR : 1;
	uint64_t most = pick(v, 8) ? 9 * DVOL_BLOCK : 300 * DVOL_BLOCK;
	*offset = pick(v, v->head.size) / unit * unit;
	*len = (pick(v, most) + unit) / unit * unit;
	if (*len > v->head.size - *offset)
		*len = v->head.size - *offset;
}

/* fill: random bytes, or something that can be compressed. */
static void fill(const struct modelvol *v, uint8_t *data, size_t len)
{
	uint64_t word = random_next(&v->run->random);
	if (pick(v, 2)) {
		random_fill(&v->run->random, data, len);
		return;
	}
	for (size_t i = 0; i < len; i += sizeof(word))
		memcpy(data + i, &word, len - i < sizeof(word) ? len - i : sizeof(word));
}

/* touch: something was done to a block of the head; afterwards it takes space, or not. */
static void touch(struct modelvol *v, uint64_t block, bool data)
{
	v->head.stamp[block] = ++v->run->counter;
	v->head.version[block] = data ? v->run->counter : 0;
}

static uint64_t write_model(struct modelvol *v, uint64_t *len)
{
	uint64_t offset;
	pick_range(v, &offset, len);
	fill(v, v->head.data + offset, *len);
	for (uint64_t b = offset / DVOL_BLOCK; *len > 0 && b <= (offset + *len - 1) / DVOL_BLOCK; b++)
		touch(v, b, true);
	return offset;
}

void modelvol_write(struct modelvol *v)
{
	struct err err = {0};
	uint64_t len, offset = write_model(v, &len);
	uint8_t *data = v->head.data + offset;
	/* In pieces, as a guest's scatter list has them. */
	struct iovec iov[3];
	uint64_t a = pick(v, len + 1), b = a + pick(v, len - a + 1);
	iov[0] = (struct iovec){.iov_base = data, .iov_len = a};
	iov[1] = (struct iovec){.iov_base = data + a, .iov_len = b - a};
	iov[2] = (struct iovec){.iov_base = data + b, .iov_len = len - b};
	if (pick(v, 2))
		need(v, dvol_writev(v->vol, iov, 3, offset, &err), &err);
	else
		need(v, dvol_write(v->vol, data, len, offset, &err), &err);
}

void modelvol_write_cold(struct modelvol *v)
{
	struct err err = {0};
	uint64_t len, offset = write_model(v, &len);
	need(v, dvol_write_cold(v->vol, v->head.data + offset, len, offset, &err), &err);
}

static void zero(struct modelvol *v, bool discard)
{
	struct err err = {0};
	uint64_t offset, len;
	pick_range(v, &offset, &len);
	uint64_t end = offset + len, size = v->head.size;
	need(v, (discard ? dvol_discard : dvol_write_zeroes)(v->vol, offset, len, &err), &err);
	for (uint64_t b = offset / DVOL_BLOCK; len > 0 && b <= (end - 1) / DVOL_BLOCK; b++) {
		uint64_t from = b * DVOL_BLOCK, to = from + DVOL_BLOCK < size ? from + DVOL_BLOCK : size;
		bool whole = offset <= from && end >= to;
		if (!whole && discard)
			continue;
		from = from > offset ? from : offset;
		to = to < end ? to : end;
		memset(v->head.data + from, 0, to - from);
		touch(v, b, !whole);
	}
}

void modelvol_discard(struct modelvol *v)
{
	zero(v, true);
}

void modelvol_write_zeroes(struct modelvol *v)
{
	zero(v, false);
}

void modelvol_flush(struct modelvol *v)
{
	struct err err = {0};
	need(v, dvol_flush(v->vol, &err), &err);
}

void modelvol_resize(struct modelvol *v)
{
	struct err err = {0};
	uint64_t size = v->head.size + pick(v, 3 * DVOL_BLOCK) / DVOL_SECTOR * DVOL_SECTOR;
	if (size > v->run->blocks * DVOL_BLOCK)
		return;
	need(v, dvol_resize(v->vol, size, &err), &err);
	v->head.size = size;
}

void modelvol_reopen(struct modelvol *v)
{
	struct err err = {0};
	need(v, dvol_close(v->vol, &err), &err);
	open_head(v);
}

/* ---- epochs ---- */
static void add_epoch(struct modelvol *v, struct dvol_id id)
{
	struct model_state *epoch = &v->epochs[v->nepochs++];
	state_copy(v, epoch, &v->head);
	epoch->id = id;
	epoch->has_root = epoch->pinned = false;
	epoch->readers = 0;
}

void modelvol_close_epoch(struct modelvol *v)
{
	struct err err = {0};
	struct dvol_id id = {0}, made;
	if (v->nepochs == MODEL_EPOCHS)
		return;
	if (v->nepochs > 0 && pick(v, 4) == 0)
		id = (struct dvol_id){.term = 2 + ++v->run->counter, .number = 1};
	need(v, dvol_epoch_close(v->vol, &id, &made, &err), &err);
	/* No two epochs have one name, however many were deleted. */
	if (made.term < v->last.term || (made.term == v->last.term && made.number <= v->last.number))
		modelvol_wrong(v, "gave an epoch a name that another had", NULL);
	v->last = made;
	add_epoch(v, made);
}

void modelvol_delete(struct modelvol *v)
{
	struct err err = {0};
	struct model_state *epoch = some_epoch(v);
	if (epoch == NULL)
		return;
	int result = dvol_epoch_delete(v->vol, epoch->id, &err);
	if (epoch->pinned || epoch->readers > 0) {
		refused(v, result, &err);
		return;
	}
	need(v, result, &err);
	struct model_state gone = *epoch;
	size_t at = (size_t)(epoch - v->epochs);
	memmove(epoch, epoch + 1, (v->nepochs - at - 1) * sizeof(gone));
	v->epochs[--v->nepochs] = gone;
}

void modelvol_rollback(struct modelvol *v)
{
	struct err err = {0};
	if (v->nepochs == 0)
		return;
	if (v->nepochs > 1)
		refused(v, dvol_rollback(v->vol, v->epochs[0].id, &err), &err);
	uint64_t size = v->head.size;
	need(v, dvol_rollback(v->vol, v->epochs[v->nepochs - 1].id, &err), &err);
	state_copy(v, &v->head, &v->epochs[v->nepochs - 1]);
	v->head.size = size;
}

void modelvol_pin(struct modelvol *v)
{
	struct err err = {0};
	struct model_state *epoch = some_epoch(v);
	if (epoch == NULL)
		return;
	refused(v, (epoch->pinned ? dvol_pin : dvol_unpin)(v->vol, epoch->id, "a pin", &err), &err);
	need(v, (epoch->pinned ? dvol_unpin : dvol_pin)(v->vol, epoch->id, "a pin", &err), &err);
	epoch->pinned = !epoch->pinned;
}

void modelvol_digest(struct modelvol *v)
{
	struct err err = {0};
	uint8_t root[DVOL_ROOT];
	struct model_state *epoch = some_epoch(v);
	if (epoch == NULL)
		return;
	need(v, dvol_digest(v->vol, epoch->id, root, &err), &err);
	if (epoch->has_root && memcmp(root, epoch->root, sizeof(root)) != 0)
		modelvol_wrong(v, "another root than before", NULL);
	memcpy(epoch->root, root, sizeof(root));
	epoch->has_root = true;
}

void modelvol_pack(struct modelvol *v)
{
	struct err err = {0};
	unsigned readers = 0;
	for (size_t i = 0; i < v->nepochs; i++)
		readers += v->epochs[i].readers;
	int result = dvol_pack(v->vol, (unsigned)pick(v, 3), NULL, &err);
	if (readers > 0)
		refused(v, result, &err);
	else
		need(v, result, &err);
	v->packed = true;
}

void modelvol_apply(struct modelvol *v, const char *delta, const struct model_state *source,
		    const struct dvol_extent *changed, size_t count)
{
	static const uint8_t zeroes[DVOL_BLOCK];
	struct err err = {0};
	need(v, dvol_apply(v->vol, delta, &err), &err);
	for (uint64_t b = 0; v->nepochs == 0 && b < v->run->blocks; b++)
		touch(v, b, false); /* a seed replaces all */
	for (size_t i = 0; i < count; i++)
		for (uint64_t at = changed[i].offset; at < changed[i].offset + changed[i].len;
		     at += DVOL_BLOCK)
			touch(v, at / DVOL_BLOCK, memcmp(source->data + at, zeroes, DVOL_BLOCK) != 0);
	memcpy(v->head.data, source->data, v->run->blocks * DVOL_BLOCK);
	v->head.size = source->size;
	add_epoch(v, source->id);
}
