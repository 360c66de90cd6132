/* tagvol.c: the steps of a volume whose content is known. */
#include "tests/lib/tagvol.h"

#include "tests/lib/random.h"
#include "tests/lib/tagvol_steps.h"
#include "tests/lib/test.h"

#include <stdlib.h>
#include <string.h>

enum { PER_BLOCK = DVOL_BLOCK / DVOL_SECTOR };

void tagvol_wrong(const struct tagvol *tv, const char *what, const struct err *err)
{
	fail_msg("%s: %s%s%s", tv->path, what, err != NULL ? ": " : "", err != NULL ? err->text : "");
	abort(); /* fail_msg jumps out of the test */
}

void tagvol_need(const struct tagvol *tv, const char *what, int result, const struct err *err)
{
	if (result < 0)
		tagvol_wrong(tv, what, err);
}

/* did: whether a step succeeded; where none may fail, one that did not fails the test. */
static bool did(struct tagvol *tv, const char *what, int result, const struct err *err)
{
	if (result == 0)
		return true;
	if (tv->fault == NULL)
		tagvol_wrong(tv, what, err);
	*tv->fault = *err;
	return false;
}

struct dvol *tagvol_handle(const struct tagvol *tv, struct memdisk *disk, bool writable, struct dvol_id epoch,
			   uint64_t *random, struct err *err)
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

bool tagvol_create(struct tagvol *tv, struct memdisk *disk, uint32_t sectors,
		   struct dvol_create_options options)
{
	struct err err = {0};
	options.size_bytes = (uint64_t)sectors * DVOL_SECTOR;
	options.files = &memdisk_ops;
	options.files_context = disk;
	tv->sectors = tv->doubt.sectors_before = sectors;
	return did(tv, "create", dvol_create(tv->path, &options, &err), &err);
}

bool tagvol_open(struct tagvol *tv, struct memdisk *disk, uint64_t *random)
{
	struct err err = {0};
	tv->vol = tagvol_handle(tv, disk, true, (struct dvol_id){0}, random, &err);
	return did(tv, "open", tv->vol != NULL ? 0 : -1, &err);
}

/* ---- the content ---- */
void tagvol_set_flushed(struct tagvol *tv)
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

static bool flush(struct tagvol *tv)
{
	struct err err = {0};
	tv->doubt.flushing = true;
	return did(tv, "flush", dvol_flush(tv->vol, &err), &err);
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

static bool write_tags(struct tagvol *tv, bool cold, uint64_t *random)
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
	return did(tv, "write",
		   (cold ? dvol_write_cold : dvol_write)(tv->vol, data, count * DVOL_SECTOR,
							 first * DVOL_SECTOR, &err),
		   &err);
}

static bool zero_tags(struct tagvol *tv, bool discard, uint64_t *random)
{
	struct err err = {0};
	size_t count, first = some_sectors(tv, random, &count), from = first, to = first + count;
	if (discard) { /* the whole blocks in it */
		from = (first + PER_BLOCK - 1) / PER_BLOCK * PER_BLOCK;
		to = to == tv->sectors ? to : to / PER_BLOCK * PER_BLOCK;
	}
	for (size_t i = from; i < to; i++)
		note(tv, i, 0);
	return did(tv, "zeroes",
		   (discard ? dvol_discard : dvol_write_zeroes)(tv->vol, first * DVOL_SECTOR,
								count * DVOL_SECTOR, &err),
		   &err);
}

static bool resize(struct tagvol *tv, uint64_t *random)
{
	struct err err = {0};
	uint32_t more = (uint32_t)random_below(random, 12);
	if (tv->sectors + more > TAGVOL_SECTORS)
		return true;
	tv->sectors += more;
	return did(tv, "resize", dvol_resize(tv->vol, (uint64_t)tv->sectors * DVOL_SECTOR, &err), &err);
}

static bool reopen(struct tagvol *tv, struct memdisk *disk, uint64_t *random)
{
	struct err err = {0};
	tv->doubt.flushing = true;
	struct dvol *vol = tv->vol;
	tv->vol = NULL;
	return did(tv, "close", dvol_close(vol, &err), &err) && tagvol_open(tv, disk, random);
}

