/* tagvol.c: the steps of a volume whose content is known, and the comparison with what a power cut left. */
#include "tests/lib/tagvol.h"

#include "tests/lib/random.h"
#include "tests/lib/test.h"

#include <stdlib.h>
#include <string.h>

enum { PER_BLOCK = DVOL_BLOCK / DVOL_SECTOR };
static const struct dvol_id head;

static void __attribute__((noreturn)) wrong(const struct tagvol *tv, const char *what, const struct err *err)
{
	fail_msg("%s: %s%s%s", tv->path, what, err != NULL ? ": " : "", err != NULL ? err->text : "");
	abort(); /* fail_msg jumps out of the test */
}

static void need(const struct tagvol *tv, const char *what, int result, const struct err *err)
{
	if (result < 0)
		wrong(tv, what, err);
}

static struct dvol *open_on(const struct tagvol *tv, struct memdisk *disk, bool writable,
			    struct dvol_id epoch, uint64_t *random, struct err *err)
{
	struct dvol_open_options options = {.writable = writable,
					    .epoch = epoch,
					    .compact = random_below(random, 2),
					    .direct = writable && random_below(random, 3) == 0,
					    .cache_pages = 8,
					    .files = &memdisk_ops,
					    .files_context = disk};
	return dvol_open(tv->path, &options, err);
}

void tagvol_create(struct tagvol *tv, struct memdisk *disk, uint32_t sectors,
		   struct dvol_create_options options)
{
	struct err err = {0};
	options.size_bytes = (uint64_t)sectors * DVOL_SECTOR;
	options.files = &memdisk_ops;
	options.files_context = disk;
	tv->sectors = tv->doubt.sectors_before = sectors;
	need(tv, "create", dvol_create(tv->path, &options, &err), &err);
}

void tagvol_open(struct tagvol *tv, struct memdisk *disk, uint64_t *random)
{
	struct err err = {0};
	tv->vol = open_on(tv, disk, true, head, random, &err);
	if (tv->vol == NULL)
		wrong(tv, "open", &err);
}

/* ---- steps ---- */
static void set_flushed(struct tagvol *tv)
{
	memcpy(tv->flushed, tv->now, sizeof(tv->now));
	memset(tv->nsince, 0, sizeof(tv->nsince));
}

static void note(struct tagvol *tv, size_t sector, uint32_t tag)
{
	tv->now[sector] = tag;
	tv->since[sector][tv->nsince[sector]++] = tag;
}

static bool room_for_notes(const struct tagvol *tv)
{
	for (size_t i = 0; i < tv->sectors; i++)
		if (tv->nsince[i] == TAGVOL_SINCE)
			return false;
	return true;
}

static void flush(struct tagvol *tv)
{
	struct err err = {0};
	tv->doubt.flushing = true;
	need(tv, "flush", dvol_flush(tv->vol, &err), &err);
}

/* some_sectors: a random range, often of whole blocks. */
static size_t some_sectors(const struct tagvol *tv, uint64_t *random, size_t *count)
{
	bool whole = random_below(random, 2);
	size_t first = random_below(random, tv->sectors);
	*count = 1 + random_below(random, random_below(random, 6) ? 24 : 300);
	if (whole) {
		first = first / PER_BLOCK * PER_BLOCK;
		*count = (*count + PER_BLOCK - 1) / PER_BLOCK * PER_BLOCK;
	}
	*count = *count < tv->sectors - first ? *count : tv->sectors - first;
	return first;
}

static void write_tags(struct tagvol *tv, bool cold, uint64_t *random)
{
	static uint32_t data[TAGVOL_SECTORS][DVOL_SECTOR / 4];
	struct err err = {0};
	size_t count, first = some_sectors(tv, random, &count);
	tv->tag++;
	for (size_t i = 0; i < count; i++) {
		for (size_t n = 0; n < DVOL_SECTOR / 4; n++)
			data[i][n] = tv->tag;
		note(tv, first + i, tv->tag);
	}
	need(tv, "write",
	     (cold ? dvol_write_cold : dvol_write)(tv->vol, data, count * DVOL_SECTOR, first * DVOL_SECTOR,
						   &err),
	     &err);
}

