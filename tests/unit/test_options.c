/* test_options.c: command lines are read as the table says, and refused with one sentence. */
#include "cli/options.h"
#include "tests/lib/test.h"

#include <string.h>

static const char *const words[] = {"auto", "ring", NULL};
static const char *const nought[] = {"auto", NULL};
static const struct option_spec specs[] = {
    {.name = "name",
     .argument = "NAME",
     .type = OPTION_NAME,
     .offset = offsetof(struct args, name),
     .required = true},
    {.name = "kernel", .argument = "FILE", .type = OPTION_TEXT, .offset = offsetof(struct args, kernel)},
    {.name = "append", .argument = "TEXT", .type = OPTION_FREE, .offset = offsetof(struct args, append)},
    {.name = "memory",
     .argument = "SIZE",
     .type = OPTION_SIZE,
     .offset = offsetof(struct args, memory_bytes),
     .min = 4096,
     .max = 1 << 30,
     .initial = 8192},
    {.name = "cpus",
     .argument = "N",
     .type = OPTION_COUNT,
     .offset = offsetof(struct args, cpus),
     .min = 1,
     .max = 64,
     .initial = 1},
    {.name = "streams",
     .argument = "N",
     .type = OPTION_COUNT,
     .offset = offsetof(struct args, streams),
     .min = 1,
     .max = 16,
     .words = nought},
    {.name = "downtime",
     .argument = "TIME",
     .type = OPTION_DURATION,
     .offset = offsetof(struct args, downtime_ns),
     .min = 1000000,
     .max = 1000000000,
     .initial = 30000000},
    {.name = "dirty-tracking",
     .argument = "HOW",
     .type = OPTION_WORD,
     .offset = offsetof(struct args, dirty_tracking),
     .words = words},
    {.name = "disk", .argument = "FILE", .type = OPTION_LIST, .offset = offsetof(struct args, disks)},
    {.name = "detach", .type = OPTION_FLAG, .offset = offsetof(struct args, detach)},
    {.name = "json", .type = OPTION_FLAG, .offset = offsetof(struct args, json)},
    {.name = NULL},
};
static const struct command command = {
    .name = "try",
    .options = specs,
    .operands = {{.label = "VM", .type = OPERAND_NAME}, {.label = "URL", .optional = true}},
};

static const struct option_spec volume_specs[] = {
    {.name = "epoch", .argument = "T.N", .type = OPTION_EPOCH, .offset = offsetof(struct args, epoch)},
    {.name = "from", .argument = "T.N", .type = OPTION_BASE, .offset = offsetof(struct args, from)},
    {.name = NULL},
};
static const struct command volume_command = {
    .name = "try volume",
    .options = volume_specs,
    .operands = {{.label = "FILE"},
		 {.label = "SIZE", .type = OPERAND_SIZE},
		 {.label = "EPOCH", .type = OPERAND_EPOCH, .many = true}},
};

enum { MAX_WORDS = 40 };

/* parse_as(spec, line, args, err): line split at blanks; "''" stands for an empty word. */
static int parse_as(const struct command *spec, const char *line, struct args *args, struct err *err)
{
	static char text[512]; /* args points into it, and into argv */
	static char *argv[MAX_WORDS + 1];
	char *rest;
	int argc = 0;

	*err = (struct err){0};
	assert_true(strlen(line) < sizeof(text));
	strcpy(text, line);
	for (char *word = strtok_r(text, " ", &rest); word; word = strtok_r(NULL, " ", &rest)) {
		assert_true(argc < MAX_WORDS);
		argv[argc++] = strcmp(word, "''") ? word : word + 2;
	}
	return options_parse(spec, argc, argv, args, err);
}

static int parse(const char *line, struct args *args, struct err *err)
{
	return parse_as(&command, line, args, err);
}

static void a_full_line_is_read(void **state)
{
	struct args args;
	struct err err;

	(void)state;
	assert_int_equal(
	    parse("try a --name=b --kernel k ssh://h --memory 64K --cpus 3 --downtime 5ms --append '' "
		  "--dirty-tracking ring --detach --json",
		  &args, &err),
	    0);
	assert_string_equal(args.operand[0], "a");
	assert_string_equal(args.operand[1], "ssh://h");
	assert_string_equal(args.name, "b");
	assert_string_equal(args.kernel, "k");
	assert_string_equal(args.append, "");
	assert_int_equal(args.memory_bytes, 65536);
	assert_int_equal(args.cpus, 3);
	assert_int_equal(args.downtime_ns, 5000000);
	assert_int_equal(args.dirty_tracking, 1);
	assert_true(args.detach && args.json && !args.help);
}

