/* Power cuts at every moment of a random load.  The disk under the volume is a model: what was written before the last
 * completed sync is there; of what came later any subset of sectors, in any order.  Each such state must open without
 * repair, hold every flushed sector and every closed epoch exactly, and check clean, also after a writable open has
 * finished what the cut interrupted.  Cuts in digest passes and in deletes that take the tree elsewhere: the next digest is right,
 * and hashes no more than what changed since the last one.  $DROVER_TEST_SEED repeats a run; $DROVER_POWERCUTS is the number of states. */
#include "tests/lib/dvolkit.h"
#include "tests/lib/random.h"
#include "tests/lib/test.h"

#include <stdlib.h>
#include <string.h>

#define PATH "vol"
enum {
	BLOCKS = 80,
	PER_BLOCK = DVOL_BLOCK / DVOL_SECTOR,
	SECTORS = BLOCKS * PER_BLOCK,
	EPOCHS_MAX = 5,
	SINCE = 12
};

/* A sector's content is a tag, repeated; 0 is zeroes. */
struct epoch {
	struct dvol_id id;
	uint32_t tags[SECTORS];
	/* Of the second test: what the root must be; blocks that changed between the epoch before and this one. */
	uint8_t root[DVOL_ROOT];
	uint64_t changed;
};

struct sim {
	struct memdisk disk, cut;
	struct memdisk_file base; /* as it was at the last sync before the present step */
	struct dvol *vol;
	uint64_t random, states, wanted, step;
	uint32_t tag;
	uint32_t now[SECTORS], flushed[SECTORS];
	uint32_t since[SECTORS][SINCE]; /* what was written since the flush */
	uint8_t nsince[SECTORS];
	struct epoch epochs[EPOCHS_MAX];
	size_t nepochs;
	uint64_t changed; /* of the second test: since the epoch at which the digests are */
	/* What the present step may or may not have done already. */
	const struct epoch *closing, *deleting, *rolling;
};

static void fail_sim(const struct sim *s, const char *what, const struct err *err)
{
	fail_msg("step %llu, state %llu: %s%s%s", (unsigned long long)s->step, (unsigned long long)s->states,
		 what, err != NULL ? ": " : "", err != NULL ? err->text : "");
}

static uint64_t pick(struct sim *s, uint64_t below)
{
	return random_next(&s->random) % below;
}

static void report(void *context, const char *text)
{
	(void)context;
	print_message("check: %s\n", text);
}

static struct dvol *open_on(struct memdisk *disk, bool writable, struct dvol_id epoch, struct err *err)
{
	struct dvol_open_options options = {.writable = writable,
					    .epoch = epoch,
					    .compact = disk->operations % 2 == 0,
					    .direct = writable && disk->operations % 3 == 0,
					    .cache_pages = 8,
					    .files = &memdisk_ops,
					    .files_context = disk};
	return dvol_open(PATH, &options, err);
}

/* read_tags: the whole volume; a sector whose bytes are not one tag repeated fails the test. */
static void read_tags(struct sim *s, struct dvol *vol, uint32_t tags[SECTORS])
{
	static uint32_t data[SECTORS][DVOL_SECTOR / 4];
	struct err err = {0};
	if (dvol_read(vol, data, sizeof(data), 0, &err) < 0)
		fail_sim(s, "read", &err);
	for (size_t i = 0; i < SECTORS; i++) {
		tags[i] = data[i][0];
		if (memcmp(data[i], (const uint8_t *)data[i] + 4, DVOL_SECTOR - 4) != 0)
			fail_sim(s, "a sector was torn", NULL);
	}
}

static void check_head(struct sim *s, struct dvol *vol)
{
	uint32_t tags[SECTORS];
	read_tags(s, vol, tags);
	if (s->rolling != NULL && memcmp(tags, s->rolling->tags, sizeof(tags)) == 0)
		return;
	for (size_t i = 0; i < SECTORS; i++) {
		bool good = tags[i] == s->flushed[i];
		for (size_t n = 0; n < s->nsince[i] && !good; n++)
			good = tags[i] == s->since[i][n];
		if (!good)
			fail_msg("step %llu, state %llu: sector %zu has tag %u, flushed was %u",
				 (unsigned long long)s->step, (unsigned long long)s->states, i, tags[i],
				 s->flushed[i]);
	}
}

