/* modelvol_compare.c: what a volume says, against its model. */
#include "tests/lib/modelvol.h"
#include "tests/lib/test.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static uint64_t blocks_of(uint64_t size)
{
	return (size + DVOL_BLOCK - 1) / DVOL_BLOCK;
}

static void __attribute__((noreturn)) wrong_block(const struct modelvol *v, uint64_t block, const char *what)
{
	char text[128];
	snprintf(text, sizeof(text), "block %llu %s", (unsigned long long)block, what);
	modelvol_wrong(v, text, NULL);
}

static bool zero_block(const struct model_state *state, uint64_t block)
{
	static const uint8_t zeroes[DVOL_BLOCK];
	return memcmp(state->data + block * DVOL_BLOCK, zeroes, DVOL_BLOCK) == 0;
}

void modelvol_compare(struct modelvol *v, struct dvol *vol, const struct model_state *state)
{
	struct err err = {0};
	uint8_t *data = malloc(state->size);
	assert_non_null(data);
	if (dvol_size(vol) != state->size)
		modelvol_wrong(v, "has another size", NULL);
	if (dvol_read(vol, data, state->size, 0, &err) < 0)
		modelvol_wrong(v, "read", &err);
	if (memcmp(data, state->data, state->size) != 0)
		for (uint64_t i = 0;; i++)
			if (data[i] != state->data[i])
				wrong_block(v, i / DVOL_BLOCK, "has another content");
	free(data);
}

void modelvol_compare_head(struct modelvol *v)
{
	modelvol_compare(v, v->vol, &v->head);
}

void modelvol_compare_epoch(struct modelvol *v)
{
	struct err err = {0};
	if (v->nepochs == 0)
		return;
	const struct model_state *epoch = &v->epochs[model_pick(v->run, v->nepochs)];
	struct dvol *vol = modelvol_open_epoch(v, epoch->id);
	modelvol_compare(v, vol, epoch);
	struct dvol_bad_block *bad = NULL;
	size_t nbad = 0;
	if (model_pick(v->run, 4) == 0 && dvol_verify(vol, NULL, &bad, &nbad, NULL, &err) < 0 &&
	    err.kind != ERR_STATE)
		modelvol_wrong(v, "verify", &err);
	if (nbad > 0)
		wrong_block(v, bad[0].offset / DVOL_BLOCK, "has another content than its digest");
	free(bad);
	dvol_close(vol, NULL);
}

/* ---- changed ---- */
/* between: every block that was written between a and b is named, and none to which nothing was done. */
static void between(struct modelvol *v, const struct model_state *a, const struct model_state *b, bool named,
		    uint64_t block)
{
	size_t at = block * DVOL_BLOCK;
	bool differs =
	    a->version[block] != b->version[block] || memcmp(a->data + at, b->data + at, DVOL_BLOCK) != 0;
	if (differs && !named)
		wrong_block(v, block, "changed, and is not named");
	if (named && a->stamp[block] == b->stamp[block])
		wrong_block(v, block, "is named, and nobody wrote to it");
}

/* from_nothing: what has content is named; what has neither content nor a place nor a backing is not. */
static void from_nothing(struct modelvol *v, const struct model_state *b, bool named, uint64_t block)
{
	if (!named && (b->version[block] != 0 || !zero_block(b, block)))
		wrong_block(v, block, "has content, and is not named");
	if (named && b->version[block] == 0 && block * DVOL_BLOCK >= v->backed)
		wrong_block(v, block, "is named, and is not there");
}

static void compare_list(struct modelvol *v, const struct model_state *a, const struct model_state *b,
			 const struct dvol_extent *list, size_t count)
{
	size_t at = 0;
	for (uint64_t block = 0; block < blocks_of(b->size); block++) {
		uint64_t offset = block * DVOL_BLOCK;
		while (at < count && list[at].offset + list[at].len <= offset)
			at++;
		bool named = at < count && list[at].offset <= offset;
		if (a != NULL)
			between(v, a, b, named, block);
		else
			from_nothing(v, b, named, block);
	}
	if (count > 0 && list[count - 1].offset + list[count - 1].len > b->size)
		modelvol_wrong(v, "something past the end is named", NULL);
}

void modelvol_compare_changed(struct modelvol *v)
{
	struct err err = {0};
	struct dvol_extent *list;
	size_t count;
	size_t to = model_pick(v->run, v->nepochs + 1), from = model_pick(v->run, to + 1);
	const struct model_state *b = to < v->nepochs ? &v->epochs[to] : &v->head;
	const struct model_state *a = from > 0 ? &v->epochs[from - 1] : NULL;
	/* From nothing to an epoch only a handle on that epoch can say. */
	struct dvol *epoch = a == NULL && to < v->nepochs ? modelvol_open_epoch(v, b->id) : NULL;
	if (dvol_changed(epoch != NULL ? epoch : v->vol, a != NULL ? a->id : (struct dvol_id){0},
			 to < v->nepochs ? b->id : (struct dvol_id){0}, &list, &count, &err) < 0)
		modelvol_wrong(v, "changed", &err);
	compare_list(v, a, b, list, count);
	free(list);
	dvol_close(epoch, NULL);
}

