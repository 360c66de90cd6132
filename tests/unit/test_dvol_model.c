/* Random operations on a volume against a model that keeps every epoch as plain bytes.  After each step of some sort the
 * content, the changed blocks and the space used are compared; $DROVER_TEST_SEED repeats a run, $DROVER_MODEL_STEPS
 * makes it longer. */
#include "imagefmt/dvol.h"
#include "tests/lib/memdisk.h"
#include "tests/lib/random.h"
#include "tests/lib/test.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { BLOCKS_MAX = 1400, EPOCHS_MAX = 12 };
#define PATH "vol"

struct state {
	uint8_t *data; /* BLOCKS_MAX blocks */
	/* Which write each block's content is from, 0 for none: what takes space of its own. */
	uint64_t version[BLOCKS_MAX];
	uint64_t size;
	struct dvol_id id;
};

struct model {
	struct memdisk disk;
	struct dvol *vol;
	uint64_t random, versions, step;
	struct state head, epochs[EPOCHS_MAX];
	size_t nepochs;
};

static void __attribute__((noreturn))
fail_step(const struct model *m, const char *what, const struct err *err)
{
	fail_msg("step %llu: %s%s%s", (unsigned long long)m->step, what, err != NULL ? ": " : "",
		 err != NULL ? err->text : "");
	abort(); /* fail_msg jumps out of the test */
}

static uint64_t pick(struct model *m, uint64_t below)
{
	return random_next(&m->random) % below;
}

static void state_copy(struct state *to, const struct state *from)
{
	memcpy(to->data, from->data, (size_t)BLOCKS_MAX * DVOL_BLOCK);
	memcpy(to->version, from->version, sizeof(to->version));
	to->size = from->size;
}

static void report(void *context, const char *text)
{
	(void)context;
	print_message("check: %s\n", text);
}

static void open_volume(struct model *m)
{
	struct err err = {0};
	struct dvol_open_options options = {.writable = true,
					    .compact = pick(m, 2),
					    .direct = pick(m, 2),
					    .cache_pages = 4,
					    .files = &memdisk_ops,
					    .files_context = &m->disk};
	m->vol = dvol_open(PATH, &options, &err);
	if (m->vol == NULL)
		fail_step(m, "open", &err);
}

/* range: mostly small ones, at any alignment to sectors; sometimes whole blocks. */
static void pick_range(struct model *m, uint64_t *offset, uint64_t *len)
{
	uint64_t unit = pick(m, 2) ? DVOL_BLOCK : pick(m, 4) ? DVOL_SECTOR : 1;
	uint64_t most = pick(m, 8) ? 9 * DVOL_BLOCK : 300 * DVOL_BLOCK;
	*offset = pick(m, m->head.size) / unit * unit;
	*len = (pick(m, most) + unit) / unit * unit;
	if (*len > m->head.size - *offset)
		*len = m->head.size - *offset;
}

static void do_write(struct model *m)
{
	struct err err = {0};
	uint64_t offset, len;
	pick_range(m, &offset, &len);
	uint8_t *data = m->head.data + offset;
	for (uint64_t i = 0; i < len; i++)
		data[i] = (uint8_t)random_next(&m->random);
	for (uint64_t b = offset / DVOL_BLOCK; len > 0 && b <= (offset + len - 1) / DVOL_BLOCK; b++)
		m->head.version[b] = ++m->versions;
	/* In pieces, as a guest's scatter list has them. */
	struct iovec iov[3];
	uint64_t a = pick(m, len + 1), b = a + pick(m, len - a + 1);
	iov[0] = (struct iovec){.iov_base = data, .iov_len = a};
	iov[1] = (struct iovec){.iov_base = data + a, .iov_len = b - a};
	iov[2] = (struct iovec){.iov_base = data + b, .iov_len = len - b};
	if (dvol_writev(m->vol, iov, 3, offset, &err) < 0)
		fail_step(m, "write", &err);
}

static void do_zero(struct model *m, bool discard)
{
	struct err err = {0};
	uint64_t offset, len;
	pick_range(m, &offset, &len);
	uint64_t end = offset + len;
	int result =
	    discard ? dvol_discard(m->vol, offset, len, &err) : dvol_write_zeroes(m->vol, offset, len, &err);
	if (result < 0)
		fail_step(m, "zeroes", &err);
	for (uint64_t b = offset / DVOL_BLOCK; len > 0 && b <= (end - 1) / DVOL_BLOCK; b++) {
		uint64_t from = b * DVOL_BLOCK,
			 to = from + DVOL_BLOCK < m->head.size ? from + DVOL_BLOCK : m->head.size;
		bool whole = offset <= from && end >= to;
		if (whole) {
			memset(m->head.data + from, 0, to - from);
			m->head.version[b] = 0;
		} else if (!discard) {
			from = from > offset ? from : offset;
			to = to < end ? to : end;
			memset(m->head.data + from, 0, to - from);
			m->head.version[b] = ++m->versions;
		}
	}
}

