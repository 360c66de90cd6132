/* sentpages.c: digests in slots, a slot for each range of pages that has one.
 *
 * Where there is a slot for every range, each has its own for good.  Else slots go round: a range that has pages to send
 * and no slot gets that of a range that has none, which is found by a hand that goes over all slots like that of a clock.
 * So ranges that are written again and again keep theirs, and of a guest that writes everywhere some part is tracked. */
#include "migrate/sentpages.h"

#include "common/io.h"
#include "migrate/delta.h"

#include <stdlib.h>
#include <sys/mman.h>
#include <sys/random.h>

enum { WORD = 64, WORDS = SENTPAGES_RANGE / WORD, NONE = UINT16_MAX, SLOTS_MAX = NONE - 1 };

struct slot {
	uint64_t range;
	bool used;
	uint64_t known[WORDS]; /* atomic, since neighbours of different threads share words */
};
typedef uint32_t page_digest[DELTA_BLOCKS];

struct sentpages {
	uint64_t pages, ranges;
	uint64_t seed, cost_ns;
	uint16_t *slot_of; /* of each range; NONE */
	uint64_t *busy;    /* bits: ranges that this round has pages of */
	size_t slots, hand;
	struct slot *slot;
	page_digest *digests; /* SENTPAGES_RANGE of each slot */
};

static size_t bytes_of(size_t slots)
{
	return slots * SENTPAGES_RANGE * sizeof(page_digest);
}

/* The first time is a warm-up. */
static uint64_t measure(uint64_t seed)
{
	enum { TIMES = 16 };
	static const uint8_t page[DELTA_PAGE];
	page_digest scratch;
	uint64_t began = 0;

	for (int i = 0; i <= TIMES; i++) {
		if (i == 1)
			began = clock_mono_ns();
		(void)delta_update(scratch, page, seed);
	}
	return (clock_mono_ns() - began) / TIMES + 1;
}

struct sentpages *sentpages_open(uint64_t pages, size_t bytes, struct err *err)
{
	struct sentpages *sent = calloc(1, sizeof(*sent));
	size_t most = bytes / bytes_of(1);

	if (!sent) {
		err_sys(err, "cannot allocate the digests of pages");
		return NULL;
	}
	(void)!getrandom(&sent->seed, sizeof(sent->seed), 0);
	sent->cost_ns = measure(sent->seed);
	sent->pages = pages;
	sent->ranges = (pages + SENTPAGES_RANGE - 1) / SENTPAGES_RANGE;
	most = most < 1 ? 1 : most < SLOTS_MAX ? most : SLOTS_MAX;
	sent->slots = sent->ranges < most ? sent->ranges : most;
	sent->slot_of = malloc(sent->ranges * sizeof(*sent->slot_of));
	sent->busy = calloc(sent->ranges / WORD + 1, sizeof(*sent->busy));
	sent->slot = calloc(sent->slots, sizeof(*sent->slot));
	sent->digests = mmap(NULL, bytes_of(sent->slots), PROT_READ | PROT_WRITE,
			     MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (!sent->slot_of || !sent->busy || !sent->slot || sent->digests == MAP_FAILED) {
		err_sys(err, "cannot allocate the digests of pages");
		sentpages_close(sent);
		return NULL;
	}
	/* A page fault for each 16 pages would cost a third of what the digests do.  Where it is refused, it does. */
	(void)madvise(sent->digests, bytes_of(sent->slots), MADV_HUGEPAGE);
	for (uint64_t range = 0; range < sent->ranges; range++)
		sent->slot_of[range] = NONE;
	return sent;
}

void sentpages_close(struct sentpages *sent)
{
	if (!sent)
		return;
	if (sent->digests && sent->digests != MAP_FAILED)
		munmap(sent->digests, bytes_of(sent->slots));
	free(sent->slot);
	free(sent->busy);
	free(sent->slot_of);
	free(sent);
}

/* ---- between rounds ---- */

static bool is_busy(const struct sentpages *sent, uint64_t range)
{
	return sent->busy[range / WORD] >> range % WORD & 1;
}

static void find_busy(struct sentpages *sent, const struct pageset *todo)
{
	uint64_t cursor = 0, first, end;

	for (uint64_t i = 0; i <= sent->ranges / WORD; i++)
		sent->busy[i] = 0;
	while (pageset_claim(todo, &cursor, WORD, &first, &end)) {
		uint64_t range = first / SENTPAGES_RANGE;

		sent->busy[range / WORD] |= 1ull << range % WORD;
		cursor = (range + 1) * SENTPAGES_RANGE;
	}
}

/* A slot that no busy range has; *left: how many are to be looked at yet in this round. */
static struct slot *spare(struct sentpages *sent, size_t *left)
{
	while (*left > 0) {
		struct slot *slot = &sent->slot[sent->hand];

		sent->hand = (sent->hand + 1) % sent->slots;
		--*left;
		if (!slot->used || !is_busy(sent, slot->range))
			return slot;
	}
	return NULL;
}

void sentpages_round(struct sentpages *sent, const struct pageset *todo)
{
	size_t left = sent->slots;

	find_busy(sent, todo);
	for (uint64_t range = 0; range < sent->ranges; range++) {
		struct slot *slot;

		if (!is_busy(sent, range) || sent->slot_of[range] != NONE)
			continue;
		slot = spare(sent, &left);
		if (!slot)
			return;
		if (slot->used)
			sent->slot_of[slot->range] = NONE;
		*slot = (struct slot){.range = range, .used = true};
		sent->slot_of[range] = (uint16_t)(slot - sent->slot);
	}
}

/* ---- in a round ---- */

bool sentpages_note(struct sentpages *sent, uint64_t page, const uint8_t *content, uint64_t *changed)
{
	uint64_t at = page % SENTPAGES_RANGE, bit = 1ull << at % WORD;
	uint16_t number = sent->slot_of[page / SENTPAGES_RANGE];
	uint64_t *known;
	uint32_t *digest;

	if (number == NONE)
		return false;
	known = &sent->slot[number].known[at / WORD];
	digest = sent->digests[(size_t)number * SENTPAGES_RANGE + at];
	if (__atomic_load_n(known, __ATOMIC_RELAXED) & bit) {
		*changed = delta_update(digest, content, sent->seed);
		return true;
	}
	delta_digest(content, sent->seed, digest);
	__atomic_fetch_or(known, bit, __ATOMIC_RELAXED);
	return false;
}

void sentpages_drop(struct sentpages *sent, uint64_t page, uint64_t count)
{
	uint64_t end = page < sent->pages && count < sent->pages - page ? page + count : sent->pages;

	while (page < end) {
		uint64_t next = (page / WORD + 1) * WORD, mask = ~0ull << page % WORD;
		uint16_t number = sent->slot_of[page / SENTPAGES_RANGE];

		if (next > end) {
			mask &= ~0ull >> (next - end);
			next = end;
		}
		if (number != NONE)
			__atomic_fetch_and(&sent->slot[number].known[page % SENTPAGES_RANGE / WORD], ~mask,
					   __ATOMIC_RELAXED);
		page = next;
	}
}

uint64_t sentpages_cost_ns(const struct sentpages *sent)
{
	return sent->cost_ns;
}
