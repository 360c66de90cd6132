/* test_text.c: text that ends on a terminal or in JSON is clean and whole. */
#include "common/text.h"
#include "tests/lib/test.h"

#include <stdio.h>
#include <string.h>

static void printable(const char *from, const char *to)
{
	char text[64];

	snprintf(text, sizeof(text), "%s", from);
	text_make_printable(text);
	assert_string_equal(text, to);
}

static void control_characters_are_shown_as_question_marks(void **state)
{
	(void)state;
	printable("plain ~ text", "plain ~ text");
	printable("a\x1b[31mb\r\n\t\x7f", "a?[31mb????");
	printable("caf\xc3\xa9 \xe2\x80\xa6 \xf0\x9f\x90\x91", "caf\xc3\xa9 \xe2\x80\xa6 \xf0\x9f\x90\x91");
	/* U+009B, a terminal's escape in one character */
	printable("\xc2\x9b", "??");
}

static void bytes_that_are_not_utf8_are_shown_as_question_marks(void **state)
{
	(void)state;
	printable("\x80\xff\xfe", "???");
	printable("\xc0\xaf", "??");                      /* '/' in two bytes */
	printable("\xe0\x80\xaf", "???");                 /* and in three */
	printable("\xed\xa0\x80", "???");                 /* a surrogate */
	printable("\xf4\x90\x80\x80", "????");            /* past Unicode */
	printable("\xe2\x80", "??");                      /* the end is missing */
	printable("\xe2\x80z\xc3", "??z?");               /* in the middle, too */
	printable("\xf0\x9f\x90\xc3\xa9", "???\xc3\xa9"); /* what follows is not swallowed */
}

static void what_does_not_fit_is_cut_at_a_character(void **state)
{
	char text[12];

	(void)state;
	assert_int_equal(text_format(text, sizeof(text), "%s", "0123456789a"), 11);
	assert_string_equal(text, "0123456789a");
	assert_int_equal(text_format(text, sizeof(text), "%s", "0123456789ab"), 11);
	assert_string_equal(text, "01234567...");
	/* The cut falls into the two bytes of a character: it goes as a whole. */
	assert_int_equal(text_format(text, sizeof(text), "0123456\xc3\xa9%s", "89abc"), 10);
	assert_string_equal(text, "0123456...");
	assert_int_equal(text_format(text, 4, "%s", "abcdef"), 3);
	assert_string_equal(text, "...");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(control_characters_are_shown_as_question_marks),
	    cmocka_unit_test(bytes_that_are_not_utf8_are_shown_as_question_marks),
	    cmocka_unit_test(what_does_not_fit_is_cut_at_a_character),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
