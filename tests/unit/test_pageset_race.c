/* test_pageset_race.c: threads that add to a page set while another takes from it lose nothing. */
#include "common/pageset.h"
#include "tests/lib/need.h"
#include "tests/lib/random.h"
#include "tests/lib/test.h"

#include <pthread.h>
#include <sched.h>
#include <string.h>

static void make(struct pageset *set, uint64_t pages)
{
	struct err err = {0};

	if (pageset_create(set, pages, &err) < 0)
		fail_msg("%s", err.text);
}

/* Give each thread a processor of its own: left alone, the scheduler may put both on one, where they take turns
 * and never meet. */
static void need_two_processors(cpu_set_t one[2])
{
	cpu_set_t all;
	int found = 0;

	assert_int_equal(sched_getaffinity(0, sizeof(all), &all), 0);
	for (int cpu = 0; cpu < CPU_SETSIZE && found < 2; cpu++) {
		if (CPU_ISSET(cpu, &all)) {
			CPU_ZERO(&one[found]);
			CPU_SET(cpu, &one[found]);
			found++;
		}
	}
	if (found < 2)
		need_skip("two processors are needed for a race between two threads");
}

/* Both threads pass this together, so that each round begins and ends with nothing under way. */
struct gate {
	unsigned int arrived;
};

static void pass(struct gate *gate, unsigned int round)
{
	__atomic_fetch_add(&gate->arrived, 1, __ATOMIC_SEQ_CST);
	/* To wait without giving up the processor means to begin at the same moment; but others want it too. */
	for (int patience = 10000; __atomic_load_n(&gate->arrived, __ATOMIC_SEQ_CST) < 2 * round;
	     patience--) {
		if (patience < 0)
			sched_yield();
	}
}

enum { ROUNDS = 2000, RACE_WORDS = 64, RACE_PAGES = RACE_WORDS * 64 };

struct race {
	struct pageset set;
	struct gate begin, end;
	unsigned int done; /* rounds that the adder is through with */
	uint64_t random;
	uint32_t new_adds[RACE_PAGES]; /* of this round: adds that said "was not a member" */
};

/* In each round every word gets one add, which wakes the taker's interest in it, and a second one a moment later
 * that is meant to fall between two steps of that take.  None follows that could make good what was lost. */
static void *race_adder(void *arg)
{
	struct race *race = arg;

	for (unsigned int round = 1; round <= ROUNDS; round++) {
		pass(&race->begin, round);
		for (uint64_t word = 0; word < RACE_WORDS; word++) {
			uint64_t first = word * 64 + random_next(&race->random) % 64;
			uint64_t second = word * 64 + random_next(&race->random) % 64;

			race->new_adds[first] += pageset_add(&race->set, first);
			for (uint64_t moment = random_next(&race->random) % 256; moment; moment--)
				__asm__ volatile("");
			race->new_adds[second] += pageset_add(&race->set, second);
		}
		__atomic_store_n(&race->done, round, __ATOMIC_SEQ_CST);
		pass(&race->end, round);
	}
	return NULL;
}

/* Take from the start, all or some, and count what came. */
static size_t take_and_count(struct pageset *set, size_t max, uint32_t *taken)
{
	static uint64_t pages[RACE_PAGES];
	uint64_t cursor = 0;
	size_t count = pageset_take(set, &cursor, pages, max);

	for (size_t i = 0; i < count; i++)
		taken[pages[i]]++;
	return count;
}

/* When both threads are done with a round, a take gets all that is left: every add that was new was taken exactly
 * once, and none stays hidden in a word without its summary bit. */
