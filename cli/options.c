#include "cli/options.h"
#include "common/units.h"
#include <getopt.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

/* More than any command has; options_parse checks it. */
enum { MAX_OPTIONS = 16, FIRST_VALUE = 256, HELP_VALUE = 'h' };

/* usage(command, err, format, …): the sentence every refusal of a command line is put into. */
__attribute__((format(printf, 3, 4))) static int usage(const struct command *command, struct err *err,
						       const char *format, ...)
{
	char what[320];
	va_list ap;

	va_start(ap, format);
	vsnprintf(what, sizeof(what), format, ap);
	va_end(ap);
	return err_set(err, ERR_USAGE, "%s: %s; see 'drover help %s'", command->name, what, command->name);
}

static int store_number(const struct command *command, const struct option_spec *spec, const char *text,
			uint64_t *value, struct err *err)
{
	struct err why = {0};
	char low[24], high[24];
	int bad;

	if (spec->type == OPTION_COUNT) {
		if (spec->words && !strcmp(text, spec->words[0])) {
			*value = 0;
			return 0;
		}
		if (units_parse_uint(text, spec->min, spec->max, value, &why))
			return usage(command, err, "--%s: %s%s%s", spec->name, why.text,
				     spec->words ? ", or " : "", spec->words ? spec->words[0] : "");
		return 0;
	}
	bad = spec->type == OPTION_SIZE ? units_parse_size(text, value, &why)
					: units_parse_duration(text, value, &why);
	if (bad)
		return usage(command, err, "--%s: %s", spec->name, why.text);
	if (*value >= spec->min && *value <= spec->max)
		return 0;
	if (spec->type == OPTION_SIZE) {
		units_format_size(spec->min, low);
		units_format_size(spec->max, high);
	} else {
		units_format_duration(spec->min, low);
		units_format_duration(spec->max, high);
	}
	return usage(command, err, "--%s: '%.40s' is not within %s and %s", spec->name, text, low, high);
}

static int store_word(const struct command *command, const struct option_spec *spec, const char *text,
		      uint64_t *value, struct err *err)
{
	char all[128] = "";

	for (size_t i = 0; spec->words[i]; i++) {
		if (!strcmp(spec->words[i], text)) {
			*value = i;
			return 0;
		}
		snprintf(all + strlen(all), sizeof(all) - strlen(all), "%s%s", i ? ", " : "", spec->words[i]);
	}
	return usage(command, err, "--%s: '%.40s' is none of %s", spec->name, text, all);
}

static int store_item(const struct command *command, const struct option_spec *spec, const char *text,
		      struct args_list *list, struct err *err)
{
	if (!*text)
		return usage(command, err, "--%s: its argument is empty", spec->name);
	if (list->count == ARGS_LIST_MAX)
		return usage(command, err, "--%s is given more than %d times", spec->name, ARGS_LIST_MAX);
	list->item[list->count++] = text;
	return 0;
}

static int store_epoch(const struct command *command, const struct option_spec *spec, const char *text,
		       struct dvol_id *id, struct err *err)
{
	struct err why = {0};

	*id = (struct dvol_id){0};
	if ((spec->type == OPTION_BASE && !strcmp(text, "none")) || !dvol_id_parse(text, id, &why))
		return 0;
	return usage(command, err, "--%s: %s%s", spec->name, why.text,
		     spec->type == OPTION_BASE ? ", or none" : "");
}

static int store(const struct command *command, const struct option_spec *spec, const char *text,
		 struct args *args, struct err *err)
{
	char *field = (char *)args + spec->offset;

	switch (spec->type) {
	case OPTION_FLAG:
		*(bool *)field = true;
		return 0;
	case OPTION_NAME:
		if (!units_name_valid(text))
			return usage(command, err,
				     "--%s: '%.80s' is not a VM's name (1 to 63 of a-z A-Z 0-9 . _ -, "
				     "beginning with a letter or digit)",
				     spec->name, text);
		break;
	case OPTION_TEXT:
		if (!*text)
			return usage(command, err, "--%s: its argument is empty", spec->name);
		break;
	case OPTION_FREE:
		break;
	case OPTION_LIST:
		return store_item(command, spec, text, (struct args_list *)field, err);
	case OPTION_EPOCH:
	case OPTION_BASE:
		return store_epoch(command, spec, text, (struct dvol_id *)field, err);
	case OPTION_WORD:
		return store_word(command, spec, text, (uint64_t *)field, err);
	case OPTION_SIZE:
	case OPTION_DURATION:
	case OPTION_COUNT:
		return store_number(command, spec, text, (uint64_t *)field, err);
	}
	*(const char **)field = text;
	return 0;
}

/* refusal(command, longs, result, argv, err): put getopt_long's '?' or ':' into words. */
static int refusal(const struct command *command, const struct option *longs, int result, char **argv,
		   struct err *err)
{
	const char *word = argv[optind - 1];