static void do_close(struct model *m)
{
	struct err err = {0};
	if (m->nepochs == EPOCHS_MAX)
		return;
	struct state *epoch = &m->epochs[m->nepochs];
	uint8_t *data = epoch->data;
	if (data == NULL)
		epoch->data = malloc((size_t)BLOCKS_MAX * DVOL_BLOCK);
	assert_non_null(epoch->data);
	struct dvol_id jump = {0};
	if (pick(m, 4) == 0 && m->nepochs > 0)
		jump = (struct dvol_id){.term = m->epochs[m->nepochs - 1].id.term + 1, .number = 1};
	if (dvol_epoch_close(m->vol, &jump, &epoch->id, &err) < 0)
		fail_step(m, "close", &err);
	state_copy(epoch, &m->head);
	m->nepochs++;
}

static void do_delete(struct model *m)
{
	struct err err = {0};
	if (m->nepochs == 0)
		return;
	size_t at = pick(m, m->nepochs);
	if (dvol_epoch_delete(m->vol, m->epochs[at].id, &err) < 0)
		fail_step(m, "delete", &err);
	struct state gone = m->epochs[at];
	memmove(&m->epochs[at], &m->epochs[at + 1], (m->nepochs - at - 1) * sizeof(gone));
	m->epochs[--m->nepochs] = gone;
}

static void do_rollback(struct model *m)
{
	struct err err = {0};
	if (m->nepochs == 0)
		return;
	if (m->nepochs > 1 && dvol_rollback(m->vol, m->epochs[0].id, &err) == 0)
		fail_step(m, "rollback over a later epoch was not refused", NULL);
	uint64_t size = m->head.size;
	if (dvol_rollback(m->vol, m->epochs[m->nepochs - 1].id, &err) < 0)
		fail_step(m, "rollback", &err);
	state_copy(&m->head, &m->epochs[m->nepochs - 1]);
	m->head.size = size;
}

static void do_resize(struct model *m)
{
	struct err err = {0};
	uint64_t size = m->head.size + pick(m, 3 * DVOL_BLOCK) / DVOL_SECTOR * DVOL_SECTOR;
	if (size > (uint64_t)BLOCKS_MAX * DVOL_BLOCK)
		return;
	if (dvol_resize(m->vol, size, &err) < 0)
		fail_step(m, "resize", &err);
	m->head.size = size;
}

static void do_reopen(struct model *m)
{
	struct err err = {0};
	if (dvol_close(m->vol, &err) < 0)
		fail_step(m, "close of the volume", &err);
	open_volume(m);
}

static void compare(struct model *m, struct dvol *vol, const struct state *state)
{
	struct err err = {0};
	uint8_t *data = malloc(state->size);
	assert_non_null(data);
	assert_int_equal(dvol_size(vol), state->size);
	if (dvol_read(vol, data, state->size, 0, &err) < 0)
		fail_step(m, "read", &err);
	for (uint64_t i = 0; i < state->size; i++)
		if (data[i] != state->data[i])
			fail_msg("step %llu: byte %llu (block %llu) of %llu.%llu is wrong",
				 (unsigned long long)m->step, (unsigned long long)i,
				 (unsigned long long)i / DVOL_BLOCK, (unsigned long long)state->id.term,
				 (unsigned long long)state->id.number);
	free(data);
}

static void compare_epoch(struct model *m, const struct state *state)
{
	struct err err = {0};
	struct dvol_open_options options = {
	    .epoch = state->id, .cache_pages = 4, .files = &memdisk_ops, .files_context = &m->disk};
	struct dvol *vol = dvol_open(PATH, &options, &err);
	if (vol == NULL)
		fail_step(m, "open of an epoch", &err);
	compare(m, vol, state);
	dvol_close(vol, NULL);
}

