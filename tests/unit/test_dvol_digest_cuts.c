/* Power cuts in digest passes, and in deletes that take the digest tree elsewhere: what is verified then is right; the next
 * digest gives the root of the epoch's content, and hashes no more than what changed since the epoch at which the digests
 * were.  $DROVER_TEST_SEED repeats a run; $DROVER_POWERCUTS is the number of states. */
#include "tests/lib/dvolkit.h"
#include "tests/lib/powercut.h"
#include "tests/lib/random.h"
#include "tests/lib/test.h"

#include <stdlib.h>
#include <string.h>

#define PATH "vol"
enum { BLOCKS = 600, EPOCHS = 5, STATES = 600, CUTS = 8 };

struct epoch {
	struct dvol_id id;
	uint8_t bytes[BLOCKS]; /* 0: discarded */
	uint8_t root[DVOL_ROOT];
	uint64_t changed; /* blocks, since the epoch before */
};

struct sim {
	struct powercut pc;
	struct dvol *vol;
	uint64_t random, states, step;
	uint8_t now[BLOCKS];
	struct epoch epochs[EPOCHS];
	size_t nepochs;
	uint64_t changed;             /* blocks in each epoch, since the one at which the digests are */
	uint64_t carried;             /* of deleted epochs that had no next one */
	const struct epoch *deleting; /* it may be there still, or not */
};

static void fail_sim(const struct sim *s, const char *what, const struct err *err)
{
	fail_msg("step %llu, state %llu: %s%s%s", (unsigned long long)s->step, (unsigned long long)s->states,
		 what, err != NULL ? ": " : "", err != NULL ? err->text : "");
}

/* fresh_root: of a new volume that never was anything else. */
static void fresh_root(struct epoch *epoch)
{
	struct memdisk disk = {0};
	struct dvol *vol = kit_volume(&disk, "fresh", BLOCKS, 0);
	for (uint64_t block = 0; block < BLOCKS; block++)
		if (epoch->bytes[block] != 0)
			kit_fill(vol, block, epoch->bytes[block]);
	kit_root(vol, kit_close_epoch(vol), epoch->root);
	dvol_close(vol, NULL);
	memdisk_free(&disk);
}

/* verify_all: the epochs that must be there; those without a root cannot be. */
static void verify_all(struct sim *s)
{
	for (size_t i = 0; i < s->nepochs; i++) {
		struct err err = {0};
		struct dvol_bad_block *bad = NULL;
		size_t nbad = 0;
		if (&s->epochs[i] == s->deleting)
			continue;
		struct dvol *epoch = kit_open(&s->pc.cut, PATH, s->epochs[i].id);
		if (dvol_verify(epoch, NULL, &bad, &nbad, NULL, &err) < 0 && err.kind != ERR_STATE)
			fail_sim(s, "verify", &err);
		if (nbad > 0)
			fail_sim(s, "a digest is wrong", NULL);
		free(bad);
		dvol_close(epoch, NULL);
	}
}

static void check(struct sim *s)
{
	struct err err = {0};
	struct kit_reads reads = {0};
	uint8_t root[DVOL_ROOT];
	s->states++;
	struct dvol *vol = kit_open(&s->pc.cut, PATH, (struct dvol_id){0});
	verify_all(s);
	for (size_t i = 0; i < s->nepochs; i++)
		if (&s->epochs[i] != s->deleting)
			kit_count(&s->pc.cut, &reads, PATH, s->epochs[i].id);
	for (size_t i = s->nepochs; i-- > 0;) {
		if (&s->epochs[i] == s->deleting)
			continue;
		if (dvol_digest(vol, s->epochs[i].id, root, &err) < 0)
			fail_sim(s, "digest", &err);
		if (memcmp(root, s->epochs[i].root, DVOL_ROOT) != 0)
			fail_sim(s, "a root is not that of the epoch's content", NULL);
	}
	if (kit_count_end(&s->pc.cut, &reads) > s->changed)
		fail_sim(s, "a digest hashed more than what changed", NULL);
	verify_all(s);
	if (dvol_close(vol, &err) < 0)
		fail_sim(s, "close", &err);
}