void tagvol_scribble(struct tagvol *tv, uint64_t *random)
{
	if (!room_for_notes(tv)) {
		flush(tv);
		tagvol_sure(tv);
	}
	write_tags(tv, random_below(random, 2), random);
}

static void zero_tags(struct tagvol *tv, bool discard, uint64_t *random)
{
	struct err err = {0};
	size_t count, first = some_sectors(tv, random, &count), from = first, to = first + count;
	if (discard) { /* the whole blocks in it */
		from = (first + PER_BLOCK - 1) / PER_BLOCK * PER_BLOCK;
		to = to == tv->sectors ? to : to / PER_BLOCK * PER_BLOCK;
	}
	for (size_t i = from; i < to; i++)
		note(tv, i, 0);
	need(tv, "zeroes",
	     (discard ? dvol_discard : dvol_write_zeroes)(tv->vol, first * DVOL_SECTOR, count * DVOL_SECTOR,
							  &err),
	     &err);
}

static void close_epoch(struct tagvol *tv)
{
	struct err err = {0};
	struct tagvol_epoch *epoch = &tv->epochs[tv->nepochs++];
	*epoch = (struct tagvol_epoch){.id = {.term = 7, .number = ++tv->numbers}, .sectors = tv->sectors};
	memcpy(epoch->tags, tv->now, sizeof(tv->now));
	tv->doubt.closing = epoch;
	need(tv, "close of an epoch", dvol_epoch_close(tv->vol, &epoch->id, NULL, &err), &err);
}

void tagvol_close_epoch(struct tagvol *tv)
{
	close_epoch(tv);
	tagvol_sure(tv);
}

void tagvol_pin(struct tagvol *tv, struct tagvol_epoch *epoch, bool kept)
{
	struct err err = {0};
	need(tv, "pin", dvol_pin(tv->vol, epoch->id, kept ? "kept" : "pin", &err), &err);
	epoch->pinned = !kept;
	epoch->kept = kept;
}

static void pin_or_unpin(struct tagvol *tv, struct tagvol_epoch *epoch)
{
	struct err err = {0};
	tv->doubt.pinning = epoch;
	need(tv, "pin", (epoch->pinned ? dvol_unpin : dvol_pin)(tv->vol, epoch->id, "pin", &err), &err);
	epoch->pinned = !epoch->pinned;
}

static void delete_pinned(const struct tagvol *tv, struct dvol *vol, const struct tagvol_epoch *epoch)
{
	struct err err = {0};
	if (dvol_epoch_delete(vol, epoch->id, &err) == 0 || err.kind != ERR_STATE)
		wrong(tv, "a pinned epoch could be deleted", &err);
}

static void delete_epoch(struct tagvol *tv, const struct tagvol_epoch *epoch)
{
	struct err err = {0};
	if (epoch->pinned || epoch->kept) {
		delete_pinned(tv, tv->vol, epoch);
		return;
	}
	tv->doubt.deleting = epoch;
	need(tv, "delete", dvol_epoch_delete(tv->vol, epoch->id, &err), &err);
}

static void roll_back(struct tagvol *tv)
{
	struct err err = {0};
	tv->doubt.rolling = &tv->epochs[tv->nepochs - 1];
	need(tv, "rollback", dvol_rollback(tv->vol, tv->doubt.rolling->id, &err), &err);
	memcpy(tv->now, tv->doubt.rolling->tags, sizeof(tv->now));
}

static void digest(struct tagvol *tv, struct tagvol_epoch *epoch)
{
	struct err err = {0};
	uint8_t root[DVOL_ROOT];
	need(tv, "digest", dvol_digest(tv->vol, epoch->id, root, &err), &err);
	if (epoch->has_root && memcmp(root, epoch->root, sizeof(root)) != 0)
		wrong(tv, "another digest than before", NULL);
	epoch->has_root = true;
	memcpy(epoch->root, root, sizeof(root));
}

static void pack(struct tagvol *tv)
{
	struct err err = {0};
	int result = dvol_pack(tv->vol, 1, NULL, &err);
	if (result < 0 && !(tv->pack_refused && err.kind == ERR_STATE))
		wrong(tv, "pack", &err);
}

