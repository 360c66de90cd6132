/* What a filled page holds: a pure function of (seed, page, version).
 *
 * The base of a page does not change with its version: in each of eight groups of 64 words, first random
 * words, then a record of two small words over and over (what tables and cleared memory are like).  The
 * version shows in PATTERN_MARKS words, one in each quarter of the page, at places that depend on the page.
 */
#ifndef GUEST_PATTERN_H
#define GUEST_PATTERN_H

#include <stdint.h>

#define PATTERN_WORDS 512
#define PATTERN_MARKS 4

/* Sets the seed and the percentage of each page that is compressible.  Before anything else here. */
void pattern_init(uint64_t seed, unsigned compress);

/* Writes the whole page into out, aligned to 16 bytes. */
void pattern_page(uint64_t *out, uint64_t page, uint32_t version);

/* Makes another version of the page out of any version of it. */
void pattern_mark(uint64_t *words, uint64_t page, uint32_t version);

#endif
