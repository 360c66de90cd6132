/* Every system call under every operation fails: the first, the second, and so on until the operations run through
 * without meeting the failure; once, for good, for want of space, and by doing half.  The error names the file and says
 * what the system said; a handle whose sync failed takes no more changes; the volume opens at its last flush, has its
 * closed epochs and checks clean; nothing is left of what could not be made.  $DROVER_FAULT_SEEDS: with how many different
 * sequences of changes. */
#include "tests/lib/random.h"
#include "tests/lib/tagvol.h"
#include "tests/lib/test.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

enum { SECTORS = 205, SEED = 7, SEEDS = 4 };

struct failure {
	const char *name;
	int code;
	bool sticky, half;
};

/* A scene: what is there when the calls begin to fail, and what is done then. */
struct scene {
	struct memdisk prepared, disk;
	struct tagvol *was, *tv; /* the volume at first, and as it goes on */
	struct err err;
	uint64_t seed, random;
	bool (*act)(struct scene *s);
	const char *making; /* a file that is there wholly or not at all */
};

static struct scene *scene_begin(bool (*act)(struct scene *s))
{
	struct scene *s = calloc(1, sizeof(*s));
	assert_non_null(s);
	s->was = calloc(1, sizeof(*s->was));
	s->tv = calloc(1, sizeof(*s->tv));
	assert_non_null(s->was);
	assert_non_null(s->tv);
	s->was->path = "vol";
	s->seed = SEED;
	s->random = random_from(s->seed);
	s->act = act;
	return s;
}

static void scene_end(struct scene *s)
{
	memdisk_free(&s->prepared);
	memdisk_free(&s->disk);
	free(s->was);
	free(s->tv);
	free(s);
}

/* prepare: a volume with some epochs. */
static void prepare(struct scene *s, const uint8_t *lineage, const enum tagvol_what *steps, size_t count)
{
	struct err err = {0};
	tagvol_create(s->was, &s->prepared, SECTORS,
		      (struct dvol_create_options){.journal_blocks = 16, .compress = 1, .lineage = lineage});
	tagvol_open(s->was, &s->prepared, &s->random);
	for (size_t i = 0; i < count; i++) {
		tagvol_do(s->was, &s->prepared, steps[i], &s->random);
		tagvol_sure(s->was);
	}
	assert_int_equal(dvol_close(s->was->vol, &err), 0);
	tagvol_set_flushed(s->was);
	s->was->vol = NULL;
}

static const enum tagvol_what some_epochs[] = {
    TAGVOL_WRITE, TAGVOL_WRITE, TAGVOL_CLOSE_EPOCH, TAGVOL_WRITE, TAGVOL_DISCARD,     TAGVOL_CLOSE_EPOCH,
    TAGVOL_WRITE, TAGVOL_FLUSH, TAGVOL_WRITE,       TAGVOL_WRITE, TAGVOL_CLOSE_EPOCH, TAGVOL_WRITE};
enum { SOME = sizeof(some_epochs) / sizeof(*some_epochs) };

static void prepare_digested(struct scene *s, const uint8_t *lineage)
{
	struct err err = {0};
	uint8_t root[DVOL_ROOT];
	prepare(s, lineage, some_epochs, SOME);
	tagvol_open(s->was, &s->prepared, &s->random);
	assert_int_equal(dvol_digest(s->was->vol, s->was->epochs[2].id, root, &err), 0);
	assert_int_equal(dvol_close(s->was->vol, &err), 0);
	s->was->vol = NULL;
}

/* ---- what must be true after a failure ---- */
static void check_text(const struct scene *s, const struct failure *failure)
{
	const char *text = s->err.text;
	bool file = strstr(text, "vol") != NULL || strstr(text, "delta") != NULL;
	bool why = strstr(text, strerror(failure->code)) != NULL ||
		   (failure->sticky && strstr(text, "an earlier write failed") != NULL);
	if (!file || !why)
		fail_msg("the error does not say what and where: \"%s\"", text);
}

