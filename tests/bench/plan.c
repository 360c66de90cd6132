#include "tests/bench/plan.h"
#include "common/units.h"
#include "tests/bench/stats.h"
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const struct {
	const char *name;
	enum plan_part part;
	const char *what;
} parts[] = {
    {"moves", PART_MOVES, "moves over loopback, beside QEMU's"},
    {"again", PART_AGAIN, "a second move, back"},
    {"harvest", PART_HARVEST, "finding what was written"},
    {"lines", PART_LINES, "a slow link, and one with long round trips (root)"},
};

static void help_mover(const struct mover *mover)
{
	static const char *const rates[] = {"idle", "low", "high", "flat out"};

	printf("  %-18s %s", mover->name, mover->title);
	for (unsigned i = 0; i < 4; i++)
		if (mover->at & 1u << i)
			printf("%s%s", mover->at & ((1u << i) - 1) ? ", " : " (", rates[i]);
	puts(mover->at ? ")" : "");
}

void plan_help(void)
{
	puts("usage: bench_migrate [options]\n"
	     "Move the same guest with drover and with QEMU, in turns, and compare.\n"
	     "  --part LIST      what to measure (default: all of it, see below)\n"
	     "  --runs N         how often each (default 5)\n"
	     "  --dirty LIST     MB/s that the guest writes: numbers and `max` (default 0,100,400,max)\n"
	     "  --only LIST      only these movers, at each rate; `qemu`: all of QEMU's\n"
	     "  --also LIST      these movers at each rate, too\n"
	     "  --timeout S      give a migration up after S seconds (default 20)\n"
	     "  --memory SIZE    RAM of the guest (default 1G)\n"
	     "  --fill SIZE      how much of it is filled and kept verified (default 512M)\n"
	     "  --compress P     percent of each filled page that compresses (default 60: lz4 makes 2.4 of "
	     "1)\n"
	     "  --keep           leave the folders of all runs (logs of the guest and the programs) in /tmp\n"
	     "  --strict         exit status 1 when a promise is not kept\n"
	     "Parts:");
	for (size_t i = 0; i < sizeof(parts) / sizeof(parts[0]); i++)
		printf("  %-18s %s\n", parts[i].name, parts[i].what);
	puts("Movers (and at which rates they are measured by default):");
	for (size_t i = 0; i < mover_count; i++)
		help_mover(&mover_table[i]);
}

static void add_mover(const struct mover **movers, size_t *count, const struct mover *mover)
{
	for (size_t i = 0; i < *count; i++)
		if (movers[i] == mover)
			return;
	if (*count < PLAN_MOVERS_MAX)
		movers[(*count)++] = mover;
}

size_t plan_movers(const struct plan *plan, uint32_t dirty_mb, const struct mover *movers[PLAN_MOVERS_MAX])
{
	size_t count = 0;

	for (size_t i = 0; i < mover_count && !plan->only; i++)
		if (mover_table[i].at & mover_at(dirty_mb))
			add_mover(movers, &count, &mover_table[i]);
	for (size_t i = 0; i < plan->nmovers; i++)
		add_mover(movers, &count, plan->movers[i]);
	return count;
}

static int add_named(struct plan *plan, const char *name, struct err *err)
{
	bool qemu = strcmp(name, "qemu") == 0;

	if (!qemu && !mover_find(name))
		return err_set(err, ERR_USAGE, "there is no mover \"%s\"; see --help", name);
	for (size_t i = 0; i < mover_count; i++)
		if (qemu ? mover_table[i].ops == &mover_qemu_ops : strcmp(name, mover_table[i].name) == 0)
			add_mover(plan->movers, &plan->nmovers, &mover_table[i]);
	return 0;
}

static int add_part(struct plan *plan, const char *name, struct err *err)
{
	for (size_t i = 0; i < sizeof(parts) / sizeof(parts[0]); i++) {
		if (strcmp(name, parts[i].name) == 0) {
			plan->parts |= parts[i].part;
			return 0;
		}
	}
	return err_set(err, ERR_USAGE, "there is no part \"%s\"; see --help", name);
}