static void resize(struct tagvol *tv, uint64_t *random)
{
	struct err err = {0};
	uint32_t more = (uint32_t)random_below(random, 12);
	if (tv->sectors + more > TAGVOL_SECTORS)
		return;
	tv->sectors += more;
	need(tv, "resize", dvol_resize(tv->vol, (uint64_t)tv->sectors * DVOL_SECTOR, &err), &err);
}

static void reopen(struct tagvol *tv, struct memdisk *disk, uint64_t *random)
{
	struct err err = {0};
	tv->doubt.flushing = true;
	need(tv, "close", dvol_close(tv->vol, &err), &err);
	tagvol_open(tv, disk, random);
}

/* epoch_step: of those that need a closed epoch. */
static void epoch_step(struct tagvol *tv, uint64_t *random)
{
	struct tagvol_epoch *epoch = &tv->epochs[random_below(random, tv->nepochs)];
	uint64_t what = random_below(random, 16);
	if (what < 8)
		delete_epoch(tv, epoch);
	else if (what < 11)
		digest(tv, epoch);
	else if (what < 13)
		roll_back(tv);
	else
		pin_or_unpin(tv, epoch);
}

void tagvol_step(struct tagvol *tv, struct memdisk *disk, uint64_t *random)
{
	uint64_t what = random_below(random, 100);
	tv->doubt = (struct tagvol_doubt){.sectors_before = tv->sectors};
	if (!room_for_notes(tv) || what < 19)
		flush(tv);
	else if (what < 58)
		write_tags(tv, false, random);
	else if (what < 62)
		write_tags(tv, true, random);
	else if (what < 69)
		zero_tags(tv, true, random);
	else if (what < 73)
		zero_tags(tv, false, random);
	else if (what < 83 && tv->nepochs < TAGVOL_EPOCHS)
		close_epoch(tv);
	else if (what < 94 && tv->nepochs > 0)
		epoch_step(tv, random);
	else if (what < 96)
		resize(tv, random);
	else if (what < 98)
		pack(tv);
	else
		reopen(tv, disk, random);
}

void tagvol_apply_step(struct tagvol *tv, const char *delta, const struct tagvol_epoch *epoch)
{
	struct err err = {0};
	bool seed = tv->nepochs == 0;
	tv->doubt = (struct tagvol_doubt){.sectors_before = tv->sectors, .applying = true};
	tv->doubt.closing = &tv->epochs[tv->nepochs];
	tv->epochs[tv->nepochs] = *epoch;
	tv->epochs[tv->nepochs++].pinned = false;
	tv->sectors = epoch->sectors;
	/* A seed has nothing to go back to. */
	for (size_t i = 0; seed && i < tv->sectors; i++) {
		note(tv, i, 0);
		note(tv, i, epoch->tags[i]);
	}
	need(tv, "apply", dvol_apply(tv->vol, delta, &err), &err);
	memcpy(tv->now, epoch->tags, sizeof(tv->now));
}

void tagvol_sure(struct tagvol *tv)
{
	struct tagvol_doubt doubt = tv->doubt;
	if (doubt.flushing || doubt.closing != NULL || doubt.rolling != NULL)
		set_flushed(tv);
	if (doubt.deleting != NULL) {
		size_t at = (size_t)(doubt.deleting - tv->epochs);
		memmove(&tv->epochs[at], &tv->epochs[at + 1],
			(tv->nepochs - at - 1) * sizeof(struct tagvol_epoch));
		tv->nepochs--;
	}
	tv->doubt = (struct tagvol_doubt){.sectors_before = tv->sectors};
}

/* ---- comparing ---- */
/* read_tags: the whole volume, zeroes past its end; a sector whose bytes are not one tag repeated fails. */
static void read_tags(const struct tagvol *tv, struct dvol *vol, uint32_t tags[TAGVOL_SECTORS])
{
	static uint32_t data[TAGVOL_SECTORS][DVOL_SECTOR / 4];
	struct err err = {0};
	size_t sectors = dvol_size(vol) / DVOL_SECTOR;
	memset(tags, 0, sizeof(*tags) * TAGVOL_SECTORS);
	need(tv, "read", dvol_read(vol, data, sectors * DVOL_SECTOR, 0, &err), &err);
	for (size_t i = 0; i < sectors; i++) {
		tags[i] = data[i][0];
		if (memcmp(data[i], (const uint8_t *)data[i] + 4, DVOL_SECTOR - 4) != 0)
			wrong(tv, "a sector was torn", NULL);
	}
}

