/* pageset.c: a set of page numbers in memory that processes share.
 *
 * The memfd holds the words (one bit a page), then the summary (one bit a word), nothing else; both sides know how
 * many pages there are.  It cannot shrink (sealed), so that no peer can make an access here end in SIGBUS.
 *
 * Why an add is never lost, with any number of threads adding and one taking:
 *
 *	add(p)                               take, for one word
 *	A1  word |= bit(p)                   T1  summary &= ~bit(word)
 *	A2  summary |= bit(word), unless     T2  word &= ~taken, giving the bits that were there
 *	    it is seen to be set             T3  summary |= bit(word), if bits were left in the word
 *
 * All of these are sequentially consistent, so there is one order of them that every thread agrees on.
 *   - A1 before T2: T2 gets bit(p) or leaves it in the word, and then T3 sets the summary.
 *   - A1 after T2, so after T1: if A2 sees the summary bit set, somebody set it after T1, and the next take comes by;
 *     if it does not, it sets it.
 * In neither case is the word left with bit(p) and without a summary bit once both calls have returned.  Were the word
 * emptied before its summary bit is cleared, an add in between would set both, and T1 would hide it.  Were the summary
 * set before the word, a take in between would find nothing, clear it, and hide the add.  A2 also runs when bit(p)
 * was set already: the thread that set it may not have reached its own A2.
 *
 * T1 is left out when bits will stay in the word in any case: a summary bit that is set needlessly costs a look, one
 * that is clear wrongly costs a page.  What the peer writes into bits past the last page is never looked at. */
#include "common/pageset.h"

#include "common/io.h"
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

enum { WORD_BITS = 64 };
/* 2^44 pages of 4 KiB are 2^56 bytes: more than a guest can address, and no size below overflows. */
#define PAGES_MAX (1ull << 44)

static uint64_t words_for(uint64_t bits)
{
	return (bits + WORD_BITS - 1) / WORD_BITS;
}

static uint64_t bit_of(uint64_t number)
{
	return 1ull << number % WORD_BITS;
}

/* Bits from .. 63. */
static uint64_t bits_from(uint64_t from)
{
	return ~0ull << from;
}

/* Those bits of word number `word` of a row of `total` bits that exist. */
static uint64_t bits_valid(uint64_t total, uint64_t word)
{
	uint64_t left = total - word * WORD_BITS;

	return left >= WORD_BITS ? ~0ull : ~bits_from(left);
}

static uint64_t load(const uint64_t *at)
{
	return __atomic_load_n(at, __ATOMIC_SEQ_CST);
}

static int check_pages(uint64_t pages, struct err *err)
{
	if (pages >= 1 && pages <= PAGES_MAX)
		return 0;
	return err_set(err, ERR_INPUT, "a page set of %" PRIu64 " pages cannot be: 1 to %llu are possible",
		       pages, PAGES_MAX);
}

static size_t size_for(uint64_t pages)
{
	uint64_t words = words_for(pages);

	return (words + words_for(words)) * sizeof(uint64_t);
}

static int map_fd(struct pageset *set, int fd, uint64_t pages, struct err *err)
{
	size_t len = size_for(pages);
	void *at = mmap(NULL, len, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);

	if (at == MAP_FAILED)
		return err_sys(err, "cannot map a page set of %zu bytes", len);
	*set = (struct pageset){.pages = pages, .words = at, .map_len = len, .fd = fd};
	set->summary = set->words + words_for(pages);
	return 0;
}

int pageset_create(struct pageset *set, uint64_t pages, struct err *err)
{
	int fd;

	if (check_pages(pages, err) < 0)
		return -1;
	fd = io_sealed_memfd("drover-pageset", size_for(pages));
	if (fd < 0)
		return err_sys(err, "cannot make a page set of %zu bytes", size_for(pages));
	if (map_fd(set, fd, pages, err) == 0)
		return 0;
	io_close(&fd);
	return -1;
}

int pageset_map(struct pageset *set, int fd, uint64_t pages, struct err *err)
{
	struct stat st;
	int seals;

	if (check_pages(pages, err) < 0)
		return -1;
	seals = fcntl(fd, F_GET_SEALS);
	if (seals < 0 || !(seals & F_SEAL_SHRINK))
		return err_set(err, ERR_INPUT,
			       "the page set received is not a memfd sealed against shrinking");
	if (fstat(fd, &st) < 0)
		return err_sys(err, "cannot look at the page set received");
	if ((uint64_t)st.st_size < size_for(pages))
		return err_set(err, ERR_INPUT,
			       "the page set received has %jd bytes, %" PRIu64 " pages need %zu",
			       (intmax_t)st.st_size, pages, size_for(pages));
	return map_fd(set, fd, pages, err);
}

