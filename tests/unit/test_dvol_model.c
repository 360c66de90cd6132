/* Random operations on volumes against models of them: a base, clones upon its epochs and upon theirs, a replica that
 * follows by deltas, and readers that stay.  After some steps contents, changed blocks, maps, digests and the space used
 * are compared.  Many short runs, each with volumes of other sizes and with a seed of its own: $DROVER_TEST_SEED is that of
 * the first run, $DROVER_MODEL_STEPS how many steps there are in all; a failure tells both, so that it is repeated at once. */
#include "tests/lib/modelvol.h"
#include "tests/lib/random.h"
#include "tests/lib/test.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { VOLUMES = 4, READERS = 2, DEPTH = 3, RUN_STEPS = 400, STEPS = 200000 };

/* One of the volumes, and how it hangs together with the others. */
struct member {
	struct modelvol *v;
	struct member *parent; /* its backing, or what it follows */
	struct dvol_id epoch;  /* of the backing */
	bool replica;
	unsigned children, depth;
};

struct reader {
	struct member *of;
	struct dvol_id epoch;
	struct dvol *vol;
};

struct family {
	struct model_run run;
	struct member members[VOLUMES]; /* the first is the base */
	struct reader readers[READERS];
	uint64_t names;
};

static uint64_t pick(struct family *f, uint64_t below)
{
	return model_pick(&f->run, below);
}

static struct member *some_member(struct family *f)
{
	for (;;) {
		struct member *m = &f->members[pick(f, VOLUMES)];
		if (m->v != NULL)
			return m;
	}
}

/* ---- members come and go ---- */
static struct member *add_member(struct family *f, uint64_t size, struct member *parent,
				 const struct model_state *epoch)
{
	char path[16];
	struct member *m = f->members;
	while (m < f->members + VOLUMES && m->v != NULL)
		m++;
	if (m == f->members + VOLUMES)
		return NULL;
	snprintf(path, sizeof(path), "v%llu", (unsigned long long)f->names++);
	*m = (struct member){.parent = parent};
	m->v = modelvol_make(&f->run, path, size, parent != NULL && epoch != NULL ? parent->v : NULL, epoch);
	m->depth = parent != NULL ? parent->depth + 1 : 0;
	if (parent != NULL)
		parent->children++;
	return m;
}

static void drop_reader(struct reader *reader)
{
	dvol_close(reader->vol, NULL);
	modelvol_epoch(reader->of->v, reader->epoch)->readers--;
	*reader = (struct reader){0};
}

static void drop_member(struct family *f, struct member *m)
{
	for (int i = 0; i < READERS; i++)
		if (f->readers[i].of == m)
			drop_reader(&f->readers[i]);
	modelvol_drop(m->v);
	if (m->parent != NULL) {
		m->parent->children--;
		if (!m->replica)
			modelvol_epoch(m->parent->v, m->epoch)->readers--;
	}
	*m = (struct member){0};
}

static void clone(struct family *f)
{
	struct member *of = some_member(f);
	if (of->v->nepochs == 0 || of->depth == DEPTH || of->replica)
		return;
	struct model_state *epoch = &of->v->epochs[pick(f, of->v->nepochs)];
	uint64_t size = epoch->size;
	if (pick(f, 2)) /* smaller than its backing, or larger */
		size = DVOL_BLOCK + pick(f, (f->run.blocks - 1) * DVOL_BLOCK) / DVOL_SECTOR * DVOL_SECTOR;
	struct member *m = add_member(f, size, of, epoch);
	if (m == NULL)
		return;
	m->epoch = epoch->id;
	epoch->readers++;
}

static void drop(struct family *f)
{
	struct member *m = some_member(f);
	if (m != f->members && m->children == 0)
		drop_member(f, m);
}

/* ---- replicas ---- */
static void new_replica(struct family *f, struct member *of)
{
	struct member *m = add_member(f, DVOL_BLOCK, of, NULL);
	if (m == NULL)
		return;
	m->replica = true;
	m->depth = DEPTH;
	/* Of the same volume: made again with its lineage. */
	struct err err = {0};
	char path[16];
	memcpy(path, m->v->path, sizeof(path));
	struct dvol_create_options options = {.size_bytes = DVOL_BLOCK,
					      .journal_blocks = 16 + pick(f, 20),
					      .compress = (unsigned)pick(f, 2),
					      .lineage = of->v->lineage,
					      .files = &memdisk_ops,
					      .files_context = &f->run.disk};
	dvol_close(m->v->vol, NULL);
	memdisk_ops.unlink(&f->run.disk, path);
	if (dvol_create(path, &options, &err) < 0)
		modelvol_wrong(m->v, "create", &err);
	struct dvol_open_options writable = {
	    .writable = true, .files = &memdisk_ops, .files_context = &f->run.disk};
	m->v->vol = dvol_open(path, &writable, &err);
	if (m->v->vol == NULL)
		modelvol_wrong(m->v, "open", &err);
	m->v->packed = true;
}

static bool head_touched(const struct modelvol *v)
{
	return v->nepochs > 0 &&
	       memcmp(v->head.stamp, v->epochs[v->nepochs - 1].stamp, v->run->blocks * sizeof(uint64_t)) != 0;
}

