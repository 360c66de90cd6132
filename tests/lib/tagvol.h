/* tagvol.h: a small volume of which every sector's content is known: a tag, repeated; 0 is zeroes.  It takes steps of random
 * size, and can be compared with what a power cut, or a failure in the middle of a step, left of it.  A mismatch fails the test.
 *
 * A step returns false when it failed, which it may only where tv->fault is there to take the error. */
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
	struct err *fault; /* of a step that failed; NULL: none may */
	struct dvol *vol;
	uint32_t sectors, tag;
	uint32_t now[TAGVOL_SECTORS], before[TAGVOL_SECTORS]; /* before: the present step */
	uint32_t flushed[TAGVOL_SECTORS];
	uint32_t since[TAGVOL_SECTORS][TAGVOL_SINCE]; /* what was written since the flush */
	uint8_t nsince[TAGVOL_SECTORS];
	struct tagvol_epoch epochs[TAGVOL_EPOCHS];
	size_t nepochs;
	uint64_t numbers; /* of epochs */
	struct tagvol_doubt doubt;
};

enum tagvol_what {
	TAGVOL_FLUSH,
	TAGVOL_WRITE,
	TAGVOL_WRITE_COLD,
	TAGVOL_DISCARD,
	TAGVOL_WRITE_ZEROES,
	TAGVOL_CLOSE_EPOCH,
	TAGVOL_DELETE, /* this and the next ones: a random epoch, nothing when there is none */
	TAGVOL_DIGEST,
	TAGVOL_ROLLBACK,
	TAGVOL_PIN,
	TAGVOL_RESIZE,
	TAGVOL_PACK,
	TAGVOL_REOPEN,
	TAGVOL_WHATS
};

/* tagvol_create(tv, disk, options): tv has its path; of options the size and the files are filled in here.  Not opened.
 * tagvol_open: for writing, with random options. */
bool tagvol_create(struct tagvol *tv, struct memdisk *disk, uint32_t sectors,
		   struct dvol_create_options options);
bool tagvol_open(struct tagvol *tv, struct memdisk *disk, uint64_t *random);
/* tagvol_do: one step; what is in doubt meanwhile stays in tv->doubt until tagvol_sure.  tagvol_step: a random one.
 * tagvol_apply: an epoch that `delta` makes of the volume. */
bool tagvol_do(struct tagvol *tv, struct memdisk *disk, enum tagvol_what what, uint64_t *random);
void tagvol_step(struct tagvol *tv, struct memdisk *disk, uint64_t *random);
bool tagvol_apply(struct tagvol *tv, const char *delta, const struct tagvol_epoch *epoch);
void tagvol_sure(struct tagvol *tv);
void tagvol_set_flushed(struct tagvol *tv); /* all that was done is durable */
/* tagvol_scribble: a random write, and first a flush where one is due.  tagvol_pin: a pin more or less; kept: one that no
 * step takes away. */
void tagvol_scribble(struct tagvol *tv, struct memdisk *disk, uint64_t *random);
bool tagvol_pin(struct tagvol *tv, struct tagvol_epoch *epoch, bool kept);
/* tagvol_resume: opened on a disk that a cut left; what was in doubt is known now. */
void tagvol_resume(struct tagvol *tv, struct memdisk *disk, uint64_t *random);
/* tagvol_check: what is on the disk, without a repair first, then as a writable open leaves it. */
void tagvol_check(struct tagvol *tv, struct memdisk *disk, uint64_t *random);
/* tagvol_cuts(pc, vols, n, cuts, random): make so many states that a cut may leave, and check the n volumes in each; some
 * are cut once more while they recover.  Returns how many states there were. */
uint64_t tagvol_cuts(struct powercut *pc, struct tagvol **vols, size_t n, unsigned cuts, uint64_t *random);

#endif