/* compare_changed: every block whose version differs is named; and none that was not written since. */
static void compare_changed(struct model *m)
{
	struct err err = {0};
	struct dvol_extent *list;
	size_t count;
	if (m->nepochs == 0)
		return;
	size_t from = pick(m, m->nepochs), to = from + 1 + pick(m, m->nepochs - from);
	const struct state *a = &m->epochs[from], *b = to < m->nepochs ? &m->epochs[to] : &m->head;
	struct dvol_id id = to < m->nepochs ? b->id : (struct dvol_id){0};
	if (dvol_changed(m->vol, a->id, id, &list, &count, &err) < 0)
		fail_step(m, "changed", &err);
	size_t at = 0;
	for (uint64_t block = 0; block * DVOL_BLOCK < b->size; block++) {
		uint64_t offset = block * DVOL_BLOCK;
		while (at < count && list[at].offset + list[at].len <= offset)
			at++;
		bool named = at < count && list[at].offset <= offset;
		if (a->version[block] != b->version[block] && !named)
			fail_msg("step %llu: block %llu changed and is not named",
				 (unsigned long long)m->step, (unsigned long long)block);
	}
	free(list);
}

static int by_number(const void *a, const void *b)
{
	uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
	return x < y ? -1 : x > y;
}

/* compare_space: as many data blocks as there are different versions in the head and the epochs, no more. */
static void compare_space(struct model *m)
{
	struct err err = {0};
	struct dvol_info info;
	if (dvol_check(m->vol, &info, report, NULL, &err) < 0)
		fail_step(m, "check", &err);
	if (info.errors != 0)
		fail_step(m, "check found errors", NULL);
	size_t n = 0;
	uint64_t *all = malloc(sizeof(*all) * BLOCKS_MAX * (EPOCHS_MAX + 1));
	assert_non_null(all);
	for (size_t e = 0; e <= m->nepochs; e++)
		for (size_t b = 0; b < BLOCKS_MAX; b++)
			all[n++] = e < m->nepochs ? m->epochs[e].version[b] : m->head.version[b];
	/* Writes in place make a new version, but the same block: what counts is that none is there twice. */
	qsort(all, n, sizeof(*all), by_number);
	uint64_t different = 0;
	for (size_t i = 0; i < n; i++)
		different += all[i] != 0 && (i == 0 || all[i] != all[i - 1]);
	free(all);
	if (info.data_bytes != different * DVOL_BLOCK)
		fail_msg("step %llu: %llu blocks of data are needed, %llu are used",
			 (unsigned long long)m->step, (unsigned long long)different,
			 (unsigned long long)info.data_bytes / DVOL_BLOCK);
}

static void step(struct model *m)
{
	struct err err = {0};
	uint64_t what = pick(m, 100);
	if (what < 55)
		do_write(m);
	else if (what < 63)
		do_zero(m, true);
	else if (what < 68)
		do_zero(m, false);
	else if (what < 78)
		do_close(m);
	else if (what < 84)
		do_delete(m);
	else if (what < 86)
		do_rollback(m);
	else if (what < 87)
		do_resize(m);
	else if (what < 89)
		do_reopen(m);
	else if (what < 93 && m->nepochs > 0)
		compare_epoch(m, &m->epochs[pick(m, m->nepochs)]);
	else if (what < 95)
		compare_changed(m);
	else if (what < 97)
		compare_space(m);
	else if (dvol_flush(m->vol, &err) < 0)
		fail_step(m, "flush", &err);
}

static void test_model(void **unused)
{
	(void)unused;
	struct err err = {0};
	const char *more = getenv("DROVER_MODEL_STEPS");
	uint64_t steps = more != NULL ? strtoull(more, NULL, 10) : 4000;
	struct model *m = calloc(1, sizeof(*m));
	assert_non_null(m);
	m->random = random_begin();
	m->head.data = calloc(BLOCKS_MAX, DVOL_BLOCK);
	assert_non_null(m->head.data);
	m->head.size = (uint64_t)(BLOCKS_MAX - 200) * DVOL_BLOCK + 1536;
	struct dvol_create_options options = {.size_bytes = m->head.size,
					      .journal_blocks = 16,
					      .files = &memdisk_ops,
					      .files_context = &m->disk};
	if (dvol_create(PATH, &options, &err) < 0)
		fail_step(m, "create", &err);
	open_volume(m);
	for (m->step = 0; m->step < steps; m->step++)
		step(m);
	compare(m, m->vol, &m->head);
	for (size_t i = 0; i < m->nepochs; i++)
		compare_epoch(m, &m->epochs[i]);
	while (m->nepochs > 0)
		do_delete(m);
	compare_space(m);
	assert_int_equal(dvol_close(m->vol, &err), 0);
	memdisk_free(&m->disk);
	for (size_t i = 0; i < EPOCHS_MAX; i++)
		free(m->epochs[i].data);
	free(m->head.data);
	free(m);
}

int main(void)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test(test_model)};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