static void check_epoch(struct sim *s, const struct epoch *epoch, bool must)
{
	struct err err = {0};
	uint32_t tags[SECTORS];
	struct dvol *vol = open_on(&s->cut, false, epoch->id, &err);
	if (vol == NULL && (must || err.kind != ERR_STATE))
		fail_sim(s, "a closed epoch does not open", &err);
	if (vol == NULL)
		return;
	read_tags(s, vol, tags);
	if (memcmp(tags, epoch->tags, sizeof(tags)) != 0)
		fail_sim(s, "a closed epoch is not what it was", NULL);
	/* Where there are digests they are right; before the first pass, and during one, there are none. */
	struct dvol_bad_block *bad = NULL;
	size_t nbad = 0;
	if (dvol_verify(vol, NULL, &bad, &nbad, NULL, &err) < 0 && err.kind != ERR_STATE)
		fail_sim(s, "verify", &err);
	if (nbad > 0)
		fail_sim(s, "a digest is wrong", NULL);
	free(bad);
	dvol_close(vol, NULL);
}

static void check_epochs(struct sim *s)
{
	for (size_t i = 0; i < s->nepochs; i++)
		check_epoch(s, &s->epochs[i], &s->epochs[i] != s->deleting && &s->epochs[i] != s->closing);
}

static void check_state(struct sim *s)
{
	struct err err = {0};
	struct dvol_info info;
	s->states++;
	struct dvol *vol = open_on(&s->cut, false, (struct dvol_id){0}, &err);
	if (vol == NULL)
		fail_sim(s, "does not open", &err);
	check_head(s, vol);
	dvol_close(vol, NULL);
	check_epochs(s);
	vol = open_on(&s->cut, true, (struct dvol_id){0}, &err);
	if (vol == NULL)
		fail_sim(s, "does not open for writing", &err);
	if (dvol_check(vol, &info, report, NULL, &err) < 0)
		fail_sim(s, "check", &err);
	if (info.errors != 0)
		fail_sim(s, "check found errors", NULL);
	check_head(s, vol);
	check_epochs(s);
	if (dvol_close(vol, &err) < 0)
		fail_sim(s, "close", &err);
}

/* apply_some: an event of the time after the last sync: not at all, whole, or some of its sectors. */
static void apply_some(struct sim *s, struct memdisk_file *file, const struct memdisk_event *event)
{
	uint64_t mode = pick(s, 4);
	if (mode == 0)
		return;
	if (mode == 1 || event->kind != MEMDISK_WRITE) {
		memdisk_do(file, event, 0, event->len);
		return;
	}
	for (uint64_t from = 0, to; from < event->len; from = to) {
		to = (event->offset + from) / DVOL_SECTOR * DVOL_SECTOR + DVOL_SECTOR - event->offset;
		to = to < event->len ? to : event->len;
		if (pick(s, 2))
			memdisk_do(file, event, from, to);
	}
}

/* make_cut: the disk as a power cut after the first k events may leave it. */
static void make_cut(struct sim *s, size_t k)
{
	const struct memdisk_event *events = s->disk.events;
	size_t sync = k;
	while (sync > 0 && events[sync - 1].kind != MEMDISK_SYNC)
		sync--;
	if (memdisk_file(&s->cut, PATH) != NULL)
		memdisk_file(&s->cut, PATH)->size = 0;
	memdisk_put(&s->cut, PATH, s->base.data, s->base.size);
	struct memdisk_file *file = memdisk_file(&s->cut, PATH);
	for (size_t i = 0; i < sync; i++)
		memdisk_do(file, &events[i], 0, events[i].len);
	size_t n = k - sync, order[512];
	n = n < 512 ? n : 512;
	for (size_t i = 0; i < n; i++) {
		size_t other = pick(s, i + 1);
		order[i] = order[other];
		order[other] = sync + i;
	}
	for (size_t i = 0; i < n; i++)
		apply_some(s, file, &events[order[i]]);
}

/* settle: what was synced in this step becomes the base; the rest stays open. */
static void settle(struct sim *s)
{
	struct memdisk *disk = &s->disk;
	size_t sync = disk->nevents;
	while (sync > 0 && disk->events[sync - 1].kind != MEMDISK_SYNC)
		sync--;
	for (size_t i = 0; i < sync; i++) {
		memdisk_do(&s->base, &disk->events[i], 0, disk->events[i].len);
		free(disk->events[i].data);
	}
	memmove(disk->events, disk->events + sync, (disk->nevents - sync) * sizeof(*disk->events));
	disk->nevents -= sync;
}

