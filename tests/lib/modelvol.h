/* modelvol.h: a volume beside plain copies of its head and of each of its epochs.  Every change is done to both, and what
 * can be asked of the volume is compared.  A mismatch fails the test, and tells how to have the run again. */
#ifndef TESTS_LIB_MODELVOL_H
#define TESTS_LIB_MODELVOL_H

#include "imagefmt/dvol.h"
#include "tests/lib/memdisk.h"

enum { MODEL_EPOCHS = 10 };

struct model_run {
	struct memdisk disk;
	uint64_t seed, random, step;
	const char *doing;
	uint64_t counter; /* of versions */
	uint64_t blocks;  /* no volume is larger */
};

struct model_state {
	uint8_t *data; /* run->blocks blocks; zeroes past the end */
	/* Which write each block's content is from, 0 for none: what takes space of its own.  And when somebody last did
	 * anything to it. */
	uint64_t *version, *stamp;
	uint64_t size;
	struct dvol_id id;
	bool has_root;
	uint8_t root[DVOL_ROOT];
	bool pinned;
	unsigned readers;
};

struct modelvol {
	struct model_run *run;
	char path[16];
	uint8_t lineage[16];
	struct dvol *vol;
	struct model_state head, epochs[MODEL_EPOCHS];
	size_t nepochs;
	struct dvol_id last; /* that was closed */
	uint64_t backed;     /* bytes that its backing has */
	bool packed;         /* some blocks may be */
};

void __attribute__((noreturn))
modelvol_wrong(const struct modelvol *v, const char *what, const struct err *err);
uint64_t model_pick(struct model_run *run, uint64_t below);

/* modelvol_make(run, path, size, backing, epoch): a new volume of random kind, opened; upon an epoch of another one when
 * backing is not NULL.  modelvol_drop: it is closed, and its file removed. */
struct modelvol *modelvol_make(struct model_run *run, const char *path, uint64_t size,
			       const struct modelvol *backing, const struct model_state *epoch);
void modelvol_drop(struct modelvol *v);
struct model_state *modelvol_epoch(struct modelvol *v, struct dvol_id id);
struct dvol *modelvol_open_epoch(const struct modelvol *v, struct dvol_id id);

/* Changes. */
void modelvol_write(struct modelvol *v);
void modelvol_write_cold(struct modelvol *v);
void modelvol_discard(struct modelvol *v);
void modelvol_write_zeroes(struct modelvol *v);
void modelvol_flush(struct modelvol *v);
void modelvol_close_epoch(struct modelvol *v);
void modelvol_delete(struct modelvol *v);
void modelvol_rollback(struct modelvol *v);
void modelvol_resize(struct modelvol *v);
void modelvol_reopen(struct modelvol *v);
void modelvol_pin(struct modelvol *v);
void modelvol_digest(struct modelvol *v);
void modelvol_pack(struct modelvol *v);
/* modelvol_apply(v, delta, source, changed, count): the delta is of the blocks named; source is its epoch elsewhere. */
void modelvol_apply(struct modelvol *v, const char *delta, const struct model_state *source,
		    const struct dvol_extent *changed, size_t count);

/* Comparisons. */
void modelvol_compare(struct modelvol *v, struct dvol *vol, const struct model_state *state);
void modelvol_compare_head(struct modelvol *v);
void modelvol_compare_epoch(struct modelvol *v);
void modelvol_compare_changed(struct modelvol *v);
void modelvol_compare_two(struct modelvol *v);
void modelvol_compare_mapped(struct modelvol *v);
void modelvol_compare_space(struct modelvol *v);

#endif
