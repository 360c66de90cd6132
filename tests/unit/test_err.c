/* test_err.c: an error says what happened, and still does when it is long. */
#include "common/err.h"
#include "tests/lib/test.h"

#include <errno.h>
#include <string.h>

static void set_fills_kind_and_text(void **state)
{
	struct err err = {0};

	(void)state;
	assert_int_equal(err_set(&err, ERR_INPUT, "%s has %d bytes", "a.dvol", 7), -1);
	assert_int_equal(err.kind, ERR_INPUT);
	assert_string_equal(err.text, "a.dvol has 7 bytes");
	assert_int_equal(err_set(NULL, ERR_INPUT, "nobody asks"), -1);
	assert_int_equal(err_sys(NULL, "nobody asks"), -1);
	assert_int_equal(err_context(NULL, "nobody asks"), -1);
}

static void sys_appends_what_the_system_said(void **state)
{
	struct err err = {0};
	char longest[2000];

	(void)state;
	errno = ENOSPC;
	assert_int_equal(err_sys(&err, "cannot write %s", "x"), -1);
	assert_int_equal(err.kind, ERR_SYSTEM);
	assert_string_equal(err.text, "cannot write x: No space left on device");

	/* However long the path is, the reason stays. */
	memset(longest, 'a', sizeof(longest));
	longest[sizeof(longest) - 1] = '\0';
	errno = ENOSPC;
	err_sys(&err, "cannot write %s", longest);
	assert_non_null(strstr(err.text, "aaa...: No space left on device"));
}

static void context_goes_before_the_text_and_keeps_the_kind(void **state)
{
	struct err err = {0};

	(void)state;
	err_set(&err, ERR_REFUSED, "no room");
	assert_int_equal(err_context(&err, "host %s", "b"), -1);
	assert_int_equal(err.kind, ERR_REFUSED);
	assert_string_equal(err.text, "host b: no room");
}

static void context_leaves_the_text_its_half(void **state)
{
	struct err err = {0};
	char longest[2000];

	(void)state;
	memset(longest, 'c', sizeof(longest));
	longest[sizeof(longest) - 1] = '\0';
	err_set(&err, ERR_LINK, "the cause");
	err_context(&err, "%s", longest);
	assert_non_null(strstr(err.text, "ccc...: the cause"));
	/* Again and again: never past the end, and marked as cut. */
	for (int i = 0; i < 10; i++)
		err_context(&err, "context %d", i);
	assert_true(strlen(err.text) < sizeof(err.text));
	assert_memory_equal(err.text, "context 9: context 8: ", 22);
	err_set(&err, ERR_LINK, "%s", longest);
	assert_int_equal(strlen(err.text), sizeof(err.text) - 1);
	err_context(&err, "b");
	assert_int_equal(strlen(err.text), sizeof(err.text) - 1);
	assert_string_equal(err.text + strlen(err.text) - 4, "c...");
	assert_memory_equal(err.text, "b: ccc", 6);
}

static void an_error_may_be_made_of_its_own_text(void **state)
{
	struct err err = {0};

	(void)state;
	err_set(&err, ERR_LINK, "gone");
	err_set(&err, ERR_STATE, "the other host said \"%s\"", err.text);
	assert_string_equal(err.text, "the other host said \"gone\"");
	err_context(&err, "%s", err.text);
	assert_string_equal(err.text, "the other host said \"gone\": the other host said \"gone\"");
}

static void text_from_outside_is_made_printable(void **state)
{
	struct err err = {0};

	(void)state;
	err_set(&err, ERR_REFUSED, "peer: %s", "\x1b]0;title\x07\xff\n");
	assert_string_equal(err.text, "peer: ?]0;title???");
}

static void kinds_have_names_both_ways(void **state)
{
	(void)state;
	for (int kind = ERR_NONE; kind <= ERR_CANCELLED; kind++)
		assert_int_equal(err_kind_from_name(err_kind_name((enum err_kind)kind)), kind);
	assert_string_equal(err_kind_name(ERR_REFUSED), "refused");
	assert_int_equal(err_kind_from_name("from a newer version"), ERR_INPUT);
	assert_string_equal(err_kind_name((enum err_kind)99), "input");
}

static void exit_status_follows_the_kind(void **state)
{
	struct err err = {.kind = ERR_USAGE};

	(void)state;
	assert_int_equal(err_exit_status(&err), 2);
	err.kind = ERR_NO_KVM;
	assert_int_equal(err_exit_status(&err), 3);
	for (int kind = ERR_SYSTEM; kind <= ERR_CANCELLED; kind++) {
		err.kind = (enum err_kind)kind;
		assert_int_equal(err_exit_status(&err), 1);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(set_fills_kind_and_text),
	    cmocka_unit_test(sys_appends_what_the_system_said),
	    cmocka_unit_test(context_goes_before_the_text_and_keeps_the_kind),
	    cmocka_unit_test(context_leaves_the_text_its_half),
	    cmocka_unit_test(an_error_may_be_made_of_its_own_text),
	    cmocka_unit_test(text_from_outside_is_made_printable),
	    cmocka_unit_test(kinds_have_names_both_ways),
	    cmocka_unit_test(exit_status_follows_the_kind),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