static void no_add_is_lost_while_another_thread_takes(void **state)
{
	static struct race race;
	static uint32_t taken[RACE_PAGES];
	uint64_t random = random_begin();
	uint64_t while_adding = 0;
	cpu_set_t old, one[2];
	pthread_t thread;

	(void)state;
	need_two_processors(one);
	make(&race.set, RACE_PAGES);
	race.random = random_next(&random);
	assert_int_equal(sched_getaffinity(0, sizeof(old), &old), 0);
	assert_int_equal(sched_setaffinity(0, sizeof(one[0]), &one[0]), 0);
	assert_int_equal(pthread_create(&thread, NULL, race_adder, &race), 0);
	assert_int_equal(pthread_setaffinity_np(thread, sizeof(one[1]), &one[1]), 0);
	for (unsigned int round = 1; round <= ROUNDS; round++) {
		size_t max = round % 3 ? RACE_PAGES : 1;

		memset(taken, 0, sizeof(taken));
		pass(&race.begin, round);
		while (__atomic_load_n(&race.done, __ATOMIC_SEQ_CST) < round)
			while_adding += take_and_count(&race.set, max, taken);
		pass(&race.end, round);
		while (take_and_count(&race.set, 3, taken) != 0)
			;
		for (unsigned int page = 0; page < RACE_PAGES; page++) {
			if (pageset_has(&race.set, page))
				fail_msg("round %u: page %u is a member that take cannot see", round, page);
			if (taken[page] != race.new_adds[page])
				fail_msg("round %u: page %u was added %u times and taken %u times", round,
					 page, race.new_adds[page], taken[page]);
		}
		memset(race.new_adds, 0, sizeof(race.new_adds));
	}
	pthread_join(thread, NULL);
	assert_int_equal(sched_setaffinity(0, sizeof(old), &old), 0);
	/* Otherwise the threads never met, and the test shows nothing. */
	assert_true(while_adding > 0);
	pageset_close(&race.set);
}

enum { FLOOD_PAGES = 20000, FLOOD_ADDS = 300000 };

struct flood {
	struct pageset *set;
	uint64_t random;
	uint32_t *new_adds;
	unsigned int *running;
};

static void *flood_adder(void *arg)
{
	struct flood *flood = arg;

	for (int i = 0; i < FLOOD_ADDS; i++) {
		uint64_t page = random_next(&flood->random) % FLOOD_PAGES;

		if (pageset_add(flood->set, page))
			__atomic_fetch_add(&flood->new_adds[page], 1, __ATOMIC_RELAXED);
	}
	__atomic_fetch_sub(flood->running, 1, __ATOMIC_SEQ_CST);
	return NULL;
}

/* Two threads add as fast as they can over several summary words while one takes. */
static void two_adders_and_a_taker_agree_on_every_page(void **state)
{
	static uint32_t new_adds[FLOOD_PAGES], taken[FLOOD_PAGES];
	uint64_t random = random_begin();
	unsigned int running = 2;
	struct pageset set;
	struct flood flood[2];
	pthread_t threads[2];
	bool last = false;

	(void)state;
	make(&set, FLOOD_PAGES);
	for (int i = 0; i < 2; i++) {
		flood[i] = (struct flood){&set, random_next(&random), new_adds, &running};
		assert_int_equal(pthread_create(&threads[i], NULL, flood_adder, &flood[i]), 0);
	}
	while (!last) {
		uint64_t pages[100], cursor = 0;
		size_t count;

		last = __atomic_load_n(&running, __ATOMIC_SEQ_CST) == 0;
		while ((count = pageset_take(&set, &cursor, pages, 100)) != 0) {
			for (size_t i = 0; i < count; i++)
				taken[pages[i]]++;
		}
	}
	for (int i = 0; i < 2; i++)
		pthread_join(threads[i], NULL);
	for (uint64_t page = 0; page < FLOOD_PAGES; page++) {
		assert_false(pageset_has(&set, page));
		assert_int_equal(new_adds[page], taken[page]);
	}
	pageset_close(&set);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(no_add_is_lost_while_another_thread_takes),
	    cmocka_unit_test(two_adders_and_a_taker_agree_on_every_page),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