static void what_is_left_out_has_its_initial_value(void **state)
{
	struct args args;
	struct err err;

	(void)state;
	assert_int_equal(parse("try a --name b", &args, &err), 0);
	assert_null(args.operand[1]);
	assert_null(args.kernel);
	assert_int_equal(args.memory_bytes, 8192);
	assert_int_equal(args.cpus, 1);
	assert_int_equal(args.downtime_ns, 30000000);
	assert_false(args.detach || args.json);
}

static void a_word_may_stand_for_no_number(void **state)
{
	struct args args;
	struct err err;

	(void)state;
	assert_int_equal(parse("try a --name b --streams 16", &args, &err), 0);
	assert_int_equal(args.streams, 16);
	assert_int_equal(parse("try a --name b --streams auto", &args, &err), 0);
	assert_int_equal(args.streams, 0);
	assert_int_equal(parse("try a --name b --streams 0", &args, &err), -1);
	assert_non_null(strstr(err.text, "from 1 to 16, or auto"));
	assert_int_equal(parse("try a --name b --cpus auto", &args, &err), -1);
}

static void a_list_keeps_each_in_order(void **state)
{
	struct args args;
	struct err err;
	char many[512] = "try a --name b";

	(void)state;
	assert_int_equal(parse("try --disk x a --disk=y --name b --disk x", &args, &err), 0);
	assert_int_equal(args.disks.count, 3);
	assert_string_equal(args.disks.item[0], "x");
	assert_string_equal(args.disks.item[1], "y");
	assert_string_equal(args.disks.item[2], "x");
	assert_int_equal(parse("try a --name b", &args, &err), 0);
	assert_int_equal(args.disks.count, 0);
	assert_int_equal(parse("try a --name b --disk ''", &args, &err), -1);
	assert_non_null(strstr(err.text, "--disk: its argument is empty"));
	for (int i = 0; i <= ARGS_LIST_MAX; i++)
		strcat(many, " --disk=k");
	assert_int_equal(parse(many, &args, &err), -1);
	assert_non_null(strstr(err.text, "--disk is given more than 30 times"));
}

static void sizes_and_epochs_are_operands(void **state)
{
	struct args args;
	struct err err;

	(void)state;
	assert_int_equal(
	    parse_as(&volume_command, "volume f --from 1.2 64M 1.5 --epoch 3.4 1.6 2.1", &args, &err), 0);
	assert_string_equal(args.operand[0], "f");
	assert_int_equal(args.size_bytes, 64 << 20);
	assert_int_equal(args.many_count, 3);
	assert_string_equal(args.many[0], "1.5");
	assert_string_equal(args.many[2], "2.1");
	assert_int_equal(args.from.term, 1);
	assert_int_equal(args.from.number, 2);
	assert_int_equal(args.epoch.term, 3);
	assert_int_equal(args.epoch.number, 4);
	assert_int_equal(parse_as(&volume_command, "volume f 4K 1.5 --from none", &args, &err), 0);
	assert_int_equal(args.from.number, 0);
	assert_int_equal(args.many_count, 1);
}

static void sizes_and_epochs_that_are_none_are_refused(void **state)
{
	static const struct {
		const char *line, *sentence;
	} cases[] = {
	    {"volume f", "SIZE is missing"},
	    {"volume f 4K", "EPOCH is missing"},
	    {"volume f 4Q 1.1", "SIZE: \"4Q\" is not a size"},
	    {"volume f 4K 1.1 2", "'2' is not an epoch"},
	    {"volume f 4K none", "'none' is not an epoch"},
	    {"volume f 4K 1.1 --epoch none", "--epoch: 'none' is not an epoch"},
	    {"volume f 4K 1.1 --from nought", "--from: 'nought' is not an epoch"},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct args args;
		struct err err;

		if (!parse_as(&volume_command, cases[i].line, &args, &err))
			fail_msg("'%s' was taken", cases[i].line);
		assert_int_equal(err.kind, ERR_USAGE);
		if (!strstr(err.text, cases[i].sentence))
			fail_msg("'%s' gives: %s", cases[i].line, err.text);
		assert_non_null(strstr(err.text, "; see 'drover help try volume'"));
	}
}

