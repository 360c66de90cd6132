/* Power cuts at every moment of a random load.  The disk under the volumes is a model: what was written before the last
 * completed sync is there; of what came later any subset of sectors, in any order.  Each such state must open without
 * repair, hold every flushed sector and every closed epoch exactly, and check clean, also after a writable open has
 * finished what the cut interrupted, and when that was cut again.  $DROVER_TEST_SEED repeats a run; $DROVER_POWERCUTS is
 * the number of states for each load. */
#include "imagefmt/vol.h"
#include "tests/lib/random.h"
#include "tests/lib/tagvol.h"
#include "tests/lib/test.h"

#include <stdlib.h>
#include <string.h>

enum { SECTORS = 470, STATES = 4000, CUTS = 6, RESTART = 40 };

static uint64_t wanted(void)
{
	const char *more = getenv("DROVER_POWERCUTS");
	return more != NULL ? strtoull(more, NULL, 10) : STATES;
}

/* A load: some volumes on one disk. */
struct load {
	struct powercut pc;
	struct tagvol volumes[2], *list[2];
	size_t count;
	uint64_t random, states, step;
};

static struct load *load_begin(void)
{
	struct load *load = calloc(1, sizeof(*load));
	assert_non_null(load);
	load->random = random_begin();
	load->list[0] = &load->volumes[0];
	load->list[1] = &load->volumes[1];
	return load;
}

static void load_end(struct load *load)
{
	struct err err = {0};
	for (size_t i = load->count; i-- > 0;)
		assert_int_equal(dvol_close(load->list[i]->vol, &err), 0);
	print_message("%llu states of %llu steps\n", (unsigned long long)load->states,
		      (unsigned long long)load->step);
	powercut_free(&load->pc);
	free(load);
}

/* cut: states of the step that was just made; sometimes the load goes on in the last one. */
static void cut(struct load *load)
{
	size_t events = load->pc.disk.nevents;
	load->states += tagvol_cuts(&load->pc, load->list, load->count,
				    events < 2 * CUTS ? (unsigned)events / 2 + 1 : CUTS, &load->random);
	load->step++;
	if (random_below(&load->random, RESTART) > 0) {
		for (size_t i = 0; i < load->count; i++)
			tagvol_sure(load->list[i]);
		powercut_settle(&load->pc);
		return;
	}
	for (size_t i = load->count; i-- > 0;)
		dvol_close(load->list[i]->vol, NULL);
	/* The checks have brought the state in order; what the cut itself left was one of them. */
	powercut_continue(&load->pc);
	for (size_t i = 0; i < load->count; i++)
		tagvol_resume(load->list[i], &load->pc.disk, &load->random);
	powercut_begin(&load->pc);
}

static void test_volume(void **unused)
{
	(void)unused;
	struct load *load = load_begin();
	struct tagvol *tv = load->list[0];
	load->count = 1;
	tv->path = "vol";
	tagvol_create(tv, &load->pc.disk, SECTORS,
		      (struct dvol_create_options){.journal_blocks = 16, .compress = 1});
	tagvol_open(tv, &load->pc.disk, &load->random);
	powercut_begin(&load->pc);
	while (load->states < wanted()) {
		tagvol_step(tv, &load->pc.disk, &load->random);
		cut(load);
	}
	load_end(load);
}

/* cut_here: as cut, but the load always goes on. */
static void cut_here(struct load *load)
{
	size_t events = load->pc.disk.nevents;
	load->states += tagvol_cuts(&load->pc, load->list, load->count,
				    events < 2 * CUTS ? (unsigned)events / 2 + 1 : CUTS, &load->random);
	load->step++;
	tagvol_sure(load->list[0]);
	powercut_settle(&load->pc);
}

/* beside_checkpoint: what others write, flush and close between the two parts of a checkpoint, which is when both halves of
 * the journal are in use, and pages are changed that it has not written yet. */