void pageset_close(struct pageset *set)
{
	if (set->words) {
		munmap(set->words, set->map_len);
		io_close(&set->fd);
	}
	*set = (struct pageset){.fd = -1};
}

/* A1 and A2 for some bits of one word; returns those that were not set before. */
static uint64_t add_bits(struct pageset *set, uint64_t word, uint64_t bits)
{
	uint64_t before = __atomic_fetch_or(&set->words[word], bits, __ATOMIC_SEQ_CST);
	uint64_t *summary = &set->summary[word / WORD_BITS];

	if (!(load(summary) & bit_of(word)))
		__atomic_fetch_or(summary, bit_of(word), __ATOMIC_SEQ_CST);
	return bits & ~before;
}

bool pageset_add(struct pageset *set, uint64_t page)
{
	return page < set->pages && add_bits(set, page / WORD_BITS, bit_of(page)) != 0;
}

/* The summary stays as it is: where it is set needlessly, the next take finds that out.  Returns those that were set. */
static uint64_t remove_bits(struct pageset *set, uint64_t word, uint64_t bits)
{
	return bits & __atomic_fetch_and(&set->words[word], ~bits, __ATOMIC_SEQ_CST);
}

/* change() for each word of a range, which is clipped at the end of the set; how many bits it changed. */
static uint64_t change_range(struct pageset *set, uint64_t first, uint64_t count,
			     uint64_t (*change)(struct pageset *set, uint64_t word, uint64_t bits))
{
	uint64_t changed = 0;
	uint64_t end;

	if (first >= set->pages)
		return 0;
	end = count < set->pages - first ? first + count : set->pages;
	while (first < end) {
		uint64_t word = first / WORD_BITS;
		uint64_t bits = bits_from(first % WORD_BITS) & bits_valid(end, word);

		changed += (uint64_t)__builtin_popcountll(change(set, word, bits));
		first = (word + 1) * WORD_BITS;
	}
	return changed;
}

uint64_t pageset_add_range(struct pageset *set, uint64_t first, uint64_t count)
{
	return change_range(set, first, count, add_bits);
}

uint64_t pageset_remove_range(struct pageset *set, uint64_t first, uint64_t count)
{
	return change_range(set, first, count, remove_bits);
}

bool pageset_has(const struct pageset *set, uint64_t page)
{
	return page < set->pages && (load(&set->words[page / WORD_BITS]) & bit_of(page)) != 0;
}

/* The `count` lowest of the bits. */
static uint64_t lowest(uint64_t bits, size_t count)
{
	uint64_t rest = bits;

	if (count >= WORD_BITS)
		return bits;
	while (rest && count--)
		rest &= rest - 1;
	return bits & ~rest;
}

/* T1 to T3 for one word: take at most max of its bits that are in mask; returns them. */
static uint64_t take_bits(struct pageset *set, uint64_t word, uint64_t mask, size_t max)
{
	uint64_t *summary = &set->summary[word / WORD_BITS];
	uint64_t valid = bits_valid(set->pages, word);
	uint64_t there = load(&set->words[word]) & valid;
	uint64_t taken = lowest(there & mask, max);
	bool all = taken == there;

	if (all)
		__atomic_fetch_and(summary, ~bit_of(word), __ATOMIC_SEQ_CST);
	there = __atomic_fetch_and(&set->words[word], ~taken, __ATOMIC_SEQ_CST) & valid;
	if (all && (there & ~taken))
		__atomic_fetch_or(summary, bit_of(word), __ATOMIC_SEQ_CST);
	return there & taken;
}

/* The number of the first word at or after `word` whose summary bit is set; the number of words if there is
 * none. */
static uint64_t next_word(const struct pageset *set, uint64_t word)
{
	uint64_t words = words_for(set->pages);
	uint64_t mask = bits_from(word % WORD_BITS);

	for (uint64_t i = word / WORD_BITS; i < words_for(words); i++) {
		uint64_t bits = load(&set->summary[i]) & mask & bits_valid(words, i);

		if (bits)
			return i * WORD_BITS + (uint64_t)__builtin_ctzll(bits);
		mask = ~0ull;
	}
	return words;
}

