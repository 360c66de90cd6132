/* The kernel command line: key=value words (README.md). */
#ifndef GUEST_PARAMS_H
#define GUEST_PARAMS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define RATE_MAX  UINT64_MAX
#define CPUS_MAX  64
#define DEPTH_MAX 64
#define BLOCK_MAX (1 << 20)
#define FRAME_MIN 64
#define FRAME_MAX 1514

enum pattern_order { ORDER_SEQ, ORDER_RANDOM, ORDER_HOT };
enum io_mode { IO_NONE, IO_RANDREAD, IO_RANDWRITE, IO_READ, IO_WRITE, IO_LOG, IO_VERIFY };
enum net_mode { NET_NONE, NET_SEND, NET_RECEIVE };

struct params {
	uint64_t fill;     /* bytes */
	uint64_t working;  /* bytes, 0: all that is filled */
	uint64_t compress; /* percent */
	uint64_t dirty;    /* MB/s (10^6), or RATE_MAX */
	uint64_t verify;   /* MB/s (10^6), or RATE_MAX */
	uint64_t order;    /* enum pattern_order */
	uint64_t words;    /* 8-byte words that a write changes in its page: a power of two */
	uint64_t report;   /* milliseconds */
	uint64_t cpus;
	uint64_t tsc_khz; /* 0: measure */
	uint64_t seed;
	/* Of the loads on devices (io.h, disklog.h, net.h). */
	uint64_t io;      /* enum io_mode */
	uint64_t net;     /* enum net_mode */
	uint64_t depth;   /* requests, or frames, under way at once */
	uint64_t block;   /* bytes of a request */
	uint64_t frame;   /* bytes of a frame, Ethernet header included */
	uint64_t seconds; /* of measuring */
	uint64_t span;    /* bytes of the disk that are used, 0: all */
	uint64_t iops;    /* records a second of the disk log, 0: as fast as it goes */
	uint64_t flushed; /* the last record that was said to be flushed */
};

/* Fills *p from the command line, what is not named from the defaults; `ram` bytes decide that of fill. Stops
 * the machine at the first word that is not understood. */
void params_parse(struct params *p, const char *cmdline, uint64_t ram);

/* A rate in MB/s or "max".  Returns false where the text is neither. */
bool params_rate(const char *s, size_t len, uint64_t *rate);

#endif