static void base_from(struct sim *s, const struct memdisk_file *file)
{
	s->base.data = realloc(s->base.data, file->size);
	assert_non_null(s->base.data);
	memcpy(s->base.data, file->data, file->size);
	s->base.size = s->base.cap = file->size;
}

static void set_flushed(struct sim *s)
{
	memcpy(s->flushed, s->now, sizeof(s->now));
	memset(s->nsince, 0, sizeof(s->nsince));
}

static int do_flush(struct sim *s, struct err *err)
{
	return dvol_flush(s->vol, err);
}

/* note: sector i is about to get a tag.  The list is full rarely; then all is flushed first. */
static void note(struct sim *s, size_t i, uint32_t tag)
{
	s->now[i] = tag;
	s->since[i][s->nsince[i]++] = tag;
}

static int do_write(struct sim *s, size_t first, size_t count, uint32_t tag, struct err *err)
{
	static uint32_t data[SECTORS][DVOL_SECTOR / 4];
	for (size_t i = 0; i < count; i++) {
		for (size_t n = 0; n < DVOL_SECTOR / 4; n++)
			data[i][n] = tag;
		note(s, first + i, tag);
	}
	return dvol_write(s->vol, data, count * DVOL_SECTOR, first * DVOL_SECTOR, err);
}

static int do_discard(struct sim *s, size_t block, size_t count, struct err *err)
{
	for (size_t i = block * PER_BLOCK; i < (block + count) * PER_BLOCK; i++)
		note(s, i, 0);
	return dvol_discard(s->vol, block * DVOL_BLOCK, count * DVOL_BLOCK, err);
}

static int do_close(struct sim *s, struct err *err)
{
	static uint64_t number;
	struct epoch *epoch = &s->epochs[s->nepochs++];
	number++;
	epoch->id = (struct dvol_id){.term = 7, .number = number};
	memcpy(epoch->tags, s->now, sizeof(s->now));
	s->closing = epoch;
	return dvol_epoch_close(s->vol, &epoch->id, NULL, err);
}

static bool room_for_notes(const struct sim *s)
{
	for (size_t i = 0; i < SECTORS; i++)
		if (s->nsince[i] == SINCE)
			return false;
	return true;
}

/* one_step: returns what is flushed when it is done: nothing or everything. */
static bool one_step(struct sim *s, struct err *err, int *result)
{
	uint64_t what = pick(s, 100);
	size_t at;
	if (!room_for_notes(s) || what < 20) {
		*result = do_flush(s, err);
		return true;
	}
	if (what < 70) {
		bool whole = pick(s, 2);
		size_t first = pick(s, SECTORS), count = 1 + pick(s, pick(s, 6) ? 24 : 300);
		first = whole ? first / PER_BLOCK * PER_BLOCK : first;
		count = whole ? (count + PER_BLOCK - 1) / PER_BLOCK * PER_BLOCK : count;
		*result =
		    do_write(s, first, count < SECTORS - first ? count : SECTORS - first, ++s->tag, err);
		return false;
	}
	if (what < 78) {
		size_t block = pick(s, BLOCKS), count = 1 + pick(s, 12);
		*result = do_discard(s, block, count < BLOCKS - block ? count : BLOCKS - block, err);
		return false;
	}
	if (what < 88 && s->nepochs < EPOCHS_MAX) {
		*result = do_close(s, err);
		return true;
	}
	if (what < 95 && s->nepochs > 0) {
		at = pick(s, s->nepochs);
		s->deleting = &s->epochs[at];
		*result = dvol_epoch_delete(s->vol, s->deleting->id, err);
		return false;
	}
	if (what < 97 && s->nepochs > 0) {
		uint8_t root[DVOL_ROOT];
		*result = dvol_digest(s->vol, s->epochs[pick(s, s->nepochs)].id, root, err);
		return false;
	}
	if (what < 98 && s->nepochs > 0) {
		s->rolling = &s->epochs[s->nepochs - 1];
		*result = dvol_rollback(s->vol, s->rolling->id, err);
		if (*result == 0)
			memcpy(s->now, s->rolling->tags, sizeof(s->now));
		return false;
	}
	*result = dvol_close(s->vol, err);
	if (*result == 0 && (s->vol = open_on(&s->disk, true, (struct dvol_id){0}, err)) == NULL)
		*result = -1;
	return true;
}