static void operands_may_follow_two_dashes(void **state)
{
	struct args args;
	struct err err;

	(void)state;
	assert_int_equal(parse("try --name b -- a --json", &args, &err), 0);
	assert_string_equal(args.operand[1], "--json");
	assert_false(args.json);
}

static void help_needs_nothing_else(void **state)
{
	struct args args;
	struct err err;

	(void)state;
	assert_int_equal(parse("try --help", &args, &err), 0);
	assert_true(args.help);
	assert_int_equal(parse("try a -h", &args, &err), 0);
	assert_true(args.help);
}

static void each_mistake_has_its_sentence(void **state)
{
	static const struct {
		const char *line, *sentence;
	} cases[] = {
	    {"try a", "option '--name' is missing"},
	    {"try --name b", "VM is missing"},
	    {"try a b c --name b", "surplus operand 'c'"},
	    {"try a --name", "option '--name' wants an argument"},
	    {"try a --detach=yes --name b", "option '--detach' takes no argument"},
	    {"try a --help=yes", "option '--help' takes no argument"},
	    {"try a --nonsense --name b", "unknown option '--nonsense'"},
	    {"try a --d --name b", "option '--d' may mean several"},
	    {"try a -x --name b", "unknown option '-x'"},
	    {"try a --name b --name c", "option '--name' is given twice"},
	    {"try a --name b --kernel ''", "--kernel: its argument is empty"},
	    {"try a --name ../b", "--name: '../b' is not a VM's name"},
	    {"try ../a --name b", "'../a' is not a VM's name"},
	    {"try '' --name b", "'' is not a VM's name"},
	    {"try a --name b --memory 5X", "--memory: \"5X\" is not a size"},
	    {"try a --name b --memory 2G", "--memory: '2G' is not within 4 KiB and 1 GiB"},
	    {"try a --name b --cpus 0", "--cpus: \"0\" is not a number from 1 to 64"},
	    {"try a --name b --cpus -1", "--cpus: \"-1\" is not a number from 1 to 64"},
	    {"try a --name b --downtime 30", "--downtime: \"30\" is not a time"},
	    {"try a --name b --downtime 2s", "--downtime: '2s' is not within 1 ms and 1 s"},
	    {"try a --name b --dirty-tracking both", "--dirty-tracking: 'both' is none of auto, ring"},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct args args;
		struct err err;

		if (!parse(cases[i].line, &args, &err))
			fail_msg("'%s' was taken", cases[i].line);
		assert_int_equal(err.kind, ERR_USAGE);
		if (strncmp(err.text, "try: ", 5) ||
		    strncmp(err.text + 5, cases[i].sentence, strlen(cases[i].sentence)))
			fail_msg("'%s' gives: %s", cases[i].line, err.text);
		assert_non_null(strstr(err.text, "; see 'drover help try'"));
		assert_null(strchr(err.text, '\n'));
	}
}

static void json_is_known_also_when_a_mistake_comes_first(void **state)
{
	struct args args;
	struct err err;

	(void)state;
	assert_int_equal(parse("try a --nonsense --json", &args, &err), -1);
	assert_true(args.json);
	assert_int_equal(parse("try a --nonsense -- --json", &args, &err), -1);
	assert_false(args.json);
}

static void an_overlong_word_does_not_push_the_remedy_out(void **state)
{
	char line[400] = "try a --name b --memory ";
	struct args args;
	struct err err;

	(void)state;
	memset(line + strlen(line), '9', 300);
	assert_int_equal(parse(line, &args, &err), -1);
	assert_non_null(strstr(err.text, "; see 'drover help try'"));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(a_full_line_is_read),
	    cmocka_unit_test(what_is_left_out_has_its_initial_value),
	    cmocka_unit_test(a_word_may_stand_for_no_number),
	    cmocka_unit_test(a_list_keeps_each_in_order),
	    cmocka_unit_test(sizes_and_epochs_are_operands),
	    cmocka_unit_test(sizes_and_epochs_that_are_none_are_refused),
	    cmocka_unit_test(operands_may_follow_two_dashes),
	    cmocka_unit_test(help_needs_nothing_else),
	    cmocka_unit_test(each_mistake_has_its_sentence),
	    cmocka_unit_test(json_is_known_also_when_a_mistake_comes_first),
	    cmocka_unit_test(an_overlong_word_does_not_push_the_remedy_out),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