/* check_refused: a handle that failed takes no change, and writes nothing more. */
static void check_refused(struct scene *s)
{
	static const uint8_t data[DVOL_BLOCK];
	struct err err = {0};
	struct dvol *vol = s->tv->vol;
	struct dvol_id id = {.term = 7, .number = 1};
	uint8_t root[DVOL_ROOT];
	memdisk_forget(&s->disk);
	s->disk.recording = true;
	int results[] = {dvol_flush(vol, &err),
			 dvol_write(vol, data, sizeof(data), 0, &err),
			 dvol_write_cold(vol, data, sizeof(data), 0, &err),
			 dvol_discard(vol, 0, DVOL_BLOCK, &err),
			 dvol_write_zeroes(vol, 0, DVOL_BLOCK, &err),
			 dvol_resize(vol, dvol_size(vol) + DVOL_BLOCK, &err),
			 dvol_epoch_close(vol, NULL, NULL, &err),
			 dvol_epoch_delete(vol, id, &err),
			 dvol_rollback(vol, id, &err),
			 dvol_pin(vol, id, "x", &err),
			 dvol_digest(vol, id, root, &err),
			 dvol_pack(vol, 1, NULL, &err),
			 dvol_apply(vol, "delta", &err)};
	for (size_t i = 0; i < sizeof(results) / sizeof(*results); i++)
		if (results[i] == 0)
			fail_msg("a failed handle took change %zu", i);
	assert_int_equal(err.kind, ERR_STATE);
	assert_non_null(strstr(err.text, "an earlier write failed"));
	assert_int_equal(dvol_close(vol, &err), -1);
	assert_int_equal(s->disk.nevents, 0);
	s->disk.recording = false;
}

/* flushed_after: the flush after the failure succeeded: all is durable but what the failed step was about. */
static void flushed_after(struct tagvol *tv)
{
	for (size_t i = 0; i < TAGVOL_SECTORS; i++) {
		tv->flushed[i] = tv->before[i];
		tv->since[i][0] = tv->now[i];
		tv->nsince[i] = tv->now[i] != tv->before[i];
	}
}

/* must_fail: what the file holds is not known any longer, so nothing may build upon it. */
static bool must_fail(const struct scene *s)
{
	static const char *const what[] = {"journal", "metadata", "superblock",
					   "catalog", "history",  "stable"};
	bool metadata = strcmp(s->disk.failed, "sync") == 0 && strncmp(s->err.text, "vol", 3) == 0;
	for (size_t i = 0; i < sizeof(what) / sizeof(*what); i++)
		metadata = metadata ||
			   (strcmp(s->disk.failed, "write") == 0 && strstr(s->err.text, what[i]) != NULL);
	return metadata;
}

static void after_failure(struct scene *s, const struct failure *failure)
{
	struct err err = {0};
	struct tagvol *tv = s->tv;
	check_text(s, failure);
	s->disk.fail_in = 0;
	if (tv->vol != NULL && dvol_flush(tv->vol, &err) == 0) {
		if (must_fail(s))
			fail_msg("the handle goes on: %s", s->err.text);
		if (tv->doubt.rolling == NULL && !tv->doubt.applying)
			flushed_after(tv);
		(void)dvol_close(tv->vol, NULL);
	} else if (tv->vol != NULL) {
		check_refused(s);
	}
	if (s->making != NULL && memdisk_file(&s->disk, s->making) != NULL)
		fail_msg("%s was left behind: %s", s->making, s->err.text);
}