static void finish_step(struct sim *s, bool flushed)
{
	if (flushed || s->rolling != NULL)
		set_flushed(s);
	if (s->deleting != NULL) {
		size_t at = (size_t)(s->deleting - s->epochs);
		memmove(&s->epochs[at], &s->epochs[at + 1], (s->nepochs - at - 1) * sizeof(struct epoch));
		s->nepochs--;
	}
	s->closing = s->deleting = s->rolling = NULL;
}

/* go_on: the machine comes up again on the disk that the last cut left. */
static void go_on(struct sim *s)
{
	struct err err = {0};
	struct dvol_epoch *list;
	size_t count, kept = 0;
	dvol_close(s->vol, NULL);
	memdisk_forget(&s->disk);
	memdisk_file(&s->disk, PATH)->size = 0;
	memdisk_put(&s->disk, PATH, memdisk_file(&s->cut, PATH)->data, memdisk_file(&s->cut, PATH)->size);
	s->vol = open_on(&s->disk, true, (struct dvol_id){0}, &err);
	if (s->vol == NULL)
		fail_sim(s, "open after a cut", &err);
	memdisk_forget(&s->disk);
	base_from(s, memdisk_file(&s->disk, PATH));
	read_tags(s, s->vol, s->now);
	assert_int_equal(dvol_epochs(s->vol, &list, &count, &err), 0);
	for (size_t i = 0; i < s->nepochs; i++) {
		bool there = false;
		for (size_t n = 0; n < count; n++)
			there = there || list[n].id.number == s->epochs[i].id.number;
		if (there)
			s->epochs[kept++] = s->epochs[i];
	}
	free(list);
	s->nepochs = kept;
	s->closing = s->deleting = s->rolling = NULL;
	set_flushed(s);
}

static void begin_sim(struct sim *s, uint64_t wanted)
{
	struct err err = {0};
	s->wanted = wanted;
	s->random = random_begin();
	struct dvol_create_options options = {.size_bytes = (uint64_t)SECTORS * DVOL_SECTOR,
					      .journal_blocks = 16,
					      .files = &memdisk_ops,
					      .files_context = &s->disk};
	assert_int_equal(dvol_create(PATH, &options, &err), 0);
	s->vol = open_on(&s->disk, true, (struct dvol_id){0}, &err);
	assert_non_null(s->vol);
	base_from(s, memdisk_file(&s->disk, PATH));
	s->disk.recording = true;
}

static void end_sim(struct sim *s)
{
	struct err err = {0};
	assert_int_equal(dvol_close(s->vol, &err), 0);
	print_message("%llu states of %llu steps\n", (unsigned long long)s->states,
		      (unsigned long long)s->step);
	memdisk_free(&s->disk);
	memdisk_free(&s->cut);
	free(s->base.data);
	free(s);
}

static uint64_t states_wanted(void)
{
	const char *more = getenv("DROVER_POWERCUTS");
	return more != NULL ? strtoull(more, NULL, 10) : 10000;
}

static void test_power_cuts(void **unused)
{
	(void)unused;
	struct err err = {0};
	struct sim *s = calloc(1, sizeof(*s));
	assert_non_null(s);
	begin_sim(s, states_wanted());
	for (; s->states < s->wanted; s->step++) {
		int result = 0;
		bool flushed = one_step(s, &err, &result);
		if (result < 0)
			fail_sim(s, "the load itself failed", &err);
		size_t cuts = s->disk.nevents < 12 ? s->disk.nevents / 2 + 1 : 6;
		for (size_t i = 0; i < cuts; i++) {
			make_cut(s, pick(s, s->disk.nevents + 1));
			check_state(s);
		}
		if (s->step % 40 == 39) {
			go_on(s);
			continue;
		}
		finish_step(s, flushed);
		settle(s);
	}
	end_sim(s);
}

/* ---- digests ---- */

/* fresh_root: of a new volume into which an epoch's bytes are written. */
static void fresh_root(struct epoch *epoch)
{
	static uint32_t data[SECTORS][DVOL_SECTOR / 4];
	struct err err = {0};
	struct memdisk disk = {0};
	struct dvol *vol = kit_volume(&disk, "fresh", BLOCKS, 0);
	for (size_t i = 0; i < SECTORS; i++)
		for (size_t n = 0; n < DVOL_SECTOR / 4; n++)
			data[i][n] = epoch->tags[i];
	assert_int_equal(dvol_write(vol, data, sizeof(data), 0, &err), 0);
	kit_root(vol, kit_close_epoch(vol), epoch->root);
	dvol_close(vol, NULL);
	memdisk_free(&disk);
}