static void beside_checkpoint(struct load *load)
{
	static const enum tagvol_what some[] = {TAGVOL_WRITE,   TAGVOL_FLUSH, TAGVOL_CLOSE_EPOCH,
						TAGVOL_DISCARD, TAGVOL_WRITE, TAGVOL_FLUSH};
	struct tagvol *tv = load->list[0];
	struct err err = {0};
	tagvol_do(tv, &load->pc.disk, TAGVOL_FLUSH, &load->random);
	cut_here(load);
	pthread_mutex_lock(&tv->vol->commit);
	struct checkpoint *cp = checkpoint_begin(tv->vol, &err);
	pthread_mutex_unlock(&tv->vol->commit);
	assert_non_null(cp);
	cut_here(load);
	for (uint64_t i = random_below(&load->random, 6); i > 0; i--) {
		enum tagvol_what what = some[random_below(&load->random, 6)];
		if (what == TAGVOL_CLOSE_EPOCH && tv->nepochs == TAGVOL_EPOCHS)
			continue;
		tagvol_do(tv, &load->pc.disk, what, &load->random);
		cut_here(load);
	}
	assert_int_equal(checkpoint_finish(tv->vol, cp, &err), 0);
	cut_here(load);
}

static void test_beside_checkpoint(void **unused)
{
	(void)unused;
	struct load *load = load_begin();
	struct tagvol *tv = load->list[0];
	load->count = 1;
	tv->path = "vol";
	tagvol_create(tv, &load->pc.disk, SECTORS, (struct dvol_create_options){.journal_blocks = 64});
	tagvol_open(tv, &load->pc.disk, &load->random);
	powercut_begin(&load->pc);
	while (load->states < wanted() / 2) {
		for (uint64_t i = random_below(&load->random, 4); i > 0; i--) {
			tagvol_step(tv, &load->pc.disk, &load->random);
			cut(load);
		}
		beside_checkpoint(load);
	}
	load_end(load);
}

/* A base and a volume upon one of its epochs, both written to, both cut at the same moment. */
static void test_clone(void **unused)
{
	(void)unused;
	struct load *load = load_begin();
	struct tagvol *base = load->list[0], *clone = load->list[1];
	load->count = 2;
	base->path = "base";
	base->pack_refused = true;
	clone->path = "clone";
	tagvol_create(base, &load->pc.disk, SECTORS, (struct dvol_create_options){.journal_blocks = 16});
	tagvol_open(base, &load->pc.disk, &load->random);
	for (int i = 0; i < 8; i++)
		tagvol_scribble(base, &load->pc.disk, &load->random);
	tagvol_do(base, &load->pc.disk, TAGVOL_CLOSE_EPOCH, &load->random);
	tagvol_sure(base);
	tagvol_pin(base, &base->epochs[0], true);
	tagvol_sure(base);
	tagvol_create(clone, &load->pc.disk, SECTORS,
		      (struct dvol_create_options){.journal_blocks = 16,
						   .compress = 1,
						   .backing_kind = DVOL_BACKING_DVOL,
						   .backing_path = "base",
						   .backing_epoch = base->epochs[0].id});
	tagvol_open(clone, &load->pc.disk, &load->random);
	memcpy(clone->now, base->now, sizeof(clone->now));
	memcpy(clone->flushed, base->now, sizeof(clone->now));
	clone->tag = 1U << 30;
	powercut_begin(&load->pc);
	while (load->states < wanted()) {
		tagvol_step(load->list[random_below(&load->random, 2)], &load->pc.disk, &load->random);
		cut(load);
	}
	load_end(load);
}

/* ---- deltas: the volume that they come from is on a disk of its own, which is not cut ---- */
struct source {
	struct memdisk disk;
	struct tagvol volume;
};

static void source_begin(struct source *source, uint64_t *random, const uint8_t *lineage)
{
	memset(source, 0, sizeof(*source));
	source->volume.path = "source";
	tagvol_create(&source->volume, &source->disk, SECTORS,
		      (struct dvol_create_options){.journal_blocks = 16, .lineage = lineage});
	tagvol_open(&source->volume, &source->disk, random);
}

