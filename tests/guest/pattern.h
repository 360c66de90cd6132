/* What a filled page holds: a pure function of (seed, page, version).
 *
 * The base of a page does not change with its version: in each of eight groups of 64 words, first random
 * words, then a record of two small words over and over (what tables and cleared memory are like).  The
 * version shows in some words, one in each of as many equal parts of the page, at places that depend on the page.
 */
#ifndef GUEST_PATTERN_H
#define GUEST_PATTERN_H

#include <stdint.h>

#define PATTERN_WORDS 512

/* Sets the seed, the percentage of each page that is compressible, and how many words another version changes (a power of
 * two, PATTERN_WORDS at most).  Before anything else here. */
void pattern_init(uint64_t seed, unsigned compress, unsigned words);

/* Writes the whole page into out, aligned to 16 bytes. */
void pattern_page(uint64_t *out, uint64_t page, uint32_t version);

/* Makes another version of the page out of any version of it. */
void pattern_mark(uint64_t *words, uint64_t page, uint32_t version);

#endif