/* prove_equal: the replica's newest epoch and its source are one: the same digest, and no block that differs, by what is read, by
 * the trees, and by the tree as a file. */
static void prove_equal(struct family *f, struct member *m, const struct model_state *source)
{
	struct err err = {0};
	struct modelvol *here = m->v, *there = m->parent->v;
	uint8_t root[2][DVOL_ROOT];
	/* The newest epoch's, where the tree was given up with the epoch at which it stood. */
	if (dvol_digest(here->vol, source->id, root[0], &err) < 0 ||
	    dvol_digest(there->vol, there->epochs[there->nepochs - 1].id, root[1], &err) < 0 ||
	    dvol_digest(there->vol, source->id, root[1], &err) < 0 ||
	    dvol_tree_export(there->vol, source->id, DVOL_TREE_FINE, "tree", &err) < 0)
		modelvol_wrong(here, "digest", &err);
	if (memcmp(root[0], root[1], DVOL_ROOT) != 0)
		modelvol_wrong(here, "has another root than its source", NULL);
	struct dvol *a = modelvol_open_epoch(here, source->id), *b = modelvol_open_epoch(there, source->id);
	for (int way = 0; way < 3; way++) {
		struct dvol_extent *list;
		size_t count;
		int result = way == 0   ? dvol_compare(here->vol, b, &list, &count, NULL, &err)
			     : way == 1 ? dvol_compare(a, b, &list, &count, NULL, &err)
					: dvol_tree_compare(a, "tree", &list, &count, &err);
		if (result < 0 || count != 0)
			modelvol_wrong(here, "differs from its source", result < 0 ? &err : NULL);
		free(list);
	}
	dvol_close(a, NULL);
	dvol_close(b, NULL);
	memdisk_ops.unlink(&f->run.disk, "tree");
}

/* ship: what turns `from` (NULL: nothing) into `to` goes to the replica. */
static void ship(struct family *f, struct member *m, const struct model_state *from, struct model_state *to)
{
	struct err err = {0};
	struct dvol_id since = from != NULL ? from->id : (struct dvol_id){0};
	struct dvol_extent *list;
	size_t count;
	struct modelvol *source = m->parent->v;
	struct dvol *epoch = modelvol_open_epoch(source, to->id);
	if (dvol_export(epoch, since, "delta", &err) < 0 ||
	    dvol_changed(epoch, since, to->id, &list, &count, &err) < 0)
		modelvol_wrong(source, "export", &err);
	modelvol_apply(m->v, "delta", to, list, count);
	free(list);
	dvol_close(epoch, NULL);
	memdisk_ops.unlink(&f->run.disk, "delta");
	if (pick(f, 4) == 0)
		prove_equal(f, m, to);
}

static void follow(struct family *f)
{
	struct member *m = some_member(f);
	if (!m->replica) {
		new_replica(f, m);
		return;
	}
	struct modelvol *source = m->parent->v;
	struct model_state *from = NULL;
	if (m->v->nepochs == MODEL_EPOCHS)
		return;
	if (m->v->nepochs > 0)
		from = modelvol_epoch(source, m->v->epochs[m->v->nepochs - 1].id);
	size_t first = from != NULL ? (size_t)(from - source->epochs) + 1 : 0;
	if (m->v->nepochs > 0 && from == NULL) {
		drop_member(f, m); /* the base of the next delta is gone at the source */
		return;
	}
	if (first == source->nepochs)
		return;
	struct model_state *to = &source->epochs[first + pick(f, source->nepochs - first)];
	if (to->size < m->v->head.size) /* it had a later epoch, and deleted it */
		return;
	if (head_touched(m->v))
		modelvol_rollback(m->v);
	ship(f, m, from, to);
}

/* ---- readers that stay while the volume goes on ---- */
static void hold(struct family *f)
{
	struct reader *reader = &f->readers[pick(f, READERS)];
	if (reader->vol != NULL) {
		modelvol_compare(reader->of->v, reader->vol, modelvol_epoch(reader->of->v, reader->epoch));
		if (pick(f, 2))
			drop_reader(reader);
		return;
	}
	struct member *of = some_member(f);
	if (of->v->nepochs == 0)
		return;
	struct model_state *epoch = &of->v->epochs[pick(f, of->v->nepochs)];
	*reader = (struct reader){.of = of, .epoch = epoch->id};
	reader->vol = modelvol_open_epoch(of->v, epoch->id);
	epoch->readers++;
}