/* next_epoch: one more of the source, and the way there from its newest epoch (or from nothing) as "delta" on `to`. */
static struct tagvol_epoch *next_epoch(struct source *source, struct memdisk *to, uint64_t *random)
{
	struct err err = {0};
	struct tagvol *tv = &source->volume;
	struct dvol_id from = tv->nepochs > 0 ? tv->epochs[tv->nepochs - 1].id : (struct dvol_id){0};
	uint64_t writes = random_below(random, 6), had = tv->numbers;
	for (uint64_t i = 0; i < writes || tv->numbers == had; i++) {
		if (tv->nepochs > 2) { /* only the newest matter */
			assert_int_equal(dvol_epoch_delete(tv->vol, tv->epochs[0].id, &err), 0);
			memmove(&tv->epochs[0], &tv->epochs[1], --tv->nepochs * sizeof(tv->epochs[0]));
		}
		if (i + 1 < writes)
			tagvol_scribble(tv, &source->disk, random);
		else
			tagvol_do(tv, &source->disk, TAGVOL_CLOSE_EPOCH, random);
		tagvol_sure(tv);
	}
	struct tagvol_epoch *newest = &tv->epochs[tv->nepochs - 1];
	if (random_below(random, 3) == 0) {
		assert_int_equal(dvol_digest(tv->vol, newest->id, newest->root, &err), 0);
		newest->has_root = true;
	}
	struct dvol_open_options options = {
	    .epoch = newest->id, .files = &memdisk_ops, .files_context = &source->disk};
	struct dvol *vol = dvol_open("source", &options, &err);
	assert_non_null(vol);
	if (memdisk_file(&source->disk, "delta") != NULL)
		memdisk_ops.unlink(&source->disk, "delta");
	if (dvol_export(vol, from, "delta", &err) < 0)
		fail_msg("%s", err.text);
	dvol_close(vol, NULL);
	const struct memdisk_file *delta = memdisk_file(&source->disk, "delta");
	memdisk_put(to, "delta", delta->data, delta->size);
	return newest;
}

/* make_replica: a new pair, as a seed is the first delta only. */
static void make_replica(struct load *load, struct source *source)
{
	static const uint8_t lineage[16] = "one";
	struct tagvol *tv = load->list[0];
	source_begin(source, &load->random, lineage);
	memdisk_free(&load->pc.disk);
	memset(tv, 0, sizeof(*tv));
	tv->path = "replica";
	tagvol_create(tv, &load->pc.disk, SECTORS,
		      (struct dvol_create_options){.journal_blocks = 16,
						   .lineage = lineage,
						   .compress = (unsigned)random_below(&load->random, 2)});
	tagvol_open(tv, &load->pc.disk, &load->random);
}

static void drop_replica(struct load *load, struct source *source)
{
	struct err err = {0};
	assert_int_equal(dvol_close(load->list[0]->vol, &err), 0);
	assert_int_equal(dvol_close(source->volume.vol, &err), 0);
	memdisk_free(&source->disk);
}

/* grow: sometimes the source does, so that a delta does it to the replica. */
static void grow(struct source *source, uint64_t *random)
{
	struct err err = {0};
	struct tagvol *tv = &source->volume;
	if (random_below(random, 4) > 0 || tv->sectors + 8 > TAGVOL_SECTORS)
		return;
	tv->sectors += 1 + (uint32_t)random_below(random, 8);
	assert_int_equal(dvol_resize(tv->vol, (uint64_t)tv->sectors * DVOL_SECTOR, &err), 0);
}

/* A delta is there wholly or not at all; and a seed. */
static void test_delta(void **unused)
{
	(void)unused;
	struct load *load = load_begin();
	struct source *source = calloc(1, sizeof(*source));
	struct tagvol *tv = load->list[0];
	assert_non_null(source);
	load->count = 1;
	while (load->states < wanted()) {
		struct err err = {0};
		make_replica(load, source);
		for (int i = 0; i < 7; i++) {
			grow(source, &load->random);
			const struct tagvol_epoch *epoch = next_epoch(source, &load->pc.disk, &load->random);
			powercut_begin(&load->pc);
			tagvol_apply(tv, "delta", epoch);
			load->states += tagvol_cuts(&load->pc, load->list, 1, 24, &load->random);
			load->step++;
			tagvol_sure(tv);
			powercut_settle(&load->pc);
			/* With digests the next delta's content is proven, in the middle of the apply. */
			if (random_below(&load->random, 3) == 0) {
				tagvol_do(tv, &load->pc.disk, TAGVOL_DIGEST, &load->random);
				cut(load);
			}
			/* Not only at the third: a crash may have undone the delete. */
			if (tv->nepochs >= 3) {
				tv->doubt.deleting = &tv->epochs[random_below(&load->random, 2)];
				assert_int_equal(dvol_epoch_delete(tv->vol, tv->doubt.deleting->id, &err), 0);
				cut(load);
			}
		}
		drop_replica(load, source);
	}
	print_message("%llu states of %llu steps\n", (unsigned long long)load->states,
		      (unsigned long long)load->step);
	powercut_free(&load->pc);
	free(source);
	free(load);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_volume),
	    cmocka_unit_test(test_beside_checkpoint),
	    cmocka_unit_test(test_clone),
	    cmocka_unit_test(test_delta),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