/* fail_at: the act with a failure at a call.  False when it ran through without meeting it. */
static bool fail_at(struct scene *s, const struct failure *failure, uint64_t point)
{
	memdisk_mirror(&s->disk, &s->prepared);
	*s->tv = *s->was;
	s->tv->fault = &s->err;
	s->err = (struct err){0};
	s->random = random_from(s->seed);
	s->disk.failures = s->disk.operations = 0;
	s->disk.fail_in = point;
	s->disk.fail_errno = failure->code;
	s->disk.fail_sticky = failure->sticky;
	s->disk.fail_short = failure->half;
	s->making = NULL;
	bool done = s->act(s), failed = s->disk.failures > 0;
	if (!done && (!failed || failure->half))
		fail_msg("%s at call %llu: %s", failure->name, (unsigned long long)point, s->err.text);
	if (!done)
		after_failure(s, failure);
	s->disk.fail_in = 0;
	if (done && s->tv->vol != NULL) {
		/* A failure that was no error, of a hole or a look ahead, leaves no trace. */
		int result = dvol_close(s->tv->vol, &s->err);
		if (result < 0)
			fail_msg("%s at call %llu: %s", failure->name, (unsigned long long)point,
				 s->err.text);
		tagvol_set_flushed(s->tv);
	}
	s->tv->fault = NULL;
	if (memdisk_file(&s->disk, s->tv->path) != NULL)
		tagvol_check(s->tv, &s->disk, &s->random);
	return failed;
}

static void fail_everywhere(struct scene *s)
{
	static const struct failure failures[] = {{.name = "once", .code = EIO},
						  {.name = "for good", .code = EIO, .sticky = true},
						  {.name = "full", .code = ENOSPC, .sticky = true},
						  {.name = "by half", .code = EIO, .half = true}};
	for (size_t i = 0; i < sizeof(failures) / sizeof(*failures); i++) {
		uint64_t point = 1;
		while (fail_at(s, &failures[i], point))
			point++;
		print_message("%s: %llu calls\n", failures[i].name, (unsigned long long)point - 1);
		assert_true(point > 10);
	}
	/* Nothing is ever done more than by half. */
	static const struct failure half = {.name = "all by half", .code = EIO, .sticky = true, .half = true};
	assert_true(fail_at(s, &half, 1));
	scene_end(s);
}

/* ---- the acts ---- */
static bool act_life(struct scene *s)
{
	static const enum tagvol_what steps[] = {
	    TAGVOL_WRITE,   TAGVOL_WRITE_COLD,   TAGVOL_FLUSH,       TAGVOL_CLOSE_EPOCH, TAGVOL_WRITE,
	    TAGVOL_DISCARD, TAGVOL_WRITE_ZEROES, TAGVOL_CLOSE_EPOCH, TAGVOL_DIGEST,      TAGVOL_WRITE,
	    TAGVOL_RESIZE,  TAGVOL_PIN,          TAGVOL_WRITE_COLD,  TAGVOL_CLOSE_EPOCH, TAGVOL_DIGEST,
	    TAGVOL_WRITE,   TAGVOL_PACK,         TAGVOL_WRITE,       TAGVOL_REOPEN,      TAGVOL_DELETE,
	    TAGVOL_DELETE,  TAGVOL_WRITE,        TAGVOL_FLUSH,       TAGVOL_ROLLBACK,    TAGVOL_WRITE,
	    TAGVOL_DISCARD, TAGVOL_PIN,          TAGVOL_DELETE,      TAGVOL_PACK,        TAGVOL_REOPEN};
	s->making = "vol";
	if (!tagvol_create(s->tv, &s->disk, SECTORS,
			   (struct dvol_create_options){.journal_blocks = 16, .compress = 1}))
		return false;
	s->making = NULL;
	if (!tagvol_open(s->tv, &s->disk, &s->random))
		return false;
	for (size_t i = 0; i < sizeof(steps) / sizeof(*steps); i++) {
		if (!tagvol_do(s->tv, &s->disk, steps[i], &s->random))
			return false;
		tagvol_sure(s->tv);
	}
	return true;
}

static void test_changes(void **unused)
{
	(void)unused;
	const char *more = getenv("DROVER_FAULT_SEEDS");
	uint64_t seeds = more != NULL ? strtoull(more, NULL, 10) : SEEDS;
	for (uint64_t i = 0; i < seeds; i++) {
		struct scene *s = scene_begin(act_life);
		s->seed = SEED + i;
		fail_everywhere(s);
	}
}

