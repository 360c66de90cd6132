/* test_man.c: the manual page, the table of commands and their help say the same. */
#include "cli/commands.h"
#include "cli/help.h"
#include "common/io.h"
#include "tests/lib/test.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { PAGE_MAX = 1 << 20 };

/* The page as a reader sees its words: "\-" is a dash, font changes are gone, line ends are kept. */
static char *page;

static int read_page(void **state)
{
	const char *root = getenv("DROVER_SRC");
	char path[4096], *from, *to;
	void *data;
	size_t len;

	(void)state;
	snprintf(path, sizeof(path), "%s/docs/man/drover.1", root ? root : ".");
	if (io_read_file(path, PAGE_MAX, &data, &len)) {
		print_message("cannot read %s\n", path);
		return -1;
	}
	page = data;
	for (from = to = page; *from; from++) {
		if (from[0] == '\\' && from[1] == 'f' && from[2])
			from += 2;
		else if (from[0] == '\\' && from[1] == '-')
			*to++ = *++from;
		else
			*to++ = *from;
	}
	*to = '\0';
	return 0;
}

static int free_page(void **state)
{
	(void)state;
	free(page);
	return 0;
}

/* section(name, len): what stands under ".SS drover NAME", up to the next heading; NULL when there is none. */
static const char *section(const char *name, size_t *len)
{
	char heading[64];
	const char *begin, *end;

	snprintf(heading, sizeof(heading), "\n.SS drover %s\n", name);
	begin = strstr(page, heading);
	if (!begin)
		return NULL;
	begin += strlen(heading) - 1;
	end = strstr(begin, "\n.S");
	*len = end ? (size_t)(end - begin) : strlen(begin);
	return begin;
}

/* has_word(text, len, word): word stands there, and is not only a part of a longer one. */
static bool has_word(const char *text, size_t len, const char *word)
{
	size_t size = strlen(word);

	for (size_t i = 0; i + size <= len; i++)
		if (!memcmp(text + i, word, size) &&
		    (i + size == len || (!isalnum(text[i + size]) && text[i + size] != '-')))
			return true;
	return false;
}

static void every_command_and_option_stands_in_the_page(void **state)
{
	char option[64];

	(void)state;
	for (const struct command *command = commands; command->name; command++) {
		size_t len = 0;
		const char *text = section(command->name, &len);

		if (!text)
			fail_msg("docs/man/drover.1 has no section 'drover %s'", command->name);
		for (const struct option_spec *spec = command->options; spec->name; spec++) {
			snprintf(option, sizeof(option), "--%s", spec->name);
			if (!has_word(text, len, option))
				fail_msg("its section 'drover %s' lacks %s", command->name, option);
		}
		for (size_t i = 0; i < ARGS_MAX_OPERANDS && command->operands[i].label; i++)
			if (!has_word(text, len, command->operands[i].label))
				fail_msg("its section 'drover %s' lacks %s", command->name,
					 command->operands[i].label);
	}
}

static bool takes(const struct command *command, const char *option, size_t len)
{
	if (len == 4 && !memcmp(option, "help", len))
		return true;
	for (const struct option_spec *spec = command->options; spec->name; spec++)
		if (strlen(spec->name) == len && !memcmp(spec->name, option, len))
			return true;
	return false;
}

/* An option in a command's section is one of that command, unless another command's line is quoted. */
static void the_page_has_no_option_that_does_not_exist(void **state)
{
	(void)state;
	for (const char *at = strstr(page, "--"); at; at = strstr(at, "--")) {
		size_t len = 0;
		bool known = false;

		at += 2;
		while (islower(at[len]) || at[len] == '-')
			len++;
		for (const struct command *command = commands; command->name; command++)
			known = known || takes(command, at, len);
		if (len == 7 && !memcmp(at, "version", len))
			known = true;
		if (len && !known)
			fail_msg("docs/man/drover.1 speaks of --%.*s, which no command takes", (int)len, at);
	}
}

static void every_synopsis_names_every_option(void **state)
{
	char option[64];

	(void)state;
	for (const struct command *command = commands; command->name; command++) {
		size_t len = strlen(command->synopsis);

		for (const struct option_spec *spec = command->options; spec->name; spec++) {
			snprintf(option, sizeof(option), "--%s", spec->name);
			if (!has_word(command->synopsis, len, option))
				fail_msg("the synopsis of '%s' lacks %s", command->name, option);
		}
	}
}

static void check_width(const char *text, const char *of)
{
	while (*text) {
		size_t len = strcspn(text, "\n");

		if (len > 80)
			fail_msg("help of %s has a line of %zu columns: %.*s", of, len, (int)len, text);
		text += len + (text[len] == '\n');
	}
}

static void help_fits_a_terminal(void **state)
{
	char *text = NULL;
	size_t len = 0;
	FILE *out = open_memstream(&text, &len);

	(void)state;
	assert_non_null(out);
	help_overview(out);
	fflush(out);
	check_width(text, "drover");
	for (const struct command *command = commands; command->name; command++) {
		assert_non_null(strstr(text, command->summary));
		assert_ptr_equal(commands_find(command->name), command);
	}
	for (const struct command *command = commands; command->name; command++) {
		rewind(out);
		help_command(out, command);
		fflush(out);
		check_width(text, command->name);
	}
	fclose(out);
	free(text);
	assert_null(commands_find("nonsense"));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(every_command_and_option_stands_in_the_page),
	    cmocka_unit_test(the_page_has_no_option_that_does_not_exist),
	    cmocka_unit_test(every_synopsis_names_every_option),
	    cmocka_unit_test(help_fits_a_terminal),
	};

	return cmocka_run_group_tests(tests, read_page, free_page);
}