/* check_digests: after the cut, of a volume that is opened again: the newest epoch's root is right and cheap, and so are all
 * others'. */
static void check_digests(struct sim *s)
{
	struct err err = {0};
	struct kit_reads reads = {0};
	uint8_t root[DVOL_ROOT];
	s->states++;
	struct dvol *vol = open_on(&s->cut, true, (struct dvol_id){0}, &err);
	if (vol == NULL)
		fail_sim(s, "does not open for writing", &err);
	check_epochs(s);
	for (size_t i = 0; i < s->nepochs; i++)
		if (&s->epochs[i] != s->deleting)
			kit_count(&s->cut, &reads, PATH, s->epochs[i].id);
	for (size_t i = s->nepochs; i-- > 0;) {
		if (&s->epochs[i] == s->deleting)
			continue;
		if (dvol_digest(vol, s->epochs[i].id, root, &err) < 0)
			fail_sim(s, "digest", &err);
		if (memcmp(root, s->epochs[i].root, DVOL_ROOT) != 0)
			fail_sim(s, "a root is not that of the epoch's content", NULL);
	}
	if (kit_count_end(&s->cut, &reads) > s->changed)
		fail_sim(s, "a digest hashed more than what changed", NULL);
	check_epochs(s);
	if (dvol_close(vol, &err) < 0)
		fail_sim(s, "close", &err);
}

static void cuts_in_step(struct sim *s)
{
	for (size_t i = 0; i < 8; i++) {
		make_cut(s, pick(s, s->disk.nevents + 1));
		check_digests(s);
	}
	s->step++;
}

/* one_epoch: some writes, and a close. */
static void one_epoch(struct sim *s)
{
	struct err err = {0};
	bool touched[BLOCKS] = {false};
	uint64_t changed = 0;
	for (uint64_t writes = 1 + pick(s, 4); writes > 0; writes--) {
		size_t block = pick(s, BLOCKS), count = 1 + pick(s, 3);
		count = count < BLOCKS - block ? count : BLOCKS - block;
		for (size_t i = 0; i < count; i++) {
			changed += !touched[block + i];
			touched[block + i] = true;
		}
		int result = pick(s, 4) == 0
				 ? do_discard(s, block, count, &err)
				 : do_write(s, block * PER_BLOCK, count * PER_BLOCK, ++s->tag, &err);
		assert_int_equal(result, 0);
	}
	assert_int_equal(do_close(s, &err), 0);
	s->changed += changed;
	s->epochs[s->nepochs - 1].changed = changed;
	fresh_root(&s->epochs[s->nepochs - 1]);
	finish_step(s, true);
	settle(s);
}

static void test_cuts_in_passes(void **unused)
{
	(void)unused;
	struct err err = {0};
	uint8_t root[DVOL_ROOT];
	struct sim *s = calloc(1, sizeof(*s));
	assert_non_null(s);
	begin_sim(s, states_wanted() / 10);
	while (s->states < s->wanted) {
		while (s->nepochs == EPOCHS_MAX || (s->nepochs > 1 && pick(s, 3) == 0)) {
			/* Where the tree is, or on its way from or to. */
			size_t at = pick(s, s->nepochs);
			s->deleting = &s->epochs[at];
			/* What changed in it changed in the next one then, or since the one before. */
			*(at + 1 < s->nepochs ? &s->epochs[at + 1].changed : &s->changed) +=
			    s->deleting->changed;
			assert_int_equal(dvol_epoch_delete(s->vol, s->deleting->id, &err), 0);
			cuts_in_step(s);
			finish_step(s, false);
			settle(s);
		}
		one_epoch(s);
		if (pick(s, 4) == 0)
			continue; /* a pass later goes over two of them */
		assert_int_equal(dvol_digest(s->vol, s->epochs[s->nepochs - 1].id, root, &err), 0);
		cuts_in_step(s);
		if (pick(s, 2) ==
		    0) { /* the last cut is what there is now, before anything was done about it */
			make_cut(s, pick(s, s->disk.nevents + 1));
			go_on(s);
			continue;
		}
		s->changed = 0;
		settle(s);
	}
	end_sim(s);
}

int main(void)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test(test_power_cuts),
					   cmocka_unit_test(test_cuts_in_passes)};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
