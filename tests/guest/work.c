#include "work.h"
#include "arch.h"
#include "pattern.h"
#include "ram.h"
#include "stop.h"
#include <stddef.h>

#define TURN_PAGES  64 /* dirtied in one turn at most */
#define TURN_CHECK  8  /* pages between two looks at the clock */
#define TURN_US     20 /* after which a turn dirties no more */
#define DEBT_MS     4  /* what a late pacer makes up for; older debt is dropped */
#define PV_SLACK_NS 100000
#define HOT_TENTHS  9 /* of the writes that go to the hot pages, a tenth of all */

static const struct params *params;
static struct worker *workers;
static uint32_t *versions; /* of each page */
static volatile uint64_t dirty_rate;
static uint64_t n_errors;
static struct work_error error_slots[WORK_ERRORS];

void work_init(const struct params *p)
{
	uint64_t pages = p->fill / PAGE_SIZE, working = p->working ? p->working / PAGE_SIZE : pages;

	params = p;
	if (pages < p->cpus || working < p->cpus || working > pages)
		stop_error("fill and working must hold a page for each CPU, working no more than fill", NULL);
	dirty_rate = p->dirty;
	workers = ram_alloc(p->cpus * sizeof(*workers));
	versions = ram_alloc(pages * sizeof(*versions));
	for (unsigned i = 0; i < p->cpus; i++) {
		struct worker *w = &workers[i];

		w->id = i;
		w->first = pages * i / p->cpus;
		w->pages = pages * (i + 1) / p->cpus - w->first;
		w->dirty_pages = working * (i + 1) / p->cpus - working * i / p->cpus;
		w->random = (p->seed + 1) * 0x9e3779b97f4a7c15 + i;
	}
}

struct worker *work_worker(unsigned id)
{
	return &workers[id];
}

void work_fill(struct worker *w)
{
	for (uint64_t i = w->first; i < w->first + w->pages; i++)
		pattern_page(ram_page(i), i, 0);
	w->filled = 1;
}

void work_set_dirty(uint64_t rate)
{
	dirty_rate = rate;
}

/* ---- errors
 * ------------------------------------------------------------------------------------------------ */

static void add_error(const struct work_error *e)
{
	uint64_t slot = __atomic_fetch_add(&n_errors, 1, __ATOMIC_RELAXED);

	if (slot >= WORK_ERRORS)
		return;
	error_slots[slot] = *e;
	__atomic_store_n(&error_slots[slot].ready, 1, __ATOMIC_RELEASE);
}

const struct work_error *work_error(unsigned i)
{
	if (i >= WORK_ERRORS || !__atomic_load_n(&error_slots[i].ready, __ATOMIC_ACQUIRE))
		return NULL;
	return &error_slots[i];
}

uint64_t work_errors(void)
{
	return __atomic_load_n(&n_errors, __ATOMIC_RELAXED);
}

/* ---- the loop
 * ---------------------------------------------------------------------------------------------- */

static void set_pace(struct pacer *p, uint64_t rate, uint64_t now)
{
	p->rate = rate;
	p->base = now;
	p->next = 0;
	if (rate && rate != RATE_MAX)
		p->step = clock_khz() * PAGE_SIZE * 1024 * params->cpus / (rate * 1000);
}

/* How many pages are due now, `limit` at most.  The caller says by pace_done() how many it did. */
static uint64_t pace_due(struct pacer *p, uint64_t rate, uint64_t now, uint64_t limit)
{
	uint64_t time, late;

	if (rate != p->rate || now < p->base)
		set_pace(p, rate, now);
	if (rate == 0 || rate == RATE_MAX)
		return rate ? limit : 0;
	time = (now - p->base) * 1024;
	if (time < p->next)
		return 0;
	late = time - p->next;
	if (late > clock_cycles_of_ms(DEBT_MS) * 1024) {
		late = clock_cycles_of_ms(DEBT_MS) * 1024;
		p->next = time - late;
	}
	return late >= limit * p->step ? limit : late / p->step + 1;
}