	for (const struct option *o = longs; optopt && o->name; o++) {
		if (o->val != optopt)
			continue;
		if (result == ':')
			return usage(command, err, "option '--%s' wants an argument", o->name);
		return usage(command, err, "option '--%s' takes no argument", o->name);
	}
	if (optopt && optopt < FIRST_VALUE)
		return usage(command, err, "unknown option '-%c'", optopt);
	for (const struct option *o = longs; o->name; o++)
		if (!strncmp(word, "--", 2) && !strncmp(word + 2, o->name, strcspn(word + 2, "=")))
			return usage(command, err, "option '%.80s' may mean several", word);
	return usage(command, err, "unknown option '%.80s'", word);
}

static int take_operand(const struct command *command, const struct operand_spec *spec, const char *text,
			struct args *args, struct err *err)
{
	struct err why = {0};
	struct dvol_id id;

	switch (spec->type) {
	case OPERAND_TEXT:
		break;
	case OPERAND_NAME:
		if (!units_name_valid(text))
			return usage(command, err,
				     "'%.80s' is not a VM's name (1 to 63 of a-z A-Z 0-9 . _ -, "
				     "beginning with a letter or digit)",
				     text);
		break;
	case OPERAND_SIZE:
		if (units_parse_size(text, &args->size_bytes, &why))
			return usage(command, err, "%s: %s", spec->label, why.text);
		break;
	case OPERAND_EPOCH:
		if (dvol_id_parse(text, &id, &why))
			return usage(command, err, "%s", why.text);
		break;
	}
	return 0;
}

static int take_operands(const struct command *command, int argc, char **argv, struct args *args,
			 struct err *err)
{
	size_t n = 0;

	for (; n < ARGS_MAX_OPERANDS && command->operands[n].label; n++) {
		const struct operand_spec *spec = &command->operands[n];

		if (optind >= argc) {
			if (spec->optional)
				continue;
			return usage(command, err, "%s is missing", spec->label);
		}
		args->operand[n] = argv[optind];
		args->many = spec->many ? argv + optind : NULL;
		args->many_count = spec->many ? (size_t)(argc - optind) : 0;
		do
			if (take_operand(command, spec, argv[optind++], args, err))
				return -1;
		while (spec->many && optind < argc);
	}
	if (optind < argc)
		return usage(command, err, "surplus operand '%.80s'", argv[optind]);
	return 0;
}

/* make_longs: what getopt_long works from; letters has room for two characters an option. */
static size_t make_longs(const struct command *command, struct option *longs, char *letters,
			 struct args *args)
{
	size_t n = 0;

	for (const struct option_spec *spec = command->options; spec->name && n < MAX_OPTIONS; spec++, n++) {
		longs[n] = (struct option){.name = spec->name,
					   .has_arg = spec->argument ? required_argument : no_argument,
					   .val = spec->letter ? spec->letter : FIRST_VALUE + (int)n};
		if (spec->letter)
			*letters++ = spec->letter;
		if (spec->letter && spec->argument)
			*letters++ = ':';
		if (spec->type >= OPTION_SIZE)
			*(uint64_t *)((char *)args + spec->offset) = spec->initial;
	}
	longs[n] = (struct option){.name = "help", .has_arg = no_argument, .val = HELP_VALUE};
	*letters = '\0';
	return n;
}

/* option_of: the number of the option that getopt_long returned; count for none. */
static size_t option_of(const struct option *longs, size_t count, int value)
{
	size_t i = 0;

	while (i < count && longs[i].val != value)
		i++;
	return i;
}

static int parse(const struct command *command, int argc, char **argv, struct args *args, struct err *err)
{
	struct option longs[MAX_OPTIONS + 2] = {0};
	bool given[MAX_OPTIONS] = {0};
	char letters[2 * MAX_OPTIONS + 3] = ":h";
	size_t count = make_longs(command, longs, letters + 2, args);
	int c;

	optind = 0; /* glibc: start anew, also for a second command line in one process */
	opterr = 0;
	while ((c = getopt_long(argc, argv, letters, longs, NULL)) != -1) {
		size_t i = option_of(longs, count, c);

		if (c == HELP_VALUE) {
			args->help = true;
			return 0;
		}
		if (i == count)
			return refusal(command, longs, c, argv, err);
		if (given[i] && command->options[i].argument && command->options[i].type != OPTION_LIST)
			return usage(command, err, "option '--%s' is given twice", longs[i].name);
		given[i] = true;
		if (store(command, &command->options[i], optarg, args, err))
			return -1;
	}
	for (size_t i = 0; i < count; i++)
		if (command->options[i].required && !given[i])
			return usage(command, err, "option '--%s' is missing", longs[i].name);
	return take_operands(command, argc, argv, args, err);
}

int options_parse(const struct command *command, int argc, char **argv, struct args *args, struct err *err)
{
	*args = (struct args){0};
	if (!parse(command, argc, argv, args, err))
		return 0;
	/* The refusal may have come before --json was reached. */
	for (int i = 1; i < argc && strcmp(argv[i], "--"); i++)
		args->json = args->json || !strcmp(argv[i], "--json");
	return -1;
}