/* look_at: all that can be asked of a closed epoch. */
static bool look_at(struct scene *s, struct dvol *epoch, struct dvol_id first, struct dvol_id last)
{
	static uint8_t data[TAGVOL_SECTORS * DVOL_SECTOR];
	struct dvol_extent *list;
	struct dvol_map_extent *map;
	struct dvol_bad_block *bad = NULL;
	size_t count, nbad = 0;
	struct err *err = &s->err;
	if (dvol_read(epoch, data, dvol_size(epoch), 0, err) < 0 ||
	    dvol_changed(epoch, first, last, &list, &count, err) < 0)
		return false;
	free(list);
	if (dvol_changed(epoch, (struct dvol_id){0}, last, &list, &count, err) < 0)
		return false;
	free(list);
	if (dvol_map(epoch, 0, dvol_size(epoch), 1000, &map, &count, err) < 0)
		return false;
	free(map);
	if (dvol_verify(epoch, NULL, &bad, &nbad, NULL, err) < 0)
		return false;
	free(bad);
	/* What cannot be read is bad; nothing else is. */
	if (nbad > 0 && (s->disk.failures == 0 || strcmp(s->disk.failed, "read") != 0))
		fail_msg("blocks that are sound were found to be bad");
	return true;
}

static bool act_look(struct scene *s)
{
	struct dvol_open_options options = {.files = &memdisk_ops, .files_context = &s->disk};
	struct dvol_id first = s->was->epochs[0].id, last = s->was->epochs[2].id;
	struct dvol_info info;
	struct dvol_extent *list;
	size_t count;
	struct dvol *head = dvol_open("vol", &options, &s->err);
	options.epoch = last;
	struct dvol *epoch = head != NULL ? dvol_open("vol", &options, &s->err) : NULL;
	bool done = epoch != NULL && look_at(s, epoch, first, last) &&
		    dvol_check(head, &info, NULL, NULL, &s->err) == 0;
	if (done && info.errors != 0 && s->disk.failures == 0)
		fail_msg("check found errors");
	if (done && (done = dvol_compare(head, epoch, &list, &count, NULL, &s->err) == 0))
		free(list);
	if (done && (done = dvol_tree_compare(epoch, "deltatree", &list, &count, &s->err) == 0))
		free(list);
	options.epoch = first;
	struct dvol *other = done ? dvol_open("vol", &options, &s->err) : NULL;
	if (done && (done = other != NULL && dvol_compare(other, epoch, &list, &count, NULL, &s->err) == 0))
		free(list);
	dvol_close(other, NULL);
	dvol_close(epoch, NULL);
	dvol_close(head, NULL);
	return done;
}

static void test_looking(void **unused)
{
	(void)unused;
	struct scene *s = scene_begin(act_look);
	struct err err = {0};
	prepare_digested(s, NULL);
	tagvol_open(s->was, &s->prepared, &s->random);
	assert_int_equal(
	    dvol_tree_export(s->was->vol, s->was->epochs[2].id, DVOL_TREE_FINE, "deltatree", &err), 0);
	assert_int_equal(dvol_close(s->was->vol, &err), 0);
	s->was->vol = NULL;
	fail_everywhere(s);
}

/* ---- deltas ---- */
static const uint8_t family[16] = "one";

static bool export_delta(struct memdisk *disk, const struct tagvol *tv, size_t from, size_t to,
			 const char *path, struct err *err)
{
	struct dvol_open_options options = {
	    .epoch = tv->epochs[to].id, .files = &memdisk_ops, .files_context = disk};
	struct dvol *epoch = dvol_open(tv->path, &options, err);
	if (epoch == NULL)
		return false;
	struct dvol_id base = {0};
	if (from != to)
		base = tv->epochs[from].id;
	int result = dvol_export(epoch, base, path, err);
	dvol_close(epoch, NULL);
	return result == 0;
}