/* ---- epochs ---- */
static bool close_epoch(struct tagvol *tv)
{
	struct err err = {0};
	if (tv->nepochs == TAGVOL_EPOCHS)
		return true;
	struct tagvol_epoch *epoch = &tv->epochs[tv->nepochs++];
	*epoch = (struct tagvol_epoch){.id = {.term = 7, .number = ++tv->numbers}, .sectors = tv->sectors};
	memcpy(epoch->tags, tv->now, sizeof(tv->now));
	tv->doubt.closing = epoch;
	return did(tv, "close of an epoch", dvol_epoch_close(tv->vol, &epoch->id, NULL, &err), &err);
}

bool tagvol_pin(struct tagvol *tv, struct tagvol_epoch *epoch, bool kept)
{
	struct err err = {0};
	bool *has = kept ? &epoch->kept : &epoch->pinned;
	tv->doubt.pinning = epoch;
	if (!did(tv, "pin", (*has ? dvol_unpin : dvol_pin)(tv->vol, epoch->id, kept ? "kept" : "pin", &err),
		 &err))
		return false;
	*has = !*has;
	return true;
}

void tagvol_delete_pinned(const struct tagvol *tv, struct dvol *vol, const struct tagvol_epoch *epoch)
{
	struct err err = {0};
	if (dvol_epoch_delete(vol, epoch->id, &err) == 0 || err.kind != ERR_STATE)
		tagvol_wrong(tv, "a pinned epoch could be deleted", &err);
}

static bool delete_epoch(struct tagvol *tv, const struct tagvol_epoch *epoch)
{
	struct err err = {0};
	if (epoch->pinned || epoch->kept) {
		tagvol_delete_pinned(tv, tv->vol, epoch);
		return true;
	}
	tv->doubt.deleting = epoch;
	return did(tv, "delete", dvol_epoch_delete(tv->vol, epoch->id, &err), &err);
}

static bool roll_back(struct tagvol *tv)
{
	struct err err = {0};
	tv->doubt.rolling = &tv->epochs[tv->nepochs - 1];
	if (!did(tv, "rollback", dvol_rollback(tv->vol, tv->doubt.rolling->id, &err), &err))
		return false;
	memcpy(tv->now, tv->doubt.rolling->tags, sizeof(tv->now));
	return true;
}

static bool digest(struct tagvol *tv, struct tagvol_epoch *epoch)
{
	struct err err = {0};
	uint8_t root[DVOL_ROOT];
	if (!did(tv, "digest", dvol_digest(tv->vol, epoch->id, root, &err), &err))
		return false;
	if (epoch->has_root && memcmp(root, epoch->root, sizeof(root)) != 0)
		tagvol_wrong(tv, "another digest than before", NULL);
	epoch->has_root = true;
	memcpy(epoch->root, root, sizeof(root));
	return true;
}

static bool pack(struct tagvol *tv)
{
	struct err err = {0};
	int result = dvol_pack(tv->vol, 1, NULL, &err);
	return (tv->pack_refused && result < 0 && err.kind == ERR_STATE) || did(tv, "pack", result, &err);
}

/* ---- steps ---- */
bool tagvol_do(struct tagvol *tv, struct memdisk *disk, enum tagvol_what what, uint64_t *random)
{
	struct tagvol_epoch *epoch = tv->nepochs > 0 ? &tv->epochs[random_below(random, tv->nepochs)] : NULL;
	tv->doubt = (struct tagvol_doubt){.sectors_before = tv->sectors};
	memcpy(tv->before, tv->now, sizeof(tv->now));
	if (!room_for_notes(tv))
		what = TAGVOL_FLUSH;
	switch (what) {
	case TAGVOL_FLUSH:
		return flush(tv);
	case TAGVOL_WRITE:
	case TAGVOL_WRITE_COLD:
		return write_tags(tv, what == TAGVOL_WRITE_COLD, random);
	case TAGVOL_DISCARD:
	case TAGVOL_WRITE_ZEROES:
		return zero_tags(tv, what == TAGVOL_DISCARD, random);
	case TAGVOL_RESIZE:
		return resize(tv, random);
	case TAGVOL_PACK:
		return pack(tv);
	case TAGVOL_REOPEN:
		return reopen(tv, disk, random);
	case TAGVOL_CLOSE_EPOCH:
		return close_epoch(tv);
	case TAGVOL_DELETE:
		return epoch == NULL || delete_epoch(tv, epoch);
	case TAGVOL_DIGEST:
		return epoch == NULL || digest(tv, epoch);
	case TAGVOL_ROLLBACK:
		return epoch == NULL || roll_back(tv);
	case TAGVOL_PIN:
		return epoch == NULL || tagvol_pin(tv, epoch, false);
	case TAGVOL_WHATS:
		break;
	}
	return true;
}

