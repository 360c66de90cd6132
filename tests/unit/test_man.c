/* test_man.c: the manual pages, the tables of commands and their help say the same. */
#include "cli/commands.h"
#include "cli/help.h"
#include "common/io.h"
#include "tests/lib/test.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { PAGE_MAX = 1 << 20 };

/* A page and the table that it is about: of a group its own page. */
struct page {
	const char *name;
	const struct command *commands;
	/* As a reader sees its words: "\-" is a dash, font changes are gone, line ends are kept. */
	char *text;
};

static struct page pages[] = {{.name = "drover", .commands = commands},
			      {.name = "drover-image", .commands = image_commands},
			      {.name = "drover-peer", .commands = peer_commands},
			      {.name = "drover-job", .commands = job_commands}};
enum { PAGES = sizeof(pages) / sizeof(pages[0]) };

static int read_page(struct page *page)
{
	const char *root = getenv("DROVER_SRC");
	char path[4096], *from, *to;
	void *data;
	size_t len;

	snprintf(path, sizeof(path), "%s/docs/man/%s.1", root ? root : ".", page->name);
	if (io_read_file(path, PAGE_MAX, &data, &len)) {
		print_message("cannot read %s\n", path);
		return -1;
	}
	page->text = data;
	for (from = to = page->text; *from; from++) {
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

static int read_pages(void **state)
{
	(void)state;
	for (size_t i = 0; i < PAGES; i++)
		if (read_page(&pages[i]))
			return -1;
	return 0;
}

static int free_pages(void **state)
{
	(void)state;
	for (size_t i = 0; i < PAGES; i++)
		free(pages[i].text);
	return 0;
}

/* section(page, name, len): what stands under ".SS drover NAME", up to the next heading; NULL when there is none. */
static const char *section(const struct page *page, const char *name, size_t *len)
{
	char heading[64];
	const char *begin, *end;

	snprintf(heading, sizeof(heading), "\n.SS drover %s\n", name);
	begin = strstr(page->text, heading);
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

static void check_section(const struct page *page, const struct command *command)
{
	char option[64];
	size_t len = 0;
	const char *text = section(page, command->name, &len);

	if (!text)
		fail_msg("docs/man/%s.1 has no section 'drover %s'", page->name, command->name);
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

static void every_command_and_option_stands_in_its_page(void **state)
{
	(void)state;
	for (size_t i = 0; i < PAGES; i++)
		for (const struct command *command = pages[i].commands; command->name; command++)
			check_section(&pages[i], command);
}

static void every_group_has_a_page_and_is_found(void **state)
{
	(void)state;
	for (const struct command *command = commands; command->name; command++) {
		size_t used;
		bool has = !command->group;

		for (size_t i = 0; i < PAGES; i++)
			has = has || pages[i].commands == command->group;
		if (!has)
			fail_msg("the group '%s' has no page that is checked", command->name);
		for (const struct command *inner = command->group; inner && inner->name; inner++) {
			const char *words[] = {command->name, inner->name + strlen(command->name) + 1};

			assert_memory_equal(inner->name, command->name, strlen(command->name));
			assert_ptr_equal(commands_find(words, 2, &used), inner);
			assert_int_equal(used, 2);
		}
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
static void the_pages_have_no_option_that_does_not_exist(void **state)
{
	(void)state;
	for (size_t i = 0; i < PAGES; i++)
		for (const char *at = strstr(pages[i].text, "--"); at; at = strstr(at, "--")) {
			size_t len = 0;
			bool known = false;

			at += 2;
			while (islower(at[len]) || at[len] == '-')
				len++;
			for (const struct command *c = pages[i].commands; c->name; c++)
				known = known || takes(c, at, len);
			if (len == 7 && !memcmp(at, "version", len))
				known = true;
			if (len && !known)
				fail_msg("docs/man/%s.1 speaks of --%.*s, which no command takes",
					 pages[i].name, (int)len, at);
		}
}

static void every_synopsis_names_every_option(void **state)
{
	char option[64];

	(void)state;
	for (size_t i = 0; i < PAGES; i++)
		for (const struct command *command = pages[i].commands; command->name; command++) {
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

/* help_text(command): its help, or with NULL the overview; the caller frees. */
static char *help_text(const struct command *command)
{
	char *text = NULL;
	size_t len = 0;
	FILE *out = open_memstream(&text, &len);

	assert_non_null(out);
	if (command)
		help_command(out, command);
	else
		help_overview(out);
	fclose(out);
	return text;
}

static void check_help(const struct command *table, const struct command *group)
{
	char *all = help_text(group);

	check_width(all, group ? group->name : "drover");
	for (const struct command *command = table; command->name; command++) {
		char *text = help_text(command);

		assert_non_null(strstr(all, command->summary));
		check_width(text, command->name);
		free(text);
		if (command->group)
			check_help(command->group, command);
	}
	free(all);
}

static void help_fits_a_terminal(void **state)
{
	(void)state;
	check_help(commands, NULL);
}

static void what_is_no_command_is_not_found(void **state)
{
	static const char *const nonsense[] = {"nonsense", "list"}, *const inner[] = {"image", "nonsense"},
				 *const part[] = {"image ", "close"};
	size_t used;

	(void)state;
	assert_null(commands_find(nonsense, 2, &used));
	assert_int_equal(used, 0);
	assert_null(commands_find(part, 2, &used));
	assert_null(commands_find(NULL, 0, &used));
	assert_ptr_equal(commands_find(inner, 2, &used)->group, image_commands);
	assert_int_equal(used, 1);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(every_command_and_option_stands_in_its_page),
	    cmocka_unit_test(every_group_has_a_page_and_is_found),
	    cmocka_unit_test(the_pages_have_no_option_that_does_not_exist),
	    cmocka_unit_test(every_synopsis_names_every_option),
	    cmocka_unit_test(help_fits_a_terminal),
	    cmocka_unit_test(what_is_no_command_is_not_found),
	};

	return cmocka_run_group_tests(tests, read_pages, free_pages);
}