static bool act_export(struct scene *s)
{
	s->making = "delta";
	bool done = export_delta(&s->disk, s->was, 0, 0, "delta", &s->err);
	if (done) {
		s->making = "delta2";
		done = export_delta(&s->disk, s->was, 0, 2, "delta2", &s->err);
	}
	if (done) {
		s->making = "deltatree";
		done = tagvol_open(s->tv, &s->disk, &s->random) &&
		       dvol_tree_export(s->tv->vol, s->was->epochs[2].id, DVOL_TREE_FINE, "deltatree",
					&s->err) == 0;
	}
	return done;
}

static void test_export(void **unused)
{
	(void)unused;
	struct scene *s = scene_begin(act_export);
	prepare_digested(s, family);
	fail_everywhere(s);
}

static struct tagvol *source; /* of the deltas */

static bool act_apply(struct scene *s)
{
	if (!tagvol_open(s->tv, &s->disk, &s->random))
		return false;
	for (size_t i = 0; i < 2; i++) {
		/* The content is checked against the sender's digest too. */
		if (!tagvol_apply(s->tv, i == 0 ? "delta" : "delta2", &source->epochs[i * 2]))
			return false;
		tagvol_sure(s->tv);
	}
	return true;
}

static void test_apply(void **unused)
{
	(void)unused;
	struct scene *from = scene_begin(NULL), *s = scene_begin(act_apply);
	struct err err = {0};
	prepare(from, family, some_epochs, SOME);
	source = from->was;
	tagvol_open(source, &from->prepared, &from->random);
	for (size_t i = 0; i < 3; i++) {
		assert_int_equal(dvol_digest(source->vol, source->epochs[i].id, source->epochs[i].root, &err),
				 0);
		source->epochs[i].has_root = true;
	}
	assert_int_equal(dvol_close(source->vol, &err), 0);
	assert_true(export_delta(&from->prepared, source, 0, 0, "delta", &err));
	assert_true(export_delta(&from->prepared, source, 0, 2, "delta2", &err));
	prepare(s, family, NULL, 0);
	for (int i = 0; i < 2; i++) {
		const char *name = i == 0 ? "delta" : "delta2";
		const struct memdisk_file *file = memdisk_file(&from->prepared, name);
		memdisk_put(&s->prepared, name, file->data, file->size);
	}
	fail_everywhere(s);
	scene_end(from);
}

/* ---- a clone ---- */
static bool act_clone(struct scene *s)
{
	static const enum tagvol_what steps[] = {TAGVOL_WRITE, TAGVOL_DISCARD, TAGVOL_FLUSH,
						 TAGVOL_WRITE, TAGVOL_REOPEN,  TAGVOL_WRITE};
	const struct tagvol_epoch *epoch = &s->was->epochs[1];
	struct tagvol *tv = s->tv;
	memset(tv, 0, sizeof(*tv));
	tv->fault = &s->err;
	tv->path = "volclone";
	s->making = tv->path;
	memcpy(tv->now, epoch->tags, sizeof(tv->now));
	tagvol_set_flushed(tv);
	if (!tagvol_create(tv, &s->disk, epoch->sectors,
			   (struct dvol_create_options){.journal_blocks = 16,
							.backing_kind = DVOL_BACKING_DVOL,
							.backing_path = "vol",
							.backing_epoch = epoch->id}))
		return false;
	s->making = NULL;
	tv->tag = 1U << 30;
	if (!tagvol_open(tv, &s->disk, &s->random))
		return false;
	for (size_t i = 0; i < sizeof(steps) / sizeof(*steps); i++) {
		if (!tagvol_do(tv, &s->disk, steps[i], &s->random))
			return false;
		tagvol_sure(tv);
	}
	return true;
}

static void test_clone(void **unused)
{
	(void)unused;
	struct scene *s = scene_begin(act_clone);
	prepare(s, NULL, some_epochs, SOME);
	fail_everywhere(s);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_changes), cmocka_unit_test(test_looking), cmocka_unit_test(test_export),
	    cmocka_unit_test(test_apply),   cmocka_unit_test(test_clone),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