static void check_sectors(const struct tagvol *tv, const uint32_t *tags)
{
	for (size_t i = 0; i < TAGVOL_SECTORS; i++) {
		bool good = tags[i] == tv->flushed[i];
		for (size_t n = 0; n < tv->nsince[i] && !good; n++)
			good = tags[i] == tv->since[i][n];
		if (!good)
			fail_msg("%s: sector %zu has tag %u, flushed was %u", tv->path, i, tags[i],
				 tv->flushed[i]);
	}
}

/* check_head: made: the epoch in doubt is there. */
static void check_head(const struct tagvol *tv, struct dvol *vol, bool made)
{
	const struct tagvol_doubt *doubt = &tv->doubt;
	uint32_t tags[TAGVOL_SECTORS], size = (uint32_t)(dvol_size(vol) / DVOL_SECTOR);
	if (size != tv->sectors && size != doubt->sectors_before)
		wrong(tv, "it has another size", NULL);
	read_tags(tv, vol, tags);
	if (doubt->rolling != NULL && memcmp(tags, doubt->rolling->tags, sizeof(tags)) == 0)
		return;
	if (!doubt->applying || !made)
		check_sectors(tv, tags);
	else if (memcmp(tags, doubt->closing->tags, sizeof(tags)) != 0)
		wrong(tv, "the delta's epoch is there, but the head has another content", NULL);
}

static void check_epoch(const struct tagvol *tv, struct memdisk *disk, const struct tagvol_epoch *epoch,
			uint64_t *random)
{
	struct err err = {0};
	uint32_t tags[TAGVOL_SECTORS];
	struct dvol *vol = open_on(tv, disk, false, epoch->id, random, &err);
	if (vol == NULL)
		wrong(tv, "a closed epoch does not open", &err);
	if (dvol_size(vol) != (uint64_t)epoch->sectors * DVOL_SECTOR)
		wrong(tv, "a closed epoch has another size", NULL);
	read_tags(tv, vol, tags);
	if (memcmp(tags, epoch->tags, sizeof(tags)) != 0)
		wrong(tv, "a closed epoch is not what it was", NULL);
	/* Where there are digests they are right; before the first pass, and during one, there are none. */
	struct dvol_bad_block *bad = NULL;
	size_t nbad = 0;
	if (random_below(random, 6) == 0) {
		if (dvol_verify(vol, NULL, &bad, &nbad, NULL, &err) < 0 && err.kind != ERR_STATE)
			wrong(tv, "verify", &err);
		if (nbad > 0)
			wrong(tv, "a digest is wrong", NULL);
	}
	free(bad);
	dvol_close(vol, NULL);
}

/* check_list: the epochs are those that must be there, and those in doubt.  *made: doubt.closing is. */
static void check_list(const struct tagvol *tv, struct memdisk *disk, struct dvol *vol, bool contents,
		       bool *made, uint64_t *random)
{
	struct err err = {0};
	struct dvol_epoch *list;
	size_t count, at = 0;
	*made = false;
	need(tv, "epochs", dvol_epochs(vol, &list, &count, &err), &err);
	for (size_t i = 0; i < tv->nepochs; i++) {
		const struct tagvol_epoch *epoch = &tv->epochs[i];
		if (at == count || list[at].id.number != epoch->id.number) {
			if (epoch != tv->doubt.closing && epoch != tv->doubt.deleting)
				wrong(tv, "a closed epoch is lost", NULL);
			continue;
		}
		if (epoch->has_root && list[at].has_root &&
		    memcmp(list[at].root, epoch->root, DVOL_ROOT) != 0)
			wrong(tv, "an epoch's root is not what it was", NULL);
		*made = *made || epoch == tv->doubt.closing;
		at++;
		if (contents)
			check_epoch(tv, disk, epoch, random);
	}
	if (at != count)
		wrong(tv, "there is an epoch that never was", NULL);
	free(list);
}

