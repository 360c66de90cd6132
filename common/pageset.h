/* pageset.h: a set of page numbers in memory that processes share.
 *
 * Two levels of bits: one bit a page, and one summary bit for each 64-bit word of those, so that taking the
 * members out costs O(members + size/4096 words), not O(size).  One or more threads may add while one takes:
 * bits move with atomic operations, and an add is either seen by the take that runs or left for the next one,
 * never lost.  Lives in a memfd, so that the VM process fills it and the mover drains it. */
#ifndef COMMON_PAGESET_H
#define COMMON_PAGESET_H

#include "common/err.h"
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct pageset {
	uint64_t pages;    /* page numbers are 0 .. pages-1 */
	uint64_t *words;   /* bit p%64 of word p/64: page p is a member */
	uint64_t *summary; /* bit w%64 of word w/64: word w may be non-zero (never clear while it is) */
	size_t map_len;
	int fd; /* the memfd; owned */
};

/* pageset_create(set, pages, err): an empty set in a new memfd.  pageset_map(set, fd, pages, err): the set that
 * another process made; checks that the file is large enough for `pages` and sealed against shrinking,
 * takes fd over on success only.
 * Both return 0 or -1 with *err.  pageset_close frees; harmless on a zeroed struct. */
int pageset_create(struct pageset *set, uint64_t pages, struct err *err);
int pageset_map(struct pageset *set, int fd, uint64_t pages, struct err *err);
void pageset_close(struct pageset *set);

/* pageset_add(set, page): returns true when it was not a member before.  A page past the end is ignored. */
bool pageset_add(struct pageset *set, uint64_t page);
/* pageset_add_range(set, first, count): clipped at the end of the set.  Returns how many were new. */
uint64_t pageset_add_range(struct pageset *set, uint64_t first, uint64_t count);
/* pageset_add_all(set, from): the members of `from`, which are taken out of it.  They are members here first: a caller that dies
 * in it has lost none, if both sets outlive it. */
void pageset_add_all(struct pageset *set, struct pageset *from);
/* pageset_add_copy(set, at, from, first, count): the members first .. first + count - 1 of `from`, where they stay, as at ..; `at` and
 * `first` are multiples of 64, and both ranges lie in their sets. */
void pageset_add_copy(struct pageset *set, uint64_t at, const struct pageset *from, uint64_t first,
		      uint64_t count);
/* pageset_mend(set): after a process died that changed it: every member is found again.  Looks at all of it. */
void pageset_mend(struct pageset *set);
/* pageset_remove_range(set, first, count): clipped likewise; any thread, beside those that add and take: each member goes to
 * one of them.  Returns how many were members. */
uint64_t pageset_remove_range(struct pageset *set, uint64_t first, uint64_t count);
bool pageset_has(const struct pageset *set, uint64_t page);
/* pageset_take(set, &cursor, pages, max): remove up to max members at or above *cursor, lowest first, and put
 * their numbers into pages[].  Advances *cursor past the last of them.  Returns how many; fewer than max: no more
 * were there at or above the cursor; 0: none.  One thread at a time.  What a taker that dies had taken is gone
 * from the set. */
size_t pageset_take(struct pageset *set, uint64_t *cursor, uint64_t *pages, size_t max);
/* Several threads share the taking out: each claims a range of its own, and takes what is in it.
 * pageset_claim(set, cursor, unit, &first, &end): the next range of at most `unit` pages (a multiple of 64) that has
 * members; *cursor, 0 at first, is shared by all of them.  false: there is none up to the end of the set.
 * pageset_take_below: pageset_take, of members below `end` only; first and end are multiples of 64, or the set's end. */
bool pageset_claim(const struct pageset *set, uint64_t *cursor, uint64_t unit, uint64_t *first,
		   uint64_t *end);
size_t pageset_take_below(struct pageset *set, uint64_t *cursor, uint64_t end, uint64_t *pages, size_t max);
/* pageset_next_run(set, &cursor, &first, &count): the first adjacent members at or above *cursor, which goes behind them; they stay
 * members.  false: there are none.  Of no single moment while others change the set. */
bool pageset_next_run(const struct pageset *set, uint64_t *cursor, uint64_t *first, uint64_t *count);
/* pageset_count(set): members now (walks the summary); of no single moment while others add. */
uint64_t pageset_count(const struct pageset *set);
void pageset_clear(struct pageset *set);

#endif
