/* targets.h: what drover promises, each promise judged.  Pure. */
#ifndef BENCH_TARGETS_H
#define BENCH_TARGETS_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>

enum verdict { VERDICT_NOT_MEASURED, VERDICT_MET, VERDICT_MISSED };

struct target {
	char id[40];       /* names it, also where docs/benchmarks.md says why it is missed */
	char text[120];    /* "100 MB/s: total" */
	char allowed[120]; /* "0.6 x QEMU's best plain setting" */
	const char *unit;
	bool least;       /* got must be at least the limit, not at most */
	double got;       /* valid unless not measured; negative: no run finished */
	double limit;     /* the same; negative: there is none, since the peer did not finish */
	char against[40]; /* the mover that set the limit; empty: none did */
	enum verdict verdict;
};

enum { TARGETS_MAX = 64 };
struct targets {
	struct target row[TARGETS_MAX];
	size_t count;
};

/* target_add(targets, id, unit, text, allowed): a row that is not measured yet; never NULL (room is asserted).
 * target_judge(target, got, limit): its verdict; a negative got misses, of a negative limit any other got is good. */
struct target *target_add(struct targets *targets, const char *id, const char *unit, const char *text,
			  const char *allowed);
void target_judge(struct target *target, double got, double limit);

void targets_markdown(const struct targets *targets, FILE *out);
json_t *targets_json(const struct targets *targets); /* a new reference */
const char *target_verdict_name(enum verdict verdict);

#endif