static void report(void *context, const char *text)
{
	const struct tagvol *tv = context;
	print_message("%s: check: %s\n", tv->path, text);
}

static void check_clean(struct tagvol *tv, struct dvol *vol)
{
	struct err err = {0};
	struct dvol_info info;
	need(tv, "check", dvol_check(vol, &info, report, tv, &err), &err);
	if (info.errors != 0)
		wrong(tv, "check found errors", NULL);
}

/* check_volume: without a repair first; then as a writable open leaves it. */
static void check_volume(struct tagvol *tv, struct memdisk *disk, uint64_t *random)
{
	struct err err = {0};
	bool made;
	for (int writable = 0; writable < 2; writable++) {
		struct dvol *vol = open_on(tv, disk, writable, head, random, &err);
		if (vol == NULL)
			wrong(tv, writable ? "does not open for writing" : "does not open", &err);
		check_clean(tv, vol);
		/* Epochs beside a writer, or alone, in half of the states. */
		check_list(tv, disk, vol, writable || random_below(random, 2) == 0, &made, random);
		check_head(tv, vol, made);
		for (size_t i = 0; writable && i < tv->nepochs; i++)
			if ((tv->epochs[i].pinned || tv->epochs[i].kept) &&
			    &tv->epochs[i] != tv->doubt.pinning)
				delete_pinned(tv, vol, &tv->epochs[i]);
		need(tv, "close", dvol_close(vol, &err), &err);
	}
}

/* recover: the volumes come up on a disk that is recorded, and go down again. */
static struct powercut *recover(struct powercut *pc, struct tagvol **vols, size_t n, uint64_t *random)
{
	struct err err = {0};
	struct powercut *recovery = powercut_recovery(pc);
	for (size_t i = 0; i < n; i++) {
		struct dvol *vol = open_on(vols[i], &recovery->disk, true, head, random, &err);
		if (vol == NULL)
			wrong(vols[i], "does not open for writing", &err);
		need(vols[i], "close", dvol_close(vol, &err), &err);
	}
	return recovery;
}

static uint64_t check_cuts(struct powercut *pc, struct tagvol **vols, size_t n, unsigned cuts, bool again,
			   uint64_t *random)
{
	uint64_t states = cuts;
	for (unsigned c = 0; c < cuts; c++) {
		powercut_make(pc, random);
		if (again && random_below(random, 12) == 0)
			states += check_cuts(recover(pc, vols, n, random), vols, n, 4, false, random);
		for (size_t i = 0; i < n; i++)
			check_volume(vols[i], &pc->cut, random);
	}
	return states;
}

uint64_t tagvol_cuts(struct powercut *pc, struct tagvol **vols, size_t n, unsigned cuts, uint64_t *random)
{
	return check_cuts(pc, vols, n, cuts, true, random);
}

void tagvol_resume(struct tagvol *tv, struct memdisk *disk, uint64_t *random)
{
	struct err err = {0};
	struct dvol_epoch *list;
	size_t count, kept = 0;
	struct dvol_id pinning = {0};
	if (tv->doubt.pinning != NULL) { /* that is so from now on */
		pinning = tv->doubt.pinning->id;
		tv->epochs[tv->doubt.pinning - tv->epochs].pinned = true;
	}
	tagvol_open(tv, disk, random);
	tv->sectors = (uint32_t)(dvol_size(tv->vol) / DVOL_SECTOR);
	read_tags(tv, tv->vol, tv->now);
	need(tv, "epochs", dvol_epochs(tv->vol, &list, &count, &err), &err);
	for (size_t i = 0; i < tv->nepochs; i++) {
		bool there = false;
		for (size_t k = 0; k < count; k++)
			there = there || list[k].id.number == tv->epochs[i].id.number;
		if (there)
			tv->epochs[kept++] = tv->epochs[i];
	}
	free(list);
	if (pinning.number != 0 && dvol_pin(tv->vol, pinning, "pin", &err) < 0 && err.kind != ERR_STATE)
		wrong(tv, "pin", &err);
	tv->nepochs = kept;
	set_flushed(tv);
	tv->doubt = (struct tagvol_doubt){.sectors_before = tv->sectors};
}