/* ---- the operations: one line each ---- */
static const struct operation {
	const char *name;
	unsigned weight;
	bool not_replica; /* a replica that did it could not follow any longer */
	void (*one)(struct modelvol *v);
	void (*all)(struct family *f);
} operations[] = {
    {.name = "write", .weight = 48, .one = modelvol_write},
    {.name = "write-cold", .weight = 4, .one = modelvol_write_cold},
    {.name = "discard", .weight = 8, .one = modelvol_discard},
    {.name = "write-zeroes", .weight = 5, .one = modelvol_write_zeroes},
    {.name = "flush", .weight = 3, .one = modelvol_flush},
    {.name = "close-epoch", .weight = 10, .not_replica = true, .one = modelvol_close_epoch},
    {.name = "delete", .weight = 7, .one = modelvol_delete},
    {.name = "rollback", .weight = 2, .one = modelvol_rollback},
    {.name = "resize", .weight = 2, .not_replica = true, .one = modelvol_resize},
    {.name = "reopen", .weight = 2, .one = modelvol_reopen},
    {.name = "pin", .weight = 1, .one = modelvol_pin},
    {.name = "digest", .weight = 1, .one = modelvol_digest},
    {.name = "pack", .weight = 1, .one = modelvol_pack},
    {.name = "clone", .weight = 2, .all = clone},
    {.name = "drop", .weight = 1, .all = drop},
    {.name = "follow", .weight = 5, .all = follow},
    {.name = "hold", .weight = 2, .all = hold},
    {.name = "compare-head", .weight = 1, .one = modelvol_compare_head},
    {.name = "compare-epoch", .weight = 3, .one = modelvol_compare_epoch},
    {.name = "compare-changed", .weight = 3, .one = modelvol_compare_changed},
    {.name = "compare-two", .weight = 2, .one = modelvol_compare_two},
    {.name = "compare-mapped", .weight = 1, .one = modelvol_compare_mapped},
    {.name = "compare-space", .weight = 1, .one = modelvol_compare_space},
};

enum { OPERATIONS = sizeof(operations) / sizeof(*operations) };

static void step(struct family *f)
{
	unsigned total = 0;
	for (size_t i = 0; i < OPERATIONS; i++)
		total += operations[i].weight;
	uint64_t what = pick(f, total);
	const struct operation *operation = operations;
	for (; what >= operation->weight; operation++)
		what -= operation->weight;
	f->run.doing = operation->name;
	if (operation->all != NULL) {
		operation->all(f);
		return;
	}
	struct member *m = some_member(f);
	if (!operation->not_replica || !m->replica)
		operation->one(m->v);
}

static void finish(struct family *f)
{
	f->run.doing = "the end";
	for (int i = 0; i < READERS; i++)
		if (f->readers[i].vol != NULL)
			drop_reader(&f->readers[i]);
	for (int i = 0; i < VOLUMES; i++) {
		struct modelvol *v = f->members[i].v;
		if (v == NULL)
			continue;
		modelvol_compare_head(v);
		modelvol_compare_changed(v);
		modelvol_compare_space(v);
		for (size_t e = 0; e < v->nepochs; e++) {
			struct dvol *epoch = modelvol_open_epoch(v, v->epochs[e].id);
			modelvol_compare(v, epoch, &v->epochs[e]);
			dvol_close(epoch, NULL);
		}
	}
	/* Those upon which others stand last. */
	for (int left = VOLUMES - 1; left > 0;) {
		left = 0;
		for (int i = 1; i < VOLUMES; i++) {
			if (f->members[i].v != NULL && f->members[i].children == 0)
				drop_member(f, &f->members[i]);
			left += f->members[i].v != NULL;
		}
	}
	/* Nothing is left of what only epochs held. */
	struct modelvol *base = f->members[0].v;
	for (size_t i = 0; i < base->nepochs; i++)
		if (base->epochs[i].pinned) {
			struct err err = {0};
			assert_int_equal(dvol_unpin(base->vol, base->epochs[i].id, "a pin", &err), 0);
			base->epochs[i].pinned = false;
		}
	while (base->nepochs > 0)
		modelvol_delete(base);
	modelvol_compare_space(base);
	drop_member(f, &f->members[0]);
}

/* one_run: returns the steps that it took. */
static uint64_t one_run(uint64_t seed, uint64_t most)
{
	static const uint64_t sizes[] = {5, 24, 24, 60, 60, 150, 600};
	struct family *f = calloc(1, sizeof(*f));
	assert_non_null(f);
	f->run.seed = seed;
	f->run.random = random_from(seed);
	f->run.doing = "create";
	f->run.blocks = sizes[pick(f, sizeof(sizes) / sizeof(*sizes))];
	uint64_t size = f->run.blocks * DVOL_BLOCK - pick(f, 3 * DVOL_BLOCK) / DVOL_SECTOR * DVOL_SECTOR;
	add_member(f, size, NULL, NULL);
	uint64_t steps = most < RUN_STEPS ? most : RUN_STEPS;
	for (f->run.step = 0; f->run.step < steps; f->run.step++)
		step(f);
	finish(f);
	memdisk_free(&f->run.disk);
	free(f);
	return steps;
}

static void test_model(void **unused)
{
	(void)unused;
	const char *more = getenv("DROVER_MODEL_STEPS");
	uint64_t wanted = more != NULL ? strtoull(more, NULL, 10) : STEPS, done = 0, runs = 0;
	/* Far apart, so that one program's are not those of another that began a little later. */
	for (uint64_t seed = random_seed(); done < wanted; seed += 1000003, runs++)
		done += one_run(seed, wanted - done);
	print_message("%llu steps in %llu runs\n", (unsigned long long)done, (unsigned long long)runs);
}

int main(void)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test(test_model)};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
