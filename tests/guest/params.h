/* The kernel command line: key=value words (README.md). */
#ifndef GUEST_PARAMS_H
#define GUEST_PARAMS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define RATE_MAX UINT64_MAX
#define CPUS_MAX 64

enum pattern_order { ORDER_SEQ, ORDER_RANDOM, ORDER_HOT };

struct params {
	uint64_t fill;     /* bytes */
	uint64_t working;  /* bytes, 0: all that is filled */
	uint64_t compress; /* percent */
	uint64_t dirty;    /* MB/s (10^6), or RATE_MAX */
	uint64_t verify;   /* MB/s (10^6), or RATE_MAX */
	uint64_t order;    /* enum pattern_order */
	uint64_t report;   /* milliseconds */
	uint64_t cpus;
	uint64_t tsc_khz; /* 0: measure */
	uint64_t seed;
};

/* Fills *p from the command line, what is not named from the defaults; `ram` bytes decide that of fill. Stops
 * the machine at the first word that is not understood. */
void params_parse(struct params *p, const char *cmdline, uint64_t ram);

/* A rate in MB/s or "max".  Returns false where the text is neither. */
bool params_rate(const char *s, size_t len, uint64_t *rate);

#endif
