/* test_dvol_id.c: the name of an epoch is a term and a number, and nothing else is one. */
#include "imagefmt/dvol.h"
#include "tests/lib/test.h"

#include <string.h>

static void names_of_epochs_are_read(void **state)
{
	struct dvol_id id;

	(void)state;
	assert_int_equal(dvol_id_parse("1.5", &id, NULL), 0);
	assert_int_equal(id.term, 1);
	assert_int_equal(id.number, 5);
	assert_int_equal(dvol_id_parse("18446744073709551615.18446744073709551615", &id, NULL), 0);
	assert_true(id.term == UINT64_MAX && id.number == UINT64_MAX);
}

static void all_else_is_refused(void **state)
{
	static const char *const words[] = {"",
					    ".",
					    "1",
					    "1.",
					    ".1",
					    "0.1",
					    "1.0",
					    "-1.1",
					    "1.-1",
					    "+1.1",
					    "1.1.",
					    "1.1.1",
					    "1,1",
					    " 1.1",
					    "1.1 ",
					    "1 .1",
					    "0x1.1",
					    "1.a",
					    "none",
					    "18446744073709551616.1",
					    "1.1\n",
					    "1.18446744073709551616",
					    "000000000000000000000000000001.1"};

	(void)state;
	for (size_t i = 0; i < sizeof(words) / sizeof(words[0]); i++) {
		struct err err = {0};
		struct dvol_id id;

		if (dvol_id_parse(words[i], &id, &err) != -1)
			fail_msg("'%s' was taken", words[i]);
		assert_int_equal(err.kind, ERR_USAGE);
		assert_non_null(strstr(err.text, "is not an epoch: write its term and number, as in 1.5"));
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(names_of_epochs_are_read),
	    cmocka_unit_test(all_else_is_refused),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