static void cuts(struct sim *s)
{
	for (int i = 0; i < CUTS; i++) {
		powercut_make(&s->pc, &s->random);
		check(s);
	}
	s->step++;
}

static void one_epoch(struct sim *s)
{
	struct err err = {0};
	bool touched[BLOCKS] = {false};
	struct epoch *epoch = &s->epochs[s->nepochs++];
	uint64_t changed = 0;
	for (uint64_t writes = 1 + random_below(&s->random, 12); writes > 0; writes--) {
		uint64_t block = random_below(&s->random, BLOCKS);
		changed += !touched[block];
		touched[block] = true;
		s->now[block] = (uint8_t)random_below(&s->random, 4);
		if (s->now[block] != 0)
			kit_fill(s->vol, block, s->now[block]);
		else
			assert_int_equal(dvol_discard(s->vol, block * DVOL_BLOCK, DVOL_BLOCK, &err), 0);
	}
	epoch->id = kit_close_epoch(s->vol);
	memcpy(epoch->bytes, s->now, sizeof(epoch->bytes));
	fresh_root(epoch);
	s->changed += changed;
	epoch->changed = changed + s->carried;
	s->carried = 0;
}

/* delete: an epoch where the tree is, or on its way from or to, perhaps. */
static void delete (struct sim *s)
{
	struct err err = {0};
	size_t at = random_below(&s->random, s->nepochs);
	s->deleting = &s->epochs[at];
	/* What changed in it changed in the next one then; in one that is still to come, when it was the newest: then the
	 * digests go back before it. */
	if (at + 1 < s->nepochs) {
		s->epochs[at + 1].changed += s->deleting->changed;
	} else {
		s->carried += s->deleting->changed;
		s->changed += s->deleting->changed;
	}
	if (dvol_epoch_delete(s->vol, s->deleting->id, &err) < 0)
		fail_sim(s, "delete", &err);
	cuts(s);
	memmove(&s->epochs[at], &s->epochs[at + 1], (--s->nepochs - at) * sizeof(s->epochs[0]));
	s->deleting = NULL;
	powercut_settle(&s->pc);
}

/* go_on: with what a cut left, before anything was done about it. */
static void go_on(struct sim *s)
{
	powercut_make(&s->pc, &s->random);
	dvol_close(s->vol, NULL);
	powercut_continue(&s->pc);
	s->vol = kit_open(&s->pc.disk, PATH, (struct dvol_id){0});
}

static void test_cuts(void **unused)
{
	(void)unused;
	struct err err = {0};
	const char *more = getenv("DROVER_POWERCUTS");
	uint64_t wanted = more != NULL ? strtoull(more, NULL, 10) : STATES;
	struct sim *s = calloc(1, sizeof(*s));
	assert_non_null(s);
	s->random = random_begin();
	s->vol = kit_volume(&s->pc.disk, PATH, BLOCKS, 0);
	powercut_begin(&s->pc);
	while (s->states < wanted) {
		uint8_t root[DVOL_ROOT];
		while (s->nepochs == EPOCHS || (s->nepochs > 1 && random_below(&s->random, 3) == 0))
			delete (s);
		one_epoch(s);
		powercut_settle(&s->pc);
		if (random_below(&s->random, 4) == 0)
			continue; /* a later digest goes over more than one */
		if (dvol_digest(s->vol, s->epochs[s->nepochs - 1].id, root, &err) < 0)
			fail_sim(s, "digest", &err);
		cuts(s);
		if (random_below(&s->random, 2) == 0) {
			go_on(s);
			continue;
		}
		s->changed = 0;
		powercut_settle(&s->pc);
	}
	print_message("%llu states of %llu steps\n", (unsigned long long)s->states,
		      (unsigned long long)s->step);
	assert_int_equal(dvol_close(s->vol, &err), 0);
	powercut_free(&s->pc);
	free(s);
}

int main(void)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test(test_cuts)};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
