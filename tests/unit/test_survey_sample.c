/* test_survey_sample.c: what pages of a guest cost, the first time and again. */
#include "migrate/survey_sample.h"
#include "tests/lib/random.h"
#include "tests/lib/test.h"

#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

enum { PAGES = 4096, LINK_NS = 1 };

static struct {
	int fd;
	uint8_t *ram;
	struct pageset touched, dirty;
	struct survey_sample sample;
	struct survey_cost first;
} guest;

/* All of it touched: half of each page noise, half of it one byte. */
static int open_guest(void **state)
{
	uint64_t random = random_begin();
	struct err err;

	(void)state;
	guest.fd = memfd_create("guest", MFD_CLOEXEC);
	if (guest.fd < 0 || ftruncate(guest.fd, PAGES * PAGES_SIZE) < 0 ||
	    pageset_create(&guest.touched, PAGES, &err) || pageset_create(&guest.dirty, PAGES, &err))
		return -1;
	guest.ram = mmap(NULL, PAGES * PAGES_SIZE, PROT_READ | PROT_WRITE, MAP_SHARED, guest.fd, 0);
	if (guest.ram == MAP_FAILED)
		return -1;
	for (size_t i = 0; i < PAGES * PAGES_SIZE; i++)
		guest.ram[i] = i % PAGES_SIZE < PAGES_SIZE / 2 ? (uint8_t)random_below(&random, 256) : 7;
	pageset_add_range(&guest.touched, 0, PAGES);
	return survey_sample_open(&guest.sample, guest.fd, PAGES, PACKER_LZ4, &err) ||
		       survey_sample_first(&guest.sample, &guest.touched, PAGES, LINK_NS, &guest.first, &err)
		   ? -1
		   : 0;
}

static int close_guest(void **state)
{
	(void)state;
	survey_sample_close(&guest.sample);
	pageset_close(&guest.touched);
	pageset_close(&guest.dirty);
	munmap(guest.ram, PAGES * PAGES_SIZE);
	close(guest.fd);
	return 0;
}

static void a_page_costs_what_is_left_of_it(void **state)
{
	(void)state;
	assert_true(guest.first.bytes > PAGES_SIZE / 2 && guest.first.bytes < PAGES_SIZE * 6 / 10);
	assert_true(guest.first.ns > 0);
}

static void a_word_that_changed_costs_little_again(void **state)
{
	struct survey_cost again = guest.first;
	struct err err;

	(void)state;
	for (size_t page = 0; page < PAGES; page++)
		guest.ram[page * PAGES_SIZE + 64] ^= 1;
	pageset_add_range(&guest.dirty, 0, PAGES);
	assert_int_equal(survey_sample_again(&guest.sample, &guest.dirty, &again, &err), 0);
	assert_true(again.bytes > 64 && again.bytes < 256);
	assert_int_equal(pageset_count(&guest.dirty), PAGES);
}

static void a_page_that_is_another_costs_as_much_as_before(void **state)
{
	struct survey_cost again = {.bytes = 0};
	struct err err;

	(void)state;
	for (size_t i = 0; i < PAGES * PAGES_SIZE; i++)
		guest.ram[i] ^= (uint8_t)(i % PAGES_SIZE < PAGES_SIZE / 2 ? 0x55 : 1);
	pageset_add_range(&guest.dirty, 0, PAGES);
	assert_int_equal(survey_sample_again(&guest.sample, &guest.dirty, &again, &err), 0);
	assert_true(again.bytes > 0.9 * guest.first.bytes && again.bytes < 1.1 * guest.first.bytes);
}

static void a_few_pages_tell_nothing(void **state)
{
	struct survey_cost again = {.bytes = 1234};
	struct err err;

	(void)state;
	pageset_add_range(&guest.dirty, guest.sample.start[0], 3);
	assert_int_equal(survey_sample_again(&guest.sample, &guest.dirty, &again, &err), 0);
	assert_true(again.bytes > 1233 && again.bytes < 1235);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test_setup_teardown(a_page_costs_what_is_left_of_it, open_guest, close_guest),
	    cmocka_unit_test_setup_teardown(a_word_that_changed_costs_little_again, open_guest, close_guest),
	    cmocka_unit_test_setup_teardown(a_page_that_is_another_costs_as_much_as_before, open_guest,
					    close_guest),
	    cmocka_unit_test_setup_teardown(a_few_pages_tell_nothing, open_guest, close_guest),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