static void pace_done(struct pacer *p, uint64_t pages)
{
	p->next += pages * p->step;
}

static uint64_t next_random(struct worker *w)
{
	w->random ^= w->random << 13;
	w->random ^= w->random >> 7;
	w->random ^= w->random << 17;
	return w->random;
}

static uint64_t below(uint64_t random, uint64_t limit)
{
	return (uint64_t)((unsigned __int128)random * limit >> 64);
}

static uint64_t pick_page(struct worker *w)
{
	uint64_t n = w->dirty_pages, random;

	if (params->order == ORDER_SEQ) {
		if (w->next_dirty >= n)
			w->next_dirty = 0;
		return w->first + w->next_dirty++;
	}
	random = next_random(w) * 0x2545f4914f6cdd1d;
	if (params->order == ORDER_HOT && (random & 0xffff) % 10 < HOT_TENTHS)
		n = n < 10 ? 1 : n / 10;
	return w->first + below(random, n);
}

static void dirty_turn(struct worker *w, uint64_t now)
{
	uint64_t due = pace_due(&w->dirty_pacer, dirty_rate, now, TURN_PAGES), done;

	for (done = 0; done < due; done++) {
		uint64_t page;

		if (done && done % TURN_CHECK == 0 && clock_us(rdtsc() - now) > TURN_US)
			break;
		page = pick_page(w);
		pattern_mark(ram_page(page), page, ++versions[page]);
	}
	if (done) {
		pace_done(&w->dirty_pacer, done);
		w->written += done;
	}
}

static void check_words(uint64_t page, uint64_t *words, const uint64_t *expected)
{
	for (unsigned i = 0; i < PATTERN_WORDS; i++) {
		uint64_t found = *(volatile uint64_t *)&words[i];

		if (found == expected[i])
			continue;
		add_error(&(struct work_error){
		    .page = page, .offset = i * 8, .expected = expected[i], .found = found});
		words[i] = expected[i]; /* or it would count again at every round */
	}
}

static void verify_turn(struct worker *w, uint64_t now)
{
	uint64_t expected[PATTERN_WORDS] __attribute__((aligned(64)));
	uint64_t page = w->first + w->next_verify, different = 0;
	uint64_t *words;

	if (!pace_due(&w->verify_pacer, params->verify, now, 1))
		return;
	words = ram_page(page);
	pattern_page(expected, page, versions[page]);
	for (unsigned i = 0; i < PATTERN_WORDS; i++)
		different |= words[i] ^ expected[i];
	if (different)
		check_words(page, words, expected);
	if (++w->next_verify == w->pages)
		w->next_verify = 0;
	pace_done(&w->verify_pacer, 1);
	w->verified++;
}

/* Clocks may stand still but not go back.  kvmclock may by a little where the host's TSCs are not in step,
 * which it says by leaving a flag away, hence the slack. */
static void check_clocks(struct worker *w, uint64_t tsc)
{
	uint64_t ns;

	if (tsc < w->last_tsc)
		add_error(&(struct work_error){
		    .clock = "tsc", .page = w->id, .expected = w->last_tsc, .found = tsc});
	w->last_tsc = tsc;
	if (!w->has_pv)
		return;
	ns = clock_pv_ns(&w->pv);
	if (ns + PV_SLACK_NS < w->last_ns)
		add_error(&(struct work_error){
		    .clock = "kvmclock", .page = w->id, .expected = w->last_ns, .found = ns});
	w->last_ns = ns;
}

uint64_t work_turn(struct worker *w)
{
	uint64_t now = rdtsc();

	check_clocks(w, now);
	dirty_turn(w, now);
	verify_turn(w, now);
	return now;
}

uint64_t work_written(void)
{
	uint64_t sum = 0;

	for (unsigned i = 0; i < params->cpus; i++)
		sum += workers[i].written;
	return sum;
}

uint64_t work_verified(void)
{
	uint64_t sum = 0;

	for (unsigned i = 0; i < params->cpus; i++)
		sum += workers[i].verified;
	return sum;
}