static int add_dirty(struct plan *plan, const char *name, struct err *err)
{
	uint64_t value = MOVE_DIRTY_MAX;

	if (plan->ndirty == PLAN_DIRTY_MAX)
		return err_set(err, ERR_USAGE, "--dirty takes at most %d rates", PLAN_DIRTY_MAX);
	if (strcmp(name, "max") != 0 && units_parse_uint(name, 0, 1000000, &value, err) != 0)
		return err_context(err, "--dirty");
	plan->dirty_mb[plan->ndirty++] = value;
	return 0;
}

/* Call add for each part of a comma-separated list. */
static int each(struct plan *plan, char *list, int (*add)(struct plan *, const char *, struct err *),
		struct err *err)
{
	char *name;

	while ((name = strsep(&list, ",")))
		if (add(plan, name, err) != 0)
			return -1;
	return 0;
}

static int read_uint(const char *text, uint64_t min, uint64_t max, unsigned *value, struct err *err)
{
	uint64_t wide;

	if (units_parse_uint(text, min, max, &wide, err) != 0)
		return -1;
	*value = wide;
	return 0;
}

static int read_mib(const char *text, unsigned *mib, struct err *err)
{
	uint64_t bytes;

	if (units_parse_size(text, &bytes, err) != 0)
		return -1;
	if (bytes < (1 << 20) || bytes > 1ull << 40)
		return err_set(err, ERR_USAGE, "%s is not between 1M and 1T", text);
	*mib = bytes >> 20;
	return 0;
}

static int read_option(struct plan *plan, struct benchenv *env, int option, char *value, struct err *err)
{
	switch (option) {
	case 'r':
		return read_uint(value, 1, STATS_MAX, &plan->runs, err);
	case 'd':
		plan->ndirty = 0;
		return each(plan, value, add_dirty, err);
	case 'o':
		plan->only = true;
		plan->nmovers = 0;
		return each(plan, value, add_named, err);
	case 'p':
		plan->parts = 0;
		return each(plan, value, add_part, err);
	case 'a':
		return each(plan, value, add_named, err);
	case 't':
		return read_uint(value, 1, 3600, &plan->timeout_s, err);
	case 'm':
		return read_mib(value, &env->memory_mib, err);
	case 'f':
		return read_mib(value, &env->fill_mib, err);
	case 'c':
		return read_uint(value, 0, 100, &env->compress, err);
	case 'k':
		env->keep = true;
		return 0;
	case 's':
		plan->strict = true;
		return 0;
	case 'h':
		plan->help = true;
		return 0;
	}
	return err_set(err, ERR_USAGE, "unknown option; see --help");
}

int plan_read(struct plan *plan, struct benchenv *env, int argc, char **argv, struct err *err)
{
	static const struct option options[] = {
	    {"part", required_argument, NULL, 'p'},
	    {"runs", required_argument, NULL, 'r'},
	    {"dirty", required_argument, NULL, 'd'},
	    {"only", required_argument, NULL, 'o'},
	    {"also", required_argument, NULL, 'a'},
	    {"timeout", required_argument, NULL, 't'},
	    {"memory", required_argument, NULL, 'm'},
	    {"fill", required_argument, NULL, 'f'},
	    {"compress", required_argument, NULL, 'c'},
	    {"keep", no_argument, NULL, 'k'},
	    {"strict", no_argument, NULL, 's'},
	    {"help", no_argument, NULL, 'h'},
	    {NULL, 0, NULL, 0},
	};
	int option;

	*plan = (struct plan){.parts = PART_MOVES | PART_AGAIN | PART_HARVEST | PART_LINES,
			      .runs = 5,
			      .timeout_s = 20,
			      .dirty_mb = {0, 100, 400, MOVE_DIRTY_MAX},
			      .ndirty = 4};
	opterr = 0;
	while ((option = getopt_long(argc, argv, "h", options, NULL)) != -1)
		if (read_option(plan, env, option, optarg, err) != 0)
			return -1;
	if (optind < argc)
		return err_set(err, ERR_USAGE, "unexpected word \"%s\"; see --help", argv[optind]);
	return 0;
}