bool pageset_claim(const struct pageset *set, uint64_t *cursor, uint64_t unit, uint64_t *first, uint64_t *end)
{
	uint64_t at = load(cursor);

	do {
		*first = at < set->pages ? next_word(set, at / WORD_BITS) * WORD_BITS : set->pages;
		if (*first >= set->pages)
			return false;
		*end = set->pages - *first > unit ? *first + unit : set->pages;
	} while (!__atomic_compare_exchange_n(cursor, &at, *end, false, __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST));
	return true;
}

size_t pageset_take(struct pageset *set, uint64_t *cursor, uint64_t *pages, size_t max)
{
	return pageset_take_below(set, cursor, set->pages, pages, max);
}

size_t pageset_take_below(struct pageset *set, uint64_t *cursor, uint64_t end, uint64_t *pages, size_t max)
{
	uint64_t words = words_for(end < set->pages ? end : set->pages);
	uint64_t first = *cursor / WORD_BITS;
	uint64_t mask = bits_from(*cursor % WORD_BITS);
	size_t count = 0;

	for (uint64_t word = next_word(set, first); word < words && count < max;
	     word = next_word(set, word + 1)) {
		uint64_t bits = take_bits(set, word, word == first ? mask : ~0ull, max - count);

		for (; bits; bits &= bits - 1)
			pages[count++] = word * WORD_BITS + (uint64_t)__builtin_ctzll(bits);
	}
	if (count)
		*cursor = pages[count - 1] + 1;
	return count;
}

bool pageset_next_run(const struct pageset *set, uint64_t *cursor, uint64_t *first, uint64_t *count)
{
	uint64_t words = words_for(set->pages), word = *cursor / WORD_BITS, bits = 0, end;

	if (*cursor >= set->pages)
		return false;
	for (uint64_t mask = bits_from(*cursor % WORD_BITS); word < words; mask = ~0ull) {
		bits = load(&set->words[word]) & bits_valid(set->pages, word) & mask;
		if (bits)
			break;
		word = next_word(set, word + 1);
	}
	if (!bits)
		return false;
	*first = word * WORD_BITS + (uint64_t)__builtin_ctzll(bits);
	end = *first;
	/* What is left of this word, then word by word. */
	bits >>= end % WORD_BITS;
	for (;;) {
		uint64_t ones = ~bits ? (uint64_t)__builtin_ctzll(~bits) : WORD_BITS;

		end += ones;
		if (end % WORD_BITS || ones == 0 || end >= set->pages)
			break;
		bits = load(&set->words[end / WORD_BITS]) & bits_valid(set->pages, end / WORD_BITS);
	}
	*count = end - *first;
	*cursor = end;
	return true;
}

uint64_t pageset_count(const struct pageset *set)
{
	uint64_t words = words_for(set->pages);
	uint64_t count = 0;

	for (uint64_t word = next_word(set, 0); word < words; word = next_word(set, word + 1))
		count +=
		    (uint64_t)__builtin_popcountll(load(&set->words[word]) & bits_valid(set->pages, word));
	return count;
}

void pageset_clear(struct pageset *set)
{
	uint64_t words = words_for(set->pages);

	for (uint64_t word = next_word(set, 0); word < words; word = next_word(set, word + 1))
		take_bits(set, word, ~0ull, WORD_BITS);
}

void pageset_add_all(struct pageset *set, struct pageset *from)
{
	uint64_t words = words_for(set->pages < from->pages ? set->pages : from->pages);

	for (uint64_t word = next_word(from, 0); word < words; word = next_word(from, word + 1)) {
		uint64_t bits = load(&from->words[word]) & bits_valid(from->pages, word);

		add_bits(set, word, bits);
		/* Only now: whoever dies in here has not lost any. */
		take_bits(from, word, bits, WORD_BITS);
	}
}

void pageset_add_copy(struct pageset *set, uint64_t at, const struct pageset *from, uint64_t first,
		      uint64_t count)
{
	uint64_t end = words_for(first + count);

	for (uint64_t word = next_word(from, first / WORD_BITS); word < end;
	     word = next_word(from, word + 1)) {
		uint64_t bits = load(&from->words[word]) & bits_valid(first + count, word);

		if (bits)
			add_bits(set, at / WORD_BITS + word - first / WORD_BITS, bits);
	}
}

void pageset_mend(struct pageset *set)
{
	for (uint64_t word = 0; word < words_for(set->pages); word++)
		if (load(&set->words[word]))
			add_bits(set, word, 0);
}