void tagvol_step(struct tagvol *tv, struct memdisk *disk, uint64_t *random)
{
	static const uint8_t weights[TAGVOL_WHATS] = {
	    [TAGVOL_FLUSH] = 19,  [TAGVOL_WRITE] = 39,       [TAGVOL_WRITE_COLD] = 4,
	    [TAGVOL_DISCARD] = 7, [TAGVOL_WRITE_ZEROES] = 4, [TAGVOL_CLOSE_EPOCH] = 10,
	    [TAGVOL_DELETE] = 6,  [TAGVOL_DIGEST] = 2,       [TAGVOL_ROLLBACK] = 1,
	    [TAGVOL_PIN] = 2,     [TAGVOL_RESIZE] = 2,       [TAGVOL_PACK] = 2,
	    [TAGVOL_REOPEN] = 2,
	};
	uint64_t total = 0;
	for (int i = 0; i < TAGVOL_WHATS; i++)
		total += weights[i];
	uint64_t left = random_below(random, total);
	int what = 0;
	for (; left >= weights[what]; what++)
		left -= weights[what];
	(void)tagvol_do(tv, disk, (enum tagvol_what)what, random);
}

void tagvol_scribble(struct tagvol *tv, struct memdisk *disk, uint64_t *random)
{
	if (!room_for_notes(tv)) {
		(void)tagvol_do(tv, disk, TAGVOL_FLUSH, random);
		tagvol_sure(tv);
	}
	(void)tagvol_do(tv, disk, random_below(random, 2) ? TAGVOL_WRITE : TAGVOL_WRITE_COLD, random);
}

bool tagvol_apply(struct tagvol *tv, const char *delta, const struct tagvol_epoch *epoch)
{
	struct err err = {0};
	bool seed = tv->nepochs == 0;
	if (tv->nepochs == TAGVOL_EPOCHS)
		fail_msg("%s: no room for another epoch", tv->path);
	tv->doubt = (struct tagvol_doubt){.sectors_before = tv->sectors, .applying = true};
	memcpy(tv->before, tv->now, sizeof(tv->now));
	tv->doubt.closing = &tv->epochs[tv->nepochs];
	tv->epochs[tv->nepochs] = *epoch;
	tv->epochs[tv->nepochs++].pinned = false;
	tv->sectors = epoch->sectors;
	/* A seed has nothing to go back to. */
	for (size_t i = 0; seed && i < tv->sectors; i++) {
		note(tv, i, 0);
		note(tv, i, epoch->tags[i]);
	}
	if (!did(tv, "apply", dvol_apply(tv->vol, delta, &err), &err))
		return false;
	memcpy(tv->now, epoch->tags, sizeof(tv->now));
	return true;
}

void tagvol_sure(struct tagvol *tv)
{
	struct tagvol_doubt doubt = tv->doubt;
	if (doubt.flushing || doubt.closing != NULL || doubt.rolling != NULL)
		tagvol_set_flushed(tv);
	if (doubt.deleting != NULL) {
		size_t at = (size_t)(doubt.deleting - tv->epochs);
		memmove(&tv->epochs[at], &tv->epochs[at + 1],
			(tv->nepochs - at - 1) * sizeof(struct tagvol_epoch));
		tv->nepochs--;
	}
	tv->doubt = (struct tagvol_doubt){.sectors_before = tv->sectors};
}
