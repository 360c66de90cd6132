/* sentpages.h: what was sent last of each page, as digests (delta.h), so that a page that is sent again can go as a delta.
 *
 * It is known of a page only while the receiver holds, or will hold before any later epoch, just what was sent: the sender
 * drops what a broken link may not have brought, and what was encoded but never sent.
 *
 * Bounded: digests are kept for ranges of pages, as many as there is room for; a memory that is larger than that shares
 * them out between rounds, to the ranges that have something to send.  So in a round nothing moves, a page has one thread,
 * and no lock is needed. */
#ifndef MIGRATE_SENTPAGES_H
#define MIGRATE_SENTPAGES_H

#include "common/err.h"
#include "common/pageset.h"
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { SENTPAGES_RANGE = 512, SENTPAGES_BYTES = 64 << 20 }; /* of a memory of 1 GiB, all pages */

struct sentpages;

/* sentpages_open(pages, bytes, err): for a memory of so many pages; digests of at most so many bytes, and of one range at least.  Memory is
 * taken as they come.  NULL with *err when out of memory.  sentpages_close(NULL) is harmless. */
struct sentpages *sentpages_open(uint64_t pages, size_t bytes, struct err *err);
void sentpages_close(struct sentpages *sent);

/* sentpages_round(sent, todo): a round with these pages begins.  No other function runs meanwhile. */
void sentpages_round(struct sentpages *sent, const struct pageset *todo);

/* Any thread, several at once; a page is one thread's at a time.
 * sentpages_note(sent, page, content, changed): the page is sent with this content.  true: it is known which blocks changed since it
 * was sent last.
 * sentpages_drop(sent, page, count): what the receiver holds of these is not known; those past the end are ignored. */
bool sentpages_note(struct sentpages *sent, uint64_t page, const uint8_t *content, uint64_t *changed);
void sentpages_drop(struct sentpages *sent, uint64_t page, uint64_t count);

/* sentpages_cost_ns(sent): what keeping track of a page that is sent takes, measured when it was opened. */
uint64_t sentpages_cost_ns(const struct sentpages *sent);

#endif
