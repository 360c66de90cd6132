#include "tests/bench/plan.h"
#include "common/units.h"
#include "tests/bench/stats.h"
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void plan_help(void)
{
	puts("usage: bench_migrate [options]\n"
	     "Move the same guest with drover and with QEMU, in turns, and compare.\n"
	     "  --runs N         how often each mover runs at each rate (default 3)\n"
	     "  --dirty LIST     MB/s that the guest writes: numbers and `max` (default 0,100,400,max)\n"
	     "  --only LIST      only these movers; `qemu`: those of QEMU that run by default\n"
	     "  --also LIST      these movers too\n"
	     "  --timeout S      give a migration up after S seconds (default 20)\n"
	     "  --memory SIZE    RAM of the guest (default 1G)\n"
	     "  --fill SIZE      how much of it is filled and kept verified (default 512M)\n"
	     "  --compress P     percent of the filled pages that compress (default 50)\n"
	     "  --keep           leave the folders of all runs (logs of the guest and the programs) in /tmp\n"
	     "  --strict         exit status 1 when a target is missed\n"
	     "Movers (* by default):");
	for (size_t i = 0; i < mover_count; i++)
		printf("  %c %-16s %s\n", mover_table[i].by_default ? '*' : ' ', mover_table[i].name,
		       mover_table[i].title);
}

static bool planned(const struct plan *plan, const struct mover *mover)
{
	for (size_t i = 0; i < plan->nmovers; i++)
		if (plan->movers[i] == mover)
			return true;
	return false;
}

static void add_mover(struct plan *plan, const struct mover *mover)
{
	if (!planned(plan, mover) && plan->nmovers < PLAN_MOVERS_MAX)
		plan->movers[plan->nmovers++] = mover;
}

static void add_defaults(struct plan *plan, const struct mover_ops *ops)
{
	for (size_t i = 0; i < mover_count; i++)
		if (mover_table[i].by_default && (!ops || mover_table[i].ops == ops))
			add_mover(plan, &mover_table[i]);
}

static int add_named(struct plan *plan, const char *name, struct err *err)
{
	if (strcmp(name, "qemu") == 0) {
		add_defaults(plan, &mover_qemu_ops);
		return 0;
	}
	for (size_t i = 0; i < mover_count; i++) {
		if (strcmp(name, mover_table[i].name) == 0) {
			add_mover(plan, &mover_table[i]);
			return 0;
		}
	}
	return err_set(err, ERR_USAGE, "there is no mover \"%s\"; see --help", name);
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
		plan->nmovers = 0;
		return each(plan, value, add_named, err);
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
	    {"runs", required_argument, NULL, 'r'},    {"dirty", required_argument, NULL, 'd'},
	    {"only", required_argument, NULL, 'o'},    {"also", required_argument, NULL, 'a'},
	    {"timeout", required_argument, NULL, 't'}, {"memory", required_argument, NULL, 'm'},
	    {"fill", required_argument, NULL, 'f'},    {"compress", required_argument, NULL, 'c'},
	    {"keep", no_argument, NULL, 'k'},          {"strict", no_argument, NULL, 's'},
	    {"help", no_argument, NULL, 'h'},          {NULL, 0, NULL, 0},
	};
	int option;

	*plan =
	    (struct plan){.runs = 3, .timeout_s = 20, .dirty_mb = {0, 100, 400, MOVE_DIRTY_MAX}, .ndirty = 4};
	add_defaults(plan, NULL);
	opterr = 0;
	while ((option = getopt_long(argc, argv, "h", options, NULL)) != -1)
		if (read_option(plan, env, option, optarg, err) != 0)
			return -1;
	if (optind < argc)
		return err_set(err, ERR_USAGE, "unexpected word \"%s\"; see --help", argv[optind]);
	return 0;
}
