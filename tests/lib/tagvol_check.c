/* tagvol_check.c: a volume whose content is known, compared with what was left of it. */
#include "tests/lib/tagvol.h"

#include "tests/lib/random.h"
#include "tests/lib/tagvol_steps.h"
#include "tests/lib/test.h"

#include <stdlib.h>
#include <string.h>

static const struct dvol_id head;

/* read_tags: the whole volume, zeroes past its end; a sector whose bytes are not one tag repeated fails. */
static void read_tags(const struct tagvol *tv, struct dvol *vol, uint32_t tags[TAGVOL_SECTORS])
{
	static uint32_t data[TAGVOL_SECTORS][DVOL_SECTOR / 4];
	struct err err = {0};
	size_t sectors = dvol_size(vol) / DVOL_SECTOR;
	memset(tags, 0, sizeof(*tags) * TAGVOL_SECTORS);
	tagvol_need(tv, "read", dvol_read(vol, data, sectors * DVOL_SECTOR, 0, &err), &err);
	for (size_t i = 0; i < sectors; i++) {
		tags[i] = data[i][0];
		if (memcmp(data[i], (const uint8_t *)data[i] + 4, DVOL_SECTOR - 4) != 0)
			tagvol_wrong(tv, "a sector was torn", NULL);
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
		tagvol_wrong(tv, "it has another size", NULL);
	read_tags(tv, vol, tags);
	if (doubt->rolling != NULL && memcmp(tags, doubt->rolling->tags, sizeof(tags)) == 0)
		return;
	if (!doubt->applying || !made)
		check_sectors(tv, tags);
	else if (memcmp(tags, doubt->closing->tags, sizeof(tags)) != 0)
		tagvol_wrong(tv, "the delta's epoch is there, but the head has another content", NULL);
}

static void check_epoch(const struct tagvol *tv, struct memdisk *disk, const struct tagvol_epoch *epoch,
			uint64_t *random)
{
	struct err err = {0};
	uint32_t tags[TAGVOL_SECTORS];
	struct dvol *vol = tagvol_handle(tv, disk, false, epoch->id, random, &err);
	if (vol == NULL)
		tagvol_wrong(tv, "a closed epoch does not open", &err);
	if (dvol_size(vol) != (uint64_t)epoch->sectors * DVOL_SECTOR)
		tagvol_wrong(tv, "a closed epoch has another size", NULL);
	read_tags(tv, vol, tags);
	if (memcmp(tags, epoch->tags, sizeof(tags)) != 0)
		tagvol_wrong(tv, "a closed epoch is not what it was", NULL);
	/* Where there are digests they are right; before the first pass, and during one, there are none. */
	struct dvol_bad_block *bad = NULL;
	size_t nbad = 0;
	if (random_below(random, 6) == 0) {
		if (dvol_verify(vol, NULL, &bad, &nbad, NULL, &err) < 0 && err.kind != ERR_STATE)
			tagvol_wrong(tv, "verify", &err);
		if (nbad > 0)
			tagvol_wrong(tv, "a digest is wrong", NULL);
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
	tagvol_need(tv, "epochs", dvol_epochs(vol, &list, &count, &err), &err);
	for (size_t i = 0; i < tv->nepochs; i++) {
		const struct tagvol_epoch *epoch = &tv->epochs[i];
		if (at == count || list[at].id.number != epoch->id.number) {
			if (epoch != tv->doubt.closing && epoch != tv->doubt.deleting)
				tagvol_wrong(tv, "a closed epoch is lost", NULL);
			continue;
		}
		if (epoch->has_root && list[at].has_root &&
		    memcmp(list[at].root, epoch->root, DVOL_ROOT) != 0)
			tagvol_wrong(tv, "an epoch's root is not what it was", NULL);
		*made = *made || epoch == tv->doubt.closing;
		at++;
		if (contents)
			check_epoch(tv, disk, epoch, random);
	}
	if (at != count)
		tagvol_wrong(tv, "there is an epoch that never was", NULL);
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
	tagvol_need(tv, "check", dvol_check(vol, &info, report, tv, &err), &err);
	if (info.errors != 0)
		tagvol_wrong(tv, "check found errors", NULL);
}

void tagvol_check(struct tagvol *tv, struct memdisk *disk, uint64_t *random)
{
	struct err err = {0};
	bool made;
	for (int writable = 0; writable < 2; writable++) {
		struct dvol *vol = tagvol_handle(tv, disk, writable, head, random, &err);
		if (vol == NULL)
			tagvol_wrong(tv, writable ? "does not open for writing" : "does not open", &err);
		check_clean(tv, vol);
		/* Epochs beside a writer, or alone, in half of the states. */
		check_list(tv, disk, vol, writable || random_below(random, 2) == 0, &made, random);
		check_head(tv, vol, made);
		for (size_t i = 0; writable && i < tv->nepochs; i++)
			if ((tv->epochs[i].pinned || tv->epochs[i].kept) &&
			    &tv->epochs[i] != tv->doubt.pinning)
				tagvol_delete_pinned(tv, vol, &tv->epochs[i]);
		tagvol_need(tv, "close", dvol_close(vol, &err), &err);
	}
}

/* recover: the volumes come up on a disk that is recorded, and go down again. */
static struct powercut *recover(struct powercut *pc, struct tagvol **vols, size_t n, uint64_t *random)
{
	struct err err = {0};
	struct powercut *recovery = powercut_recovery(pc);
	for (size_t i = 0; i < n; i++) {
		struct dvol *vol = tagvol_handle(vols[i], &recovery->disk, true, head, random, &err);
		if (vol == NULL)
			tagvol_wrong(vols[i], "does not open for writing", &err);
		tagvol_need(vols[i], "close", dvol_close(vol, &err), &err);
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
			tagvol_check(vols[i], &pc->cut, random);
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
	tagvol_need(tv, "epochs", dvol_epochs(tv->vol, &list, &count, &err), &err);
	for (size_t i = 0; i < tv->nepochs; i++) {
		bool there = false;
		for (size_t k = 0; k < count; k++)
			there = there || list[k].id.number == tv->epochs[i].id.number;
		if (there)
			tv->epochs[kept++] = tv->epochs[i];
	}
	free(list);
	if (pinning.number != 0 && dvol_pin(tv->vol, pinning, "pin", &err) < 0 && err.kind != ERR_STATE)
		tagvol_wrong(tv, "pin", &err);
	tv->nepochs = kept;
	tagvol_set_flushed(tv);
	tv->doubt = (struct tagvol_doubt){.sectors_before = tv->sectors};
}
