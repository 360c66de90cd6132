/* tagvol.h: a small volume of which every sector's content is known: a tag, repeated; 0 is zeroes.  It takes random steps,
 * and can be compared with what a power cut left of it.  A mismatch fails the test. */
#ifndef TESTS_LIB_TAGVOL_H
#define TESTS_LIB_TAGVOL_H

#include "imagefmt/dvol.h"
#include "tests/lib/powercut.h"

enum { TAGVOL_SECTORS = 640, TAGVOL_EPOCHS = 6, TAGVOL_SINCE = 12 };

struct tagvol_epoch {
	struct dvol_id id;
	uint32_t sectors;
	bool pinned, kept; /* kept: a pin that no step takes away */
	bool has_root;
	uint8_t root[DVOL_ROOT];
	uint32_t tags[TAGVOL_SECTORS]; /* zeroes past the end */
};

/* What a step may or may not have done when the power went. */
struct tagvol_doubt {
	const struct tagvol_epoch *closing, *deleting, *rolling, *pinning;
	bool flushing; /* all is flushed when the step is done */
	bool applying; /* `closing` comes of a delta: the head is its content, once it is there */
	uint32_t sectors_before;
};

struct tagvol {
	const char *path;
	bool pack_refused; /* a clone holds one of its epochs */
	struct dvol *vol;
	uint32_t sectors, tag;
	uint32_t now[TAGVOL_SECTORS], flushed[TAGVOL_SECTORS];
	uint32_t since[TAGVOL_SECTORS][TAGVOL_SINCE]; /* what was written since the flush */
	uint8_t nsince[TAGVOL_SECTORS];
	struct tagvol_epoch epochs[TAGVOL_EPOCHS];
	size_t nepochs;
	uint64_t numbers; /* of epochs */
	struct tagvol_doubt doubt;
};

/* tagvol_create(tv, disk, options): tv has its path; of options the size and the files are filled in here.  Not opened.
 * tagvol_open: for writing, with random options. */
void tagvol_create(struct tagvol *tv, struct memdisk *disk, uint32_t sectors,
		   struct dvol_create_options options);
void tagvol_open(struct tagvol *tv, struct memdisk *disk, uint64_t *random);
/* tagvol_step: one random change, flush or check; what is in doubt meanwhile stays in tv->doubt until tagvol_sure.
 * tagvol_apply_step: that, of an epoch that `delta` makes of the volume. */
void tagvol_step(struct tagvol *tv, struct memdisk *disk, uint64_t *random);
void tagvol_apply_step(struct tagvol *tv, const char *delta, const struct tagvol_epoch *epoch);
void tagvol_sure(struct tagvol *tv);
/* tagvol_close_epoch, tagvol_scribble (a random write), tagvol_pin: steps that are done and settled at once. */
void tagvol_close_epoch(struct tagvol *tv);
void tagvol_scribble(struct tagvol *tv, uint64_t *random);
void tagvol_pin(struct tagvol *tv, struct tagvol_epoch *epoch, bool kept);
/* tagvol_resume: opened on a disk that a cut left; what was in doubt is known now. */
void tagvol_resume(struct tagvol *tv, struct memdisk *disk, uint64_t *random);
/* tagvol_cuts(pc, vols, n, cuts, random): make so many states that a cut may leave, and check the n volumes in each; some
 * are cut once more while they recover.  Returns how many states there were. */
uint64_t tagvol_cuts(struct powercut *pc, struct tagvol **vols, size_t n, unsigned cuts, uint64_t *random);

#endif