/* ---- two epochs against one another, by their trees or by what is read ---- */
void modelvol_compare_two(struct modelvol *v)
{
	struct err err = {0};
	struct dvol_extent *list;
	size_t count, at = 0;
	if (v->nepochs == 0)
		return;
	const struct model_state *a = &v->epochs[model_pick(v->run, v->nepochs)],
				 *b = &v->epochs[model_pick(v->run, v->nepochs)];
	struct dvol *one = modelvol_open_epoch(v, a->id), *other = modelvol_open_epoch(v, b->id);
	if (dvol_compare(one, other, &list, &count, NULL, &err) < 0)
		modelvol_wrong(v, "compare", &err);
	for (uint64_t block = 0; block < v->run->blocks; block++) {
		uint64_t offset = block * DVOL_BLOCK;
		while (at < count && list[at].offset + list[at].len <= offset)
			at++;
		bool named = at < count && list[at].offset <= offset;
		if (named != (memcmp(a->data + offset, b->data + offset, DVOL_BLOCK) != 0))
			wrong_block(v, block,
				    named ? "is the same, and is named" : "differs, and is not named");
	}
	free(list);
	dvol_close(one, NULL);
	dvol_close(other, NULL);
}

/* ---- map ---- */
static void compare_extent(struct modelvol *v, const struct dvol_map_extent *extent)
{
	const struct model_state *head = &v->head;
	bool data = extent->kind == DVOL_MAP_DATA || extent->kind == DVOL_MAP_PACKED;
	for (uint64_t at = extent->offset; at < extent->offset + extent->len; at += DVOL_BLOCK) {
		uint64_t block = at / DVOL_BLOCK;
		if (data != (head->version[block] != 0))
			wrong_block(v, block, "is mapped, or not, otherwise than it was written");
		if (extent->kind == DVOL_MAP_BACKING && at >= v->backed)
			wrong_block(v, block, "is past the end of the backing");
		if (!data && extent->kind != DVOL_MAP_BACKING && !zero_block(head, block))
			wrong_block(v, block, "is mapped as zeroes");
	}
}

void modelvol_compare_mapped(struct modelvol *v)
{
	struct err err = {0};
	struct dvol_map_extent *list;
	size_t count;
	for (uint64_t at = 0; at < v->head.size;) {
		if (dvol_map(v->vol, at, v->head.size - at, 1 + model_pick(v->run, 20), &list, &count, &err) <
		    0)
			modelvol_wrong(v, "map", &err);
		for (size_t i = 0; i < count; i++) {
			if (list[i].offset != at || list[i].len == 0)
				modelvol_wrong(v, "the map has a gap", NULL);
			compare_extent(v, &list[i]);
			at += list[i].len;
		}
		free(list);
	}
}

/* ---- space ---- */
static int by_number(const void *a, const void *b)
{
	uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
	return x < y ? -1 : x > y;
}

static void report(void *context, const char *text)
{
	(void)context;
	print_message("check: %s\n", text);
}

/* needed: as many blocks as there are different versions in the head and the epochs. */
static uint64_t needed(const struct modelvol *v)
{
	uint64_t different = 0, blocks = v->run->blocks;
	size_t n = 0;
	uint64_t *all = malloc(sizeof(*all) * blocks * (v->nepochs + 1));
	assert_non_null(all);
	for (size_t e = 0; e <= v->nepochs; e++)
		for (size_t b = 0; b < blocks; b++)
			all[n++] = (e < v->nepochs ? &v->epochs[e] : &v->head)->version[b];
	/* Writes in place make a new version, but the same block: what counts is that none is there twice. */
	qsort(all, n, sizeof(*all), by_number);
	for (size_t i = 0; i < n; i++)
		different += all[i] != 0 && (i == 0 || all[i] != all[i - 1]);
	free(all);
	return different;
}

void modelvol_compare_space(struct modelvol *v)
{
	struct err err = {0};
	struct dvol_info info;
	char text[128];
	if (dvol_check(v->vol, &info, report, NULL, &err) < 0)
		modelvol_wrong(v, "check", &err);
	if (info.errors != 0)
		modelvol_wrong(v, "check found errors", NULL);
	/* An extent with but one of its blocks left takes up to 15 blocks still. */
	uint64_t want = needed(v), got = info.data_bytes / DVOL_BLOCK, packed = info.packed_blocks;
	bool fits = packed <= want && got >= want - packed && got - (want - packed) <= 15 * packed;
	snprintf(text, sizeof(text), "%llu blocks of data are needed, %llu are used",
		 (unsigned long long)want, (unsigned long long)got);
	if (!fits || (packed > 0 && !v->packed))
		modelvol_wrong(v, text, NULL);
}
